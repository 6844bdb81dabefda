"""Every setting as a table: the one place where they are listed is the models themselves."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import get_args
from urllib.parse import urlsplit

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from rich.table import Table

from router.settings import EMBEDDED, Settings


@dataclass(frozen=True, slots=True)
class Row:
    """One setting."""

    path: str
    value: str
    default: str
    about: str


def settings_table(settings: Settings) -> Table:
    """A table of all settings; a value that is not the default is set off."""
    table = Table("setting", "value", "default", "what it means", title="Alpharoute's settings", show_lines=False)
    for row in rows(settings):
        changed = row.value != row.default
        table.add_row(row.path, f"[bold]{row.value}[/]" if changed else row.value, row.default, row.about)
    return table


def rows(settings: Settings) -> list[Row]:
    """Every setting with its value here, depth first in the order of the models."""
    return list(_rows("", type(settings), settings))


def _rows(prefix: str, model: type[BaseModel], value: BaseModel) -> Iterator[Row]:
    for name, info in model.model_fields.items():
        path, here = f"{prefix}{name}", getattr(value, name)
        if isinstance(here, BaseModel):
            yield from _rows(f"{path}.", type(here), here)
        elif item := _item(info):
            for i, each in enumerate(here):
                yield from _rows(f"{path}[{i}].", item, each)
        else:
            yield Row(path, _shown(here), _default(info), info.description or "")


def _item(info: FieldInfo) -> type[BaseModel] | None:
    """The model of a list's items, where they are models."""
    first = next(iter(get_args(info.annotation)), None)
    return first if isinstance(first, type) and issubclass(first, BaseModel) else None


def _default(info: FieldInfo) -> str:
    return "(required)" if info.is_required() else _shown(info.get_default(call_default_factory=True))


def masked(secret: SecretStr) -> str:
    """A secret as it may be shown: a URL without its password, anything else as stars."""
    text = secret.get_secret_value()
    if text == EMBEDDED:
        return text
    parts = urlsplit(text)
    if not parts.scheme:
        return str(secret)
    return text if parts.password is None else text.replace(f":{parts.password}@", ":***@")


def _shown(value: object) -> str:
    if value is None:
        return "unset"
    if isinstance(value, SecretStr):
        return masked(value)
    if isinstance(value, set | frozenset | tuple | list):
        return ", ".join(sorted(map(str, value))) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{key}: {item}" for key, item in value.items()) or "none"
    return str(value)
