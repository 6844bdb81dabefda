"""A score as tables for the terminal, and the confusion matrix as a plot."""

from pathlib import Path

from rich.console import Group
from rich.table import Column, Table

from classifiers.scoring import Score

_SOURCES = 40


def tables(score: Score) -> Group:
    """The summary, the latency, the tasks, the confusion matrix and the sources of a score."""
    latency = [_latency(score)] if score.latency else []
    return Group(_summary(score), *latency, _tasks(score), _confusion(score), _sources(score))


def plot_confusion(score: Score, path: Path) -> None:
    """Draw the confusion matrix as shares of each true task; needs matplotlib, which the project does not install."""
    from matplotlib.figure import Figure

    tasks = list(score.confusion)
    labelled = _labelled(score)
    figure = Figure(figsize=(9, 8), layout="constrained")
    axes = figure.subplots()
    shares = [
        [score.confusion[task].get(other, 0) / score.per_task[task].examples for other in labelled] for task in tasks
    ]
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(labelled)), labelled, rotation=45, ha="right")
    axes.set_yticks(range(len(tasks)), tasks)
    axes.set_xlabel("labelled")
    axes.set_ylabel("true")
    for row, task in enumerate(tasks):
        for column, other in enumerate(labelled):
            if count := score.confusion[task].get(other, 0):
                colour = "white" if shares[row][column] > 0.6 else "black"
                axes.text(column, row, str(count), ha="center", va="center", color=colour)
    axes.set_title(f"macro-F1 {score.macro_f1_tasks:.3f}, with other {score.macro_f1_with_other:.3f}")
    figure.savefig(path, dpi=120)


def _summary(score: Score) -> Table:
    table = Table(box=None, show_header=False)
    for name, value, unit in (
        ("macro-F1 of the tasks", score.macro_f1_tasks, ""),
        ("macro-F1 with other", score.macro_f1_with_other, ""),
        ("expected calibration error", score.ece, ""),
        ("  of true confidences, by chance", score.ece_by_chance, ""),
        ("recall of tool requests", score.recall_tools, ""),
        ("time of one prompt, median", score.p50_ms, " ms"),
        ("time of one prompt, 99th percentile", score.p99_ms, " ms"),
    ):
        if value is not None:
            table.add_row(name, f"{value:.3f}{unit}")
    return table


def _latency(score: Score) -> Table:
    table = Table("request of", _right("median ms"), _right("99th percentile ms"))
    for size, found in score.latency.items():
        table.add_row(size, f"{found.p50_ms:.3f}", f"{found.p99_ms:.3f}")
    return table


def _tasks(score: Score) -> Table:
    table = Table("task", *(_right(name) for name in ("precision", "recall", "F1", "examples")))
    for task, found in score.per_task.items():
        table.add_row(task, f"{found.precision:.3f}", f"{found.recall:.3f}", f"{found.f1:.3f}", str(found.examples))
    return table


def _confusion(score: Score) -> Table:
    labelled = _labelled(score)
    table = Table("true \\ labelled", *(_right(_initials(task)) for task in labelled))
    for task, found in score.confusion.items():
        cells = [str(found.get(other, "")) for other in labelled]
        table.add_row(f"{task} ({_initials(task)})", *cells)
    return table


def _sources(score: Score) -> Table:
    worst = sorted(score.per_source.items(), key=lambda item: item[1].accuracy)
    name = "source" if len(worst) <= _SOURCES else f"source (the worst {_SOURCES} of {len(worst)})"
    table = Table(name, _right("accuracy"), _right("examples"))
    for source, found in worst[:_SOURCES]:
        table.add_row(source, f"{found.accuracy:.3f}", str(found.examples))
    return table


def _labelled(score: Score) -> list[str]:
    return sorted({task for found in score.confusion.values() for task in found} | set(score.confusion))


def _initials(task: str) -> str:
    return task[:3]


def _right(name: str) -> Column:
    return Column(name, justify="right")
