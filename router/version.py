"""Which version of the product this is."""

from importlib.metadata import PackageNotFoundError, version


def _installed() -> str:
    try:
        return version("alpharoute")
    except PackageNotFoundError:  # run from a checkout that was never installed
        return "unknown"


VERSION = _installed()
"""As it was installed: 0.1.0."""
