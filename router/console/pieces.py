"""Pieces that pages are made of: texts, cards, figures, charts and tables over NiceGUI's elements."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nicegui import ui
from nicegui.elements.mixins.text_element import TextElement

from router.console.wording import value_text

Row = Mapping[str, Any]

PAGE_ROWS = 25
FEW_ROWS = 10
"""So many fit whatever the page's length: there is nothing to page through."""

_LINKED = """<q-td :props="props"><a :href="props.row.href">{{ props.value }}</a></q-td>"""
_METER = """<q-td :props="props"><span class="meter" :title="props.row.meter_title" aria-hidden="true">
<i :style="{width: props.row.alpha_share + '%'}"></i>
<b :style="{left: props.row.low_share + '%', width: (props.row.high_share - props.row.low_share) + '%'}"></b>
</span> {{ props.value }}</q-td>"""
_CHIP = """<q-td :props="props"><span v-if="props.value" class="chip" :class="props.row.{name}_kind">
{{{{ props.value }}}}</span></q-td>"""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: `kind` is how its cells look, `phone` whether a narrow screen shows it."""

    name: str
    label: str
    number: bool = False
    phone: bool = True
    kind: str = "text"


def text(words: str, tag: str = "div", classes: str = "") -> TextElement:
    """An element that holds a text, never markup."""
    return TextElement(tag=tag, text=words).classes(classes)


def box(classes: str, tag: str = "div") -> ui.element:
    """A plain element, to be filled."""
    return ui.element(tag).classes(classes)


@contextlib.contextmanager
def card(title: str = "", classes: str = "") -> Iterator[ui.element]:
    """A section with a heading."""
    with box(f"card {classes}", "section") as section:
        if title:
            text(title, "h2")
        yield section


class Figure:
    """A figure with its name and a note below, which change."""

    def __init__(self, name: str) -> None:
        with box("card kpi"):
            text(name, classes="name")
            self._value = text("–", classes="value")
            self._note = text("", classes="note")

    def show(self, value: str, note: str = "") -> None:
        """Put in what it is now."""
        self._value.set_text(value)
        self._note.set_text(note)


class Chart:
    """An ECharts chart, sent again only where it changed; a text stands for it where there is nothing to draw."""

    def __init__(self, label: str, empty: str = "Nothing was seen yet.", *, tall: bool = False) -> None:
        self._chart = ui.echart({}).classes("chart tall" if tall else "chart")
        self._chart.props(f'role="img" aria-label="{label}"')
        self._empty = text(empty, classes="quiet")
        self._shown: dict[str, Any] = {}
        self._chart.set_visibility(False)

    def show(self, options: dict[str, Any] | None) -> None:
        """Draw these options; None where there is nothing to draw."""
        self._chart.set_visibility(options is not None)
        self._empty.set_visibility(options is None)
        if options is None or options == self._shown:
            return
        self._shown = options
        self._chart.options.clear()
        self._chart.options.update(options)
        self._chart.update()


class Table:
    """Rows that can be searched, sorted and paged through; `key` names the column that tells rows apart."""

    def __init__(
        self, columns: Sequence[Column], key: str, empty: str, *, search: bool = True, wrap: bool = False
    ) -> None:
        """`wrap`: long texts break into lines, where there is room for few words otherwise."""
        self._table = ui.table(
            columns=[_quasar(column) for column in columns], rows=[], row_key=key, pagination={"rowsPerPage": PAGE_ROWS}
        ).props(f'flat dense no-data-label="{empty}" :rows-per-page-options="[10, 25, 50, 100, 0]"')
        self._table.classes("full-width")
        if wrap:
            self._table.props("wrap-cells")
        for column in columns:
            if slot := _slot(column):
                self._table.add_slot(f"body-cell-{column.name}", slot)
        if search:
            with (
                self._table.add_slot("top-left"),
                ui.input(placeholder="Search").props(
                    'dense outlined clearable debounce=200 aria-label="Search this table"'
                ) as search_input,
            ):
                search_input.bind_value(self._table, "filter")

    def add_buttons(self, slot: str, pressed: Callable[[str], object]) -> None:
        """A last column of a button per row; `pressed` gets the row's key."""
        self._table.add_slot("body-cell-act", slot)
        self._table.on("act", lambda event: pressed(str(event.args)))

    def show(self, rows: Sequence[dict[str, Any]]) -> None:
        """These rows, in this order until somebody sorts them."""
        if self._table.rows != list(rows):
            self._table.rows = list(rows)
            self._table.props["hide-pagination"] = len(rows) <= FEW_ROWS
            self._table.update()


def grid(heads: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: frozenset[int] = frozenset()) -> None:
    """A small table that needs no search; `numbers` are the columns set flush right."""
    with box("scroll"), box("grid", "table"):
        with box("", "thead"), box("", "tr"):
            for at, head in enumerate(heads):
                text(head, "th", "num" if at in numbers else "")
        with box("", "tbody"):
            for row in rows:
                with box("", "tr"):
                    for at, cell in enumerate(row):
                        text(cell, "td", "num" if at in numbers else "")


def facts(pairs: Mapping[str, str]) -> None:
    """Names and values, one a line."""
    with box("facts", "table"), box("", "tbody"):
        for name, value in pairs.items():
            with box("", "tr"):
                text(name, "th")
                text(value, "td")


def changes_table(changes: Sequence[Row], before: str = "before", after: str = "after") -> None:
    """What differs between two documents, field by field."""
    if not changes:
        text("They say the same.", classes="quiet")
        return
    with box("scroll"), box("grid diff", "table"):
        with box("", "thead"), box("", "tr"):
            for head in ("field", before, after):
                text(head, "th")
        with box("", "tbody"):
            for change in changes:
                with box("", "tr"):
                    text(str(change["path"]), "td")
                    text(value_text(change.get("before")), "td", "was")
                    text(value_text(change.get("after")), "td", "is")


def _quasar(column: Column) -> dict[str, Any]:
    hidden = "" if column.phone else "narrow-hide"
    return {
        "name": column.name,
        "label": column.label,
        "field": column.name,
        "sortable": column.name != "act",
        "align": "right" if column.number else "left",
        "classes": hidden,
        "headerClasses": hidden,
    }


def _slot(column: Column) -> str | None:
    if column.kind == "link":
        return _LINKED
    if column.kind == "meter":
        return _METER
    if column.kind == "chip":
        return _CHIP.format(name=column.name)
    return None
