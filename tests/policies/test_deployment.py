"""Names in a policy that a deployment does not have."""

from policies.deployment import Deployment, unknown_names
from policies.document import parse_document

HERE = Deployment(
    ("sql_generation", "translation", "other"), {"draft": 4, "vanilla": 0}, ("demo", "demo-lora"), ("default", "batch")
)


def test_each_unknown_name_has_its_path_and_the_nearest_right_one() -> None:
    """Of tasks, by key and in rules, of models, and of pools wherever they are allowed."""
    document = parse_document(
        {
            "tasks": {"sql_generatoin": {"pools": ["vanila"]}, "translation": {"pools": ["draft"]}},
            "rules": [
                {"when": {"task": ["other", "translatoin"], "model": ["dmeo", "demo-lora"]}, "then": {"k": 2}},
                {"then": {"pools": ["vanilla", "h100"]}},
            ],
        }
    )
    found = {problem.path: (problem.value, problem.nearest) for problem in unknown_names(document, HERE)}
    assert found == {
        "tasks.sql_generatoin": ("sql_generatoin", "sql_generation"),
        "tasks.sql_generatoin.pools.0": ("vanila", "vanilla"),
        "rules.0.when.task.1": ("translatoin", "translation"),
        "rules.0.when.model.0": ("dmeo", "demo"),
        "rules.1.then.pools.1": ("h100", None),
    }


def test_what_is_known_is_no_warning() -> None:
    """Nor is a policy that names nothing."""
    known = {"tasks": {"other": {"pools": ["draft", "vanilla"]}}, "rules": [{"when": {"model": ["demo"]}, "then": {}}]}
    assert unknown_names(parse_document(known), HERE) == ()
    assert unknown_names(parse_document({}), HERE) == ()
