"""The task as the client names it: such a label always wins over the model."""

from collections.abc import Mapping

from classifiers.label import Label

TASK_HEADER = "x-alpharoute-task"
MAX_TASK_CHARS = 64


def explicit_label(headers: Mapping[str, str], body: object) -> Label | None:
    """The label in the header `x-alpharoute-task`, else in the body's `metadata.task`; None where neither names one.

    The name is stripped and lower-cased but not checked: the caller holds the classifier's `tasks`.
    Header names may be in any case.
    """
    header = _header(headers)
    if header:
        return Label(header, 1.0, "header")
    metadata = body.get("metadata") if isinstance(body, Mapping) else None
    task = metadata.get("task") if isinstance(metadata, Mapping) else None
    if isinstance(task, str) and _name(task):
        return Label(_name(task), 1.0, "metadata")
    return None


def _header(headers: Mapping[str, str]) -> str:
    found = headers.get(TASK_HEADER)
    if found is None:
        found = next((value for name, value in headers.items() if name.lower() == TASK_HEADER), "")
    return _name(found)


def _name(task: str) -> str:
    return task.strip().lower()[:MAX_TASK_CHARS]
