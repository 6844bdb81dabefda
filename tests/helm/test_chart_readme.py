"""The chart's README is what the values say."""

import importlib.util
import sys

import pytest
import yaml
from chart import CHART, ROOT


@pytest.fixture(scope="module")
def readme() -> str:
    """As helm/generators/readme.py writes it."""
    spec = importlib.util.spec_from_file_location("chart_readme", ROOT / "helm" / "generators" / "readme.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["chart_readme"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    written: str = module.written()
    return written


def test_it_is_current(readme: str) -> None:
    """`python helm/generators/readme.py` after a change of values.yaml."""
    assert (CHART / "README.md").read_text() == readme


def test_every_value_is_described(readme: str) -> None:
    """Each top-level value, itself or by its parts."""
    for name in yaml.safe_load((CHART / "values.yaml").read_text()):
        assert f"| `{name}" in readme, name
