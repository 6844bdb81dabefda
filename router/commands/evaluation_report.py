"""An evaluation as JSON, as Markdown, as a table in the terminal and as a plot."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson
from rich.table import Table

from engines.evaluation_figures import Change, Figures, Row, TaskFigures
from engines.evaluation_intervals import Interval
from router.errors import SetupError

KIND, VERSION = "alpharoute-evaluation", 1


@dataclass(frozen=True, slots=True)
class Report:
    """What was asked of which engines, the sums of every answer, the figures by engine and task, and what changed."""

    head: Mapping[str, Any]
    rows: Sequence[Row]
    figures: Mapping[str, Mapping[str, TaskFigures]]
    changes: Mapping[str, Change]
    against: str = ""

    def as_json(self) -> bytes:
        """The whole of it; `earlier` reads the rows back."""
        said = {"kind": KIND, "version": VERSION, **self.head, "rows": [asdict(one) for one in self.rows]}
        said["figures"] = {
            engine: {task: {"advice": asdict(found.advice), "by_k": _by_k(found)} for task, found in tasks.items()}
            for engine, tasks in self.figures.items()
        }
        if self.changes:
            said["against"] = self.against
            said["changes"] = {task: asdict(found) for task, found in self.changes.items()}
        return orjson.dumps(said, option=orjson.OPT_INDENT_2)


def _by_k(found: TaskFigures) -> dict[str, Any]:
    return {str(k): asdict(figures) for k, figures in found.by_k.items()}


def earlier(path: Path) -> tuple[Mapping[str, Any], list[Row]]:
    """An earlier report's head and rows, of its first engine; SetupError where the file is none."""
    try:
        said = orjson.loads(path.read_bytes())
        if said["kind"] != KIND or said["version"] != VERSION:
            raise ValueError(f"kind {said['kind']!r}, version {said['version']!r}")
        rows = [Row(**{**one, "s": tuple(one["s"]), "e": tuple(one["e"])}) for one in said["rows"]]
        first = said["engines"][0]["name"]
    except OSError as error:
        raise SetupError(f"--compare {str(path)!r}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise SetupError(f"--compare {str(path)!r} is no report of `alpharoute evaluate --json` ({error})") from None
    return {key: value for key, value in said.items() if key != "rows"}, [one for one in rows if one.engine == first]


def markdown(report: Report) -> str:
    """The report for people."""
    lines = ["# Evaluation", "", _sentence(report.head), ""]
    for engine, tasks in report.figures.items():
        lines += [f"## {engine}", "", *_lines(_HEAD, (_cells(task, found) for task, found in tasks.items())), ""]
        lines += ["### By k", "", *_lines(_K_HEAD, _k_rows(tasks)), ""]
    if report.changes:
        cells = (_change_cells(task, found) for task, found in report.changes.items())
        lines += [f"## Against {report.against}", "", *_lines(_CHANGE_HEAD, cells), "", stale(report.changes), ""]
    return "\n".join(lines)


def tables(report: Report) -> Iterable[Table]:
    """The report for a terminal."""
    for engine, tasks in report.figures.items():
        yield _table(engine, _HEAD, (_cells(task, found) for task, found in tasks.items()))
    if report.changes:
        cells = (_change_cells(task, found) for task, found in report.changes.items())
        yield _table(f"Against {report.against}", _CHANGE_HEAD, cells)


def stale(changes: Mapping[str, Change]) -> str:
    """Whether a draft has gone stale, in a sentence."""
    fell = [task for task, found in changes.items() if found.verdict == "fell"]
    if not fell:
        return "No task's acceptance fell."
    which = ", ".join(fell)
    if len(fell) * 2 >= len(changes):
        return f"Acceptance fell for {len(fell)} of {len(changes)} tasks ({which}): the drafter has gone stale."
    return f"Acceptance fell for {which}, not for the others: look at what these tasks ask now."


_HEAD = ("task", "advice", "time per token against k = 0", "α", "tokens per step", "survival S(1), S(2), …", "coverage")
_K_HEAD = ("task", "k", "answers", "ms per token", "against k = 0", "α", "tokens per step")
_CHANGE_HEAD = ("task", "k", "prompts", "α, now − before", "tokens per step, ratio", "time per token, ratio", "verdict")


def _cells(task: str, found: TaskFigures) -> tuple[str, ...]:
    advice, drafted = found.advice, [figures for k, figures in found.by_k.items() if k > 0]
    said = f"on, k = {advice.k}" if advice.speculate == "on" else advice.speculate
    if not drafted:
        return (task, "–", "–", "–", "–", "–", "–")
    deepest, shown = drafted[-1], found.by_k.get(advice.k, drafted[-1]) if advice.k else drafted[-1]
    survival = " ".join(f"{one.value:.2f}" for one in deepest.survival)
    coverage = "–" if deepest.coverage is None else f"{deepest.coverage:.2f}"
    return (task, said, text(advice.ratio), text(deepest.alpha), text(shown.length), survival or "–", coverage)


def _k_rows(tasks: Mapping[str, TaskFigures]) -> Iterable[tuple[str, ...]]:
    for task, found in tasks.items():
        for k, one in found.by_k.items():
            yield (
                task,
                str(k),
                str(one.answers),
                text(one.tpot_ms),
                text(one.ratio),
                text(one.alpha),
                text(one.length),
            )


def _change_cells(task: str, found: Change) -> tuple[str, ...]:
    figures = (text(found.alpha), text(found.length_ratio), text(found.tpot_ratio))
    return (task, str(found.k), str(found.prompts), *figures, found.verdict)


def text(interval: Interval | None) -> str:
    """A figure and its interval."""
    return "–" if interval is None else f"{interval.value:.2f} [{interval.low:.2f}, {interval.high:.2f}]"


def _lines(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    cells = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(line) + " |" for line in cells]


def _table(title: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    table = Table(*head, title=title)
    for line in rows:
        table.add_row(*line)
    return table


def _sentence(head: Mapping[str, Any]) -> str:
    return (
        f"`{head['command']}`, {head['at']}: {head['prompts']} prompts, {head['rounds']} interleaved rounds, "
        f"temperature {head['temperature']:g}, one request at a time. 95 % intervals over prompts. The advice is for "
        "an engine that has nothing else to do; under load the router chooses less."
    )


def draw(report: Report, path: Path) -> None:
    """Time per token by k (line: k = 0) and survival, a line per engine, a column per task; SetupError says why not."""
    try:
        import matplotlib as mpl
    except ModuleNotFoundError:
        raise SetupError("--plot needs matplotlib: pip install matplotlib") from None
    mpl.use("Agg")
    import matplotlib.pyplot as plt

    tasks = sorted({task for found in report.figures.values() for task in found})
    figure, axes = plt.subplots(2, len(tasks), figsize=(2.6 * len(tasks), 5), squeeze=False, layout="constrained")
    for column, task in enumerate(tasks):
        for engine, found in report.figures.items():
            if task in found:
                _curves(axes[0][column], axes[1][column], engine, found[task].by_k)
        axes[0][column].axhline(1.0, color="#aa3333", linewidth=1)
        axes[0][column].set(title=task, xlabel="k")
        axes[1][column].set(xlabel="draft position", ylim=(0, 1.05))
    axes[0][0].set_ylabel("time per token against k = 0")
    axes[1][0].set_ylabel("survival")
    axes[0][0].legend(fontsize=7)
    try:
        figure.savefig(path, dpi=110)
    except (OSError, ValueError) as error:
        raise SetupError(f"--plot {str(path)!r}: {error}") from None
    finally:
        plt.close(figure)


def _curves(above: Any, below: Any, engine: str, by_k: Mapping[int, Figures]) -> None:
    ratios = {k: one.ratio for k, one in by_k.items() if one.ratio is not None}
    _line(above, engine, list(ratios), list(ratios.values()))
    survival = by_k[max(by_k)].survival
    _line(below, engine, list(range(1, len(survival) + 1)), survival)


def _line(axis: Any, label: str, x: Sequence[int], y: Sequence[Interval]) -> None:
    spread = [[one.value - one.low for one in y], [one.high - one.value for one in y]]
    if x:
        axis.errorbar(x, [one.value for one in y], yerr=spread, marker="o", markersize=3, capsize=2, label=label)
