"""Every setting as a table: the one place where they are listed is the models themselves."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from rich.table import Table
from rich.text import Text

from router.config.check import PREFIX
from router.config.kinds import kind_of
from router.config.masking import shown
from router.config.origins import Origin, Origins
from router.config.settings import Settings


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: its value and default as JSON may hold them, secrets as stars, and where the value comes from.

    `variable` sets it from the environment; of a list's items it is that of the whole list, as JSON.
    """

    path: str
    value: object
    default: object
    type: str
    origin: Origin
    variable: str
    about: str
    required: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """One setting as text."""

    path: str
    value: str
    default: str
    about: str
    type: str
    origin: Origin
    variable: str


NARROW_COLUMNS = 140
"""Below it the table leaves out the type."""


def settings_table(settings: Settings, columns: int) -> Table:
    """A table of all settings by section, for so many columns; a value that is not the default is set off."""
    table = Table(title="Alpharoute's settings", show_lines=False)
    table.add_column("setting", no_wrap=True)  # a name that is cut cannot be set
    heads = ("value", "from", "default", "type", "what it means")
    for head in heads if columns >= NARROW_COLUMNS else heads[:3] + heads[4:]:
        table.add_column(head, overflow="fold")
    for section, listed in groupby(rows(settings), lambda row: section_of(row.path)):
        table.add_section()
        empty = [""] * (len(table.columns) - 2)
        table.add_row(Text(section, style="bold underline"), *empty, Text(_about(section), style="italic"))
        for row in listed:
            value = Text(row.value, style="bold" if row.value != row.default else "")
            said = "" if row.origin is Origin.DEFAULT else row.origin.value
            kind = [Text(row.type)] if columns >= NARROW_COLUMNS else []
            table.add_row(Text(row.path), value, said, Text(row.default), *kind, Text(row.about))
    return table


def section_of(path: str) -> str:
    """The part of the settings, or the pool, that a setting belongs to."""
    return path.partition(".")[0]


def _about(section: str) -> str:
    info = Settings.model_fields[section.partition("[")[0]]
    model = info.annotation
    documented = isinstance(model, type) and issubclass(model, BaseModel) and not info.description
    said = (model.__doc__ or "") if documented else (info.description or "")
    return said.strip().partition("\n")[0]


def rows(settings: Settings) -> list[Row]:
    """Every setting with its value here, depth first in the order of the models."""
    return [_row(one) for one in listed(settings)]


def listed(settings: Settings) -> list[Setting]:
    """The same with values that programs can read."""
    return list(_listed("", type(settings), settings, settings.origins))


def _listed(prefix: str, model: type[BaseModel], value: BaseModel, origins: Origins) -> Iterator[Setting]:
    for name, info in model.model_fields.items():
        path, here = f"{prefix}{name}", getattr(value, name)
        if isinstance(here, BaseModel):
            yield from _listed(f"{path}.", type(here), here, origins)
        elif item := _item(info):
            for i, each in enumerate(here):
                yield from _listed(f"{path}[{i}].", item, each, origins)
        else:
            yield _setting(path, name, info, here, origins)


def _setting(path: str, name: str, info: FieldInfo, here: object, origins: Origins) -> Setting:
    required = info.is_required()
    preset = None if required else info.get_default(call_default_factory=True)
    is_default = not required and here == preset
    origin, variable = origins.of_path(path, is_default), PREFIX + path.partition("[")[0].replace(".", "__").upper()
    said = info.description or ""
    return Setting(path, shown(here, name), shown(preset, name), kind_of(info), origin, variable, said, required)


def _item(info: FieldInfo) -> type[BaseModel] | None:
    """The model of a list's items, where they are models."""
    if get_origin(info.annotation) is not tuple:
        return None
    first = next(iter(get_args(info.annotation)), None)
    return first if isinstance(first, type) and issubclass(first, BaseModel) else None


def _row(one: Setting) -> Row:
    default = "(required)" if one.required else _text(one.default)
    return Row(one.path, _text(one.value), default, one.about, one.type, one.origin, one.variable)


def _text(public: object) -> str:
    """A value in a cell of the table."""
    if public is None:
        return "unset"
    if isinstance(public, list):
        return ", ".join(map(str, public)) or "none"
    if isinstance(public, dict):
        return ", ".join(f"{key}: {item}" for key, item in public.items()) or "none"
    if isinstance(public, bool):
        return str(public).lower()  # as YAML has it
    return str(int(public)) if isinstance(public, float) and public.is_integer() else str(public)
