"""Files of strangers: read, validated, and refused in one sentence that names the file and the field."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

Model = TypeVar("Model", bound=BaseModel)


def read_mapping(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file; ValueError where there is none."""
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: cannot be read: {error}") from None
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        at = f", line {where.line + 1}" if where else ""
        raise ValueError(f"{path}{at}: not YAML ({getattr(error, 'problem', None) or 'malformed'})") from None
    if not isinstance(data, dict):
        raise ValueError(f"{path}: a mapping is needed, got {type(data).__name__}")
    return data


def validated(model: type[Model], data: object, where: str) -> Model:
    """The data as a model; ValueError with every field that is wrong, its value and what is allowed."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise ValueError(f"{where}: {'; '.join(_problems(error))}") from None


def _problems(error: ValidationError) -> Iterable[str]:
    for problem in error.errors():
        field = ".".join(str(part) for part in problem["loc"]) or "as a whole"
        got = "" if problem["type"] in ("missing", "extra_forbidden") else f", got {problem['input']!r:.60}"
        yield f"{field}: {problem['msg'][:1].lower()}{problem['msg'][1:]}{got}"


def known(field: str, names: Iterable[str], allowed: Iterable[str]) -> None:
    """ValueError where a name is not one of those allowed."""
    choices = list(allowed)
    for name in names:
        if name not in choices:
            raise ValueError(f"{field}: {name!r} is not one of {', '.join(choices) or 'none'}")
