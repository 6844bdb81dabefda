"""Every setting as a table: the one place where they are listed is the models themselves."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from rich.table import Table
from rich.text import Text

from router.config.masking import shown
from router.config.settings import Settings


@dataclass(frozen=True, slots=True)
class Row:
    """One setting."""

    path: str
    value: str
    default: str
    about: str


def settings_table(settings: Settings) -> Table:
    """A table of all settings; a value that is not the default is set off."""
    table = Table(title="Alpharoute's settings", show_lines=False)
    for head in ("setting", "value", "default", "what it means"):
        table.add_column(head, overflow="fold")  # a name that is cut cannot be set
    for row in rows(settings):
        value = Text(row.value, style="bold" if row.value != row.default else "")
        table.add_row(Text(row.path), value, Text(row.default), Text(row.about))
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
            yield Row(path, _text(here, name), _default(info, name), info.description or "")


def _item(info: FieldInfo) -> type[BaseModel] | None:
    """The model of a list's items, where they are models."""
    first = next(iter(get_args(info.annotation)), None)
    return first if isinstance(first, type) and issubclass(first, BaseModel) else None


def _default(info: FieldInfo, name: str) -> str:
    return "(required)" if info.is_required() else _text(info.get_default(call_default_factory=True), name)


def _text(value: object, name: str) -> str:
    """A value in a cell of the table."""
    public = shown(value, name)
    if public is None:
        return "unset"
    if isinstance(public, list):
        return ", ".join(map(str, public)) or "none"
    if isinstance(public, dict):
        return ", ".join(f"{key}: {item}" for key, item in public.items()) or "none"
    if isinstance(public, bool):
        return str(public).lower()  # as YAML has it
    return str(int(public)) if isinstance(public, float) and public.is_integer() else str(public)
