"""Labels that the client sends."""

import pytest

from classifiers.explicit import explicit_label
from classifiers.label import Label


def test_the_header_wins_over_the_metadata() -> None:
    """Both may name a task; the header is the more deliberate."""
    label = explicit_label({"x-alpharoute-task": "mathematics"}, {"metadata": {"task": "translation"}})
    assert label == Label("mathematics", 1.0, "header")


@pytest.mark.parametrize("name", ["X-Alpharoute-Task", "x-alpharoute-task", "X-ALPHAROUTE-TASK"])
def test_header_names_may_be_in_any_case(name: str) -> None:
    """HTTP header names have no case."""
    assert explicit_label({name: " SQL_generation "}, None) == Label("sql_generation", 1.0, "header")


def test_metadata_names_the_task() -> None:
    """A client that cannot set headers uses the body."""
    assert explicit_label({}, {"metadata": {"task": "translation"}}) == Label("translation", 1.0, "metadata")


@pytest.mark.parametrize(
    "body", [None, [], "x", {}, {"metadata": None}, {"metadata": {"task": 7}}, {"metadata": {"task": " "}}]
)
def test_no_label_where_none_is_given(body: object) -> None:
    """Metadata of another shape belongs to the client and is no label."""
    assert explicit_label({"x-alpharoute-task": "  "}, body) is None
