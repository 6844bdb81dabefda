"""The chart knows the policy and the settings as the product does: a misspelt name is refused before an install."""

import importlib.util
import re
from collections.abc import Iterator
from types import ModuleType

import pytest
import yaml
from chart import CHART, ROOT, Object, Values, texts
from helm_python import HelmError

from policies.document import Document
from router.config.settings import Settings


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    """helm/generators/schema.py."""
    spec = importlib.util.spec_from_file_location("chart_schema", ROOT / "helm" / "generators" / "schema.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_is_current(generator: ModuleType) -> None:
    """`python helm/generators/schema.py` after a setting or a field of the policy has changed."""
    assert (CHART / "values.schema.json").read_text() == generator.written()


def test_every_key_that_the_chart_sets_is_refused_in_words(generator: ModuleType) -> None:
    """What the schema leaves open for the checks, the checks refuse by name."""
    pool = {"name": "v", "model": "m", "target": "t", "accelerator": "cpu"}
    for key in generator.OWN["Settings"]:
        with pytest.raises(HelmError, match=rf"settings\.{key}: the chart sets it itself"):
            texts({"settings": {key: {}}})
    for key in generator.OWN["Pool"]:
        with pytest.raises(HelmError, match=rf"settings\.{key}"):
            texts({"pools": [{**pool, "settings": {key: {}}}]})


WRONG: list[tuple[Values, str]] = [
    ({"policy": {"document": {"ruls": []}}}, "/policy/document'.*'ruls' not allowed"),
    ({"policy": {"document": {"kill_switch": "yes"}}}, "/policy/document/kill_switch': got string, want boolean"),
    ({"policy": {"document": {"tasks": {"code": {"mod": "vanilla"}}}}}, "/policy/document/tasks/code'.*'mod'"),
    ({"settings": {"routr": {}}}, "/settings'.*'routr' not allowed"),
    ({"settings": {"router": {"sinc_s": 1}}}, "/settings/router'.*'sinc_s' not allowed"),
    ({"settings": {"limits": {"body_bytes": 1}}}, "/settings/limits/body_bytes': minimum: got 1, want 1,024"),
    ({"settings": {"limits": None}}, "/settings/limits': got null, want object"),
    ({"settings": {"limits": {"request_s": None}}}, "/settings/limits/request_s': got null, want number"),
    (
        {"pools": [{"name": "v", "model": "m", "accelerator": "cpu", "settings": {"vlm": {}}}]},
        "/pools/0/settings'.*'vlm' not allowed",
    ),
    (
        {"pools": [{"name": "v", "model": "m", "accelerator": "cpu", "settings": {"vllm": {"max_len": 8}}}]},
        "/pools/0/settings/vllm'.*'max_len' not allowed",
    ),
]


@pytest.mark.parametrize(("values", "message"), WRONG)
def test_misspelt_names_are_refused(values: Values, message: str) -> None:
    """With their place, in the policy, the settings and a pool's settings."""
    with pytest.raises(HelmError) as refused:
        texts(values)
    said = re.sub(r"\s+", " ", str(refused.value))
    assert re.search(message, said), said


def test_the_patterns_are_ones_that_helm_reads() -> None:
    """Go's expressions have no look-around: Helm would refuse every value."""
    patterns = re.findall(r'"pattern": "(.*)"', (CHART / "values.schema.json").read_text())
    assert patterns
    assert not [pattern for pattern in patterns if "(?" in pattern]


def test_what_yaml_makes_of_words_is_taken() -> None:
    """A bare `off` is a truth value for Helm, a variable of vLLM's may be a number."""
    off = {"document": {"rules": [{"when": {"tools": True}, "then": {"speculation": False}}]}}
    pool = {"name": "v", "model": "m", "target": "t", "accelerator": "cpu", "settings": {"vllm": {"env": {"A": 1}}}}
    assert texts({"policy": off, "pools": [pool]})


def _blocks() -> Iterator[Object]:
    """The settings that the guides show."""
    for guide in sorted((ROOT / "docs").glob("*.md")):
        for block in re.findall(r"^```yaml\n(.*?)^```", guide.read_text(), re.DOTALL | re.MULTILINE):
            shown = yaml.safe_load(block)
            if isinstance(shown, dict) and shown.keys() <= Settings.model_fields.keys():
                yield shown


def test_what_the_guides_show_is_taken(generator: ModuleType) -> None:
    """The schema is no stricter than the product: every policy and setting of the documentation renders."""
    policies = 0
    for shown in _blocks():
        policy = shown.get("policy", {})
        Document.model_validate(policy)
        policies += bool(policy)
        settings = {key: value for key, value in shown.items() if key not in generator.OWN["Settings"]}
        texts({"policy": {"document": policy}, "settings": settings})
    assert policies
