"""A policy as text: problems stand where they are, and a suggestion mends the text."""

import pytest

from router.console.policy_text import EMPTY, decorations, found_in, text_of, tooltips
from router.console.yaml_places import key_place, place_of
from router.steering.reading import decoded, validate

TEXT = """\
# the tasks
tasks:
  sql_generation: {k: {min: 2, max: 6}}
rules:
  - name: hot
    when: {task: [creative_writing]}
    then:
      mode: vanila
"""


def problems(text: str) -> list[dict[str, object]]:
    """What the Admin API says of a text."""
    found = validate(text)
    return [
        {"path": p.path, "value": p.value, "message": p.message, "allowed": list(p.allowed), "nearest": p.nearest}
        for p in found
    ]


def test_a_warning_is_marked_otherwise_and_mended_likewise() -> None:
    """Where the name stands, be it a key or one of a list."""
    warnings = [
        {"path": "tasks.sql_generation", "value": "", "message": "unknown task", "allowed": [], "nearest": "sql"},
        {"path": "rules.0.when.task.0", "value": "", "message": "unknown task", "allowed": [], "nearest": "writing"},
    ]
    key, item = found_in(TEXT, [], warnings)
    assert "  sql: {k:" in key.mended
    assert "task: [writing]" in item.mended
    assert {mark["class"] for mark in decorations([key, item])} == {"cm-doubtful"}
    assert [mark["class"] for mark in decorations(found_in(TEXT, problems(TEXT)))] == ["cm-wrong"]


def test_a_name_that_is_a_value_is_mended_as_one() -> None:
    """The field that holds it keeps its own name."""
    text = "windows:\n  - {segment: bacth, k_max: 1}\n"
    warning = {"path": "windows.0.segment", "value": "bacth", "message": "unknown segment", "nearest": "batch"}
    (one,) = found_in(text, [], [warning])
    assert one.mended == "windows:\n  - {segment: batch, k_max: 1}\n"


@pytest.mark.parametrize(
    ("path", "said", "line"),
    [
        ("tasks.sql_generation.k.max", "6", 3),
        ("tasks.sql_generation", "sql_generation", 3),
        ("rules.0.then.mode", "vanila", 8),
        ("rules.0.when.task.0", "creative_writing", 6),
        ("rules.0.then.pools", "then", 7),
    ],
)
def test_a_path_is_found_in_the_text(path: str, said: str, line: int) -> None:
    """The value where there is a scalar one, else the name; what is not there is shown on what would hold it."""
    place = place_of(TEXT, path)
    assert TEXT[place.start : place.end] == said
    assert place.line == line


def test_a_name_with_dots_is_one_name() -> None:
    """Tasks may be called as their owners like."""
    text = "tasks:\n  a.b: {mode: auto}\n"
    place = place_of(text, "tasks.a.b.mode")
    assert text[place.start : place.end] == "auto"


def test_what_is_nowhere_is_shown_on_the_first_line() -> None:
    """A problem of the whole document has no place of its own."""
    assert place_of(TEXT, "(document)").line == 1
    assert place_of("", "tasks").line == 1
    assert key_place(TEXT, "objective.kind") is None


def test_a_text_that_is_no_yaml_has_its_problem_on_its_line() -> None:
    """The Admin API says the line and the column; the mark is on that line, whatever its length."""
    text = "tasks:\n  sql: {k: [}\n"
    (found,) = found_in(text, problems(text))
    assert found.place.line == 2
    assert "not YAML" in found.message
    assert place_of("a: [", "line 99, column 1").end <= len("a: [") + 1


def test_a_wrong_word_is_mended_by_its_suggestion() -> None:
    """The value is replaced where a value is wrong, and the policy is then valid."""
    (found,) = found_in(TEXT, problems(TEXT))
    assert (found.path, found.place.line, found.nearest) == ("rules.0.then.mode", 8, "vanilla")
    assert "auto" in found.allowed
    assert validate(found.mended) == ()


def test_a_wrong_name_is_mended_by_its_suggestion() -> None:
    """The name is replaced where the field is unknown, not its value."""
    text = "tasks:\n  sql_generation: {mod: vanilla}\n"
    (found,) = found_in(text, problems(text))
    assert found.mended == "tasks:\n  sql_generation: {mode: vanilla}\n"
    assert validate(found.mended) == ()


def test_problems_come_in_the_order_of_the_text() -> None:
    """Whoever reads from the top finds the first problem first; each line says all of its own."""
    text = "windows: 3\ntasks:\n  a: {mode: x, acceptance: 7}\nrules: {}\n"
    found = found_in(text, problems(text))
    assert [one.place.start for one in found] == sorted(one.place.start for one in found)
    assert len(decorations(found)) == len(found) >= 4
    assert len(tooltips(found)[3].splitlines()) >= 2
    assert all(one["from"] < one["to"] for one in decorations(found))


def test_a_version_is_shown_as_it_was_typed() -> None:
    """Comments stay; a version that came as JSON is shown as YAML, an empty one says what may be written."""
    assert text_of({"text": TEXT, "document": {}}) == TEXT
    assert decoded(text_of({"text": "", "document": {"kill_switch": True}})) == {"kill_switch": True}
    assert text_of({"text": "", "document": {}}) == EMPTY
    assert validate(EMPTY) == ()
