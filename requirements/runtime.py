"""Which lines of the lock an image needs: what `alpharoute` with these extras requires, and what that requires.

python requirements/runtime.py requirements/vllm-cpu.txt >requirements/runtime.txt
"""

import sys
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

EXTRAS = ("vllm-cpu", "embedded", "otel")


def needed(package: str, extras: frozenset[str], found: dict[str, frozenset[str]]) -> None:
    """Add to `found` the package and all it requires, each with the extras it was asked with."""
    name = canonicalize_name(package)
    known = found.get(name, frozenset())
    if name in found and extras <= known:
        return
    found[name] = known | extras
    try:
        lines = requires(package) or []
    except PackageNotFoundError:  # named, and left out of the lock: torchvision, another platform's wheels
        return
    for line in map(Requirement, lines):
        if line.marker is None or any(line.marker.evaluate({"extra": extra}) for extra in {"", *found[name]}):
            needed(line.name, frozenset(line.extras), found)


def main() -> None:
    """Print the lines of the lock given, but for those that only tests and tools need."""
    found: dict[str, frozenset[str]] = {}
    needed("alpharoute", frozenset(EXTRAS), found)
    needed("setuptools", frozenset(), found)  # builds the project's own wheel in the image
    lines = Path(sys.argv[1]).read_text().splitlines()
    # What is for another Python than this one says so itself, and is left to whoever installs.
    print(*(line for line in lines if ";" in line or canonicalize_name(line.split("==")[0]) in found), sep="\n")


if __name__ == "__main__":
    main()
