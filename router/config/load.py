"""Where settings are read from: one YAML file, over it the environment, over both the command line."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError
from pydantic_settings import EnvSettingsSource, SettingsError

from router.config.check import problem, unknown_variables
from router.config.origins import Origin, Origins
from router.config.settings import Settings
from router.errors import SetupError


def load_settings(file: Path | None = None, overrides: Mapping[str, Any] | None = None) -> Settings:
    """Settings from a YAML file (defaults without one), over it the environment, over both the `overrides` by field.

    Raises SetupError with one line per problem: path, value, what is allowed.
    """
    data = _read(file) if file is not None else {}
    where = f" in {file}" if file else ""
    refuse_unknown_variables()
    try:
        settings = Settings(**data)
        chosen = {name: _checked(name, value) for name, value in (overrides or {}).items()}
    except ValidationError as error:
        problems = "\n".join(f"  {problem(Settings, detail)}" for detail in error.errors())
        raise SetupError(f"The settings{where} are wrong:\n{problems}") from None
    except SettingsError as error:  # a variable that must hold JSON and does not
        raise SetupError(f"The settings are wrong:\n  {error}") from None
    told = Origins.of(data, Origin.FILE).over(Origins.of(EnvSettingsSource(Settings)(), Origin.ENVIRONMENT).by_path)
    return settings.coming_from(told).overridden(**chosen)


def _checked(name: str, value: object) -> object:
    annotation: Any = Settings.model_fields[name].annotation
    return TypeAdapter[object](annotation).validate_python(value)


def refuse_unknown_variables() -> None:
    """Raise SetupError where the environment holds ALPHAROUTE_ variables that are no settings."""
    if unknown := unknown_variables(Settings, os.environ):
        raise SetupError("The environment is wrong:\n" + "\n".join(f"  {line}" for line in unknown))


def _read(file: Path) -> dict[str, Any]:
    try:
        data = yaml.safe_load(file.read_text())
    except OSError as error:
        raise SetupError(f"The settings file {str(file)!r} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SetupError(f"The settings file {str(file)!r} is not YAML: it is not UTF-8") from None
    except yaml.YAMLError as error:
        raise SetupError(f"The settings file {str(file)!r} is not YAML{_where_wrong(error)}") from None
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise SetupError(f"The settings file {str(file)!r} must hold a mapping, it holds a {type(data).__name__}")
    if odd := [key for key in data if not isinstance(key, str)]:
        raise SetupError(f"The settings file {str(file)!r} must have names as keys, not {odd[0]!r}")
    return data


def _where_wrong(error: yaml.YAMLError) -> str:
    """The place alone: YAML's own message quotes the line, which may hold a password."""
    mark = getattr(error, "problem_mark", None)
    return f": line {mark.line + 1}, column {mark.column + 1}" if mark else ""
