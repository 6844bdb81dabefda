"""Showing how a start goes: a live table on a terminal, a line per change elsewhere."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table

from engines.registry import WARNED
from router.local.service import Seen

READY = frozenset({"ready", "healthy", "running"})


class StartProgress:
    """A context manager around the wait; `show` takes what was seen last."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began_s = time.monotonic()
        self._said: dict[str, str] = {}
        self._asides: set[tuple[str, str]] = set()
        self._live = Live(console=console, refresh_per_second=8, transient=True) if console.is_terminal else None

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, seen: Seen) -> None:
        """Bring the display up to date."""
        if self._live is not None:
            self._live.update(self._table(seen))
            return
        for name, phase in seen.phases.items():
            if self._said.get(name) != phase:
                self._said[name] = phase
                self._console.print(f"{self._elapsed_s():5.0f} s  {name}: {self._news(name, phase)}", highlight=False)

    def _news(self, name: str, phase: str) -> str:
        """The phase without what preflight warned of, once that was printed."""
        doing, found, aside = phase.partition(WARNED)
        told = (name, aside) in self._asides
        self._asides.add((name, aside))
        return doing if told or not found else phase

    def _table(self, seen: Seen) -> Table:
        table = Table.grid(padding=(0, 2))
        for name, phase in sorted(seen.phases.items()):
            table.add_row("[green]✓[/]" if phase in READY else Spinner("dots"), name, f"[dim]{phase}[/]")
        table.add_row(Spinner("dots"), f"[dim]{self._elapsed_s():.0f} s[/]", "")
        return table

    def _elapsed_s(self) -> float:
        return time.monotonic() - self._began_s
