"""The policy document: what it accepts, and how it says what it does not."""

import pytest

from policies.document import Document, parse_document
from policies.errors import DocumentError


def test_the_empty_document_is_the_default_policy() -> None:
    """Nothing set: the adaptive policy with its defaults."""
    assert parse_document({}) == Document()
    assert Document().policy == "adaptive"


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({"kil_switch": True}, ("kil_switch: unknown field", "did you mean 'kill_switch'?")),
        ({"drift": {"alrm": 3}}, ("drift.alrm: unknown field", "did you mean 'alarm'?", "slack")),
        ({"rules": [{"then": {"modes": "auto"}}]}, ("rules.0.then.modes", "did you mean 'mode'?")),
        ({"tasks": {"sql_generation": {"k": {"mx": 4}}}}, ("tasks.sql_generation.k.mx", "did you mean 'max'?")),
        ({"policy": "fastest"}, ("policy: 'fastest'", "adaptive", "always_vanilla")),
        ({"hysteresis": {"gain": 3}}, ("hysteresis.gain: 3", "less than or equal to 1")),
        ({"tasks": {"x": {"k": {"min": 5, "max": 2}}}}, ("tasks.x.k", "min 5 is above max 2")),
        ({"objective": {"kind": "speed"}}, ("objective.kind: 'speed'", "goodput")),
    ],
)
def test_problems_name_path_value_and_what_is_allowed(data: dict[str, object], says: tuple[str, ...]) -> None:
    """Each problem is one line with the path, the value, what is allowed and the nearest name."""
    with pytest.raises(DocumentError) as caught:
        parse_document(data)
    assert len(caught.value.problems) == 1
    for part in says:
        assert part in caught.value.problems[0]
