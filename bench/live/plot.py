"""Pictures of a comparison: time per token by task and load, and how each arm's time moves while things change.

`python -m bench.live.plot RESULT.json FOLDER` draws those of a result that was written before.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import orjson
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from pydantic import TypeAdapter

from bench.live.arms import OURS, WARM, Hit
from bench.live.plan import Workload
from bench.live.report import Session, by_task, mean_ms, paired_ratio, phases

WINDOW = 21
"""Requests of a running mean: three of each of the demo's tasks."""


NOT_DRAWN = frozenset({"always k=1", "always k=2", f"{OURS} with given tasks", "observe only"})
"""A picture of fifteen arms shows none."""

NO_BARS = frozenset({"always k=3", "always k=6", "article threshold k=6", WARM})
"""Between others, or level with them: seven bars a task can be told apart."""


def draw(sessions: Sequence[Session], arms: Sequence[str], folder: Path, workload: Workload) -> list[Path]:
    """Write the pictures as PNG files into `folder` and say which."""
    mpl.use("Agg")
    arms = [arm for arm in arms if arm not in NOT_DRAWN]
    folder.mkdir(parents=True, exist_ok=True)
    found = [_saved(_tasks(sessions, arms), folder / f"{workload}-tasks.png")]
    if len(arms) > 1 and OURS in arms:
        found.append(_saved(_ratios(sessions, arms), folder / f"{workload}-ratios.png"))
    if workload is not Workload.MIX:
        found.append(_saved(_course(sessions, arms), folder / f"{workload}-course.png"))
    return found


def read(result: Path) -> tuple[list[Session], list[str], Workload]:
    """The sessions of a result file, but for how long its arms took, its arms and its workload."""
    found = orjson.loads(result.read_bytes())
    hits = TypeAdapter(dict[str, list[Hit]]).validate_python(found["requests"])
    ((workload, loads),) = found["results"].items()
    arms = list(next(iter(loads.values())))
    return [Session(load, sent, {}) for load, sent in hits.items()], arms, Workload(workload)


def _saved(figure: plt.Figure, file: Path) -> Path:
    figure.savefig(file, dpi=110)
    plt.close(figure)
    return file


def _panels(sessions: Sequence[Session], height: float = 3.4) -> tuple[plt.Figure, list[Axes]]:
    figure, axes = plt.subplots(len(sessions), 1, figsize=(9, height * len(sessions)), squeeze=False, layout="tight")
    return figure, list(axes[:, 0])


def _tasks(sessions: Sequence[Session], arms: Sequence[str]) -> plt.Figure:
    """Bars of the mean time per token: a group for each task, a bar for each arm."""
    arms = [arm for arm in arms if arm not in NO_BARS]
    figure, panels = _panels(sessions)
    for session, axes in zip(sessions, panels, strict=True):
        found = {arm: by_task(session.of(arm)) for arm in arms}
        tasks = sorted(found[arms[0]])
        width = 0.8 / len(arms)
        for number, arm in enumerate(arms):
            places = [place - 0.4 + width * (number + 0.5) for place in range(len(tasks))]
            color = "black" if arm == OURS else f"C{number}"
            axes.bar(places, [mean_ms(found[arm][task]) for task in tasks], width, label=arm, color=color)
        axes.set_xticks(range(len(tasks)), [task.replace("_", "\n") for task in tasks], fontsize=8)
        axes.set_ylabel("ms per token")
        axes.set_title(session.load)
    panels[0].legend(fontsize=7, ncols=3)
    return figure


def _ratios(sessions: Sequence[Session], arms: Sequence[str]) -> plt.Figure:
    """Our time per token over each other arm's, with its 95 % interval; left of 1 ours is faster."""
    others = [arm for arm in arms if arm != OURS]
    figure, panels = _panels(sessions, height=0.9 + 0.28 * len(others))
    for session, axes in zip(sessions, panels, strict=True):
        for place, arm in enumerate(reversed(others)):
            ratio = paired_ratio(session.of(OURS), session.of(arm))
            axes.plot([ratio.low, ratio.high], [place, place], color="black", linewidth=2)
            axes.plot(ratio.value, place, "o", color="black")
        axes.axvline(1, color="grey", linewidth=1)
        axes.set_yticks(range(len(others)), list(reversed(others)), fontsize=8)
        axes.set_xlabel(f"time per token, {OURS} / other")
        axes.set_title(session.load)
    return figure


def _course(sessions: Sequence[Session], arms: Sequence[str]) -> plt.Figure:
    """Running means of the time per token over the requests; grey where the drafter is the worn one."""
    figure, panels = _panels(sessions)
    for session, axes in zip(sessions, panels, strict=True):
        for number, arm in enumerate(arms):
            hits = sorted(session.of(arm), key=lambda hit: hit.block)
            means = [mean_ms(hits[max(0, end - WINDOW) : end]) for end in range(1, len(hits) + 1)]
            axes.plot(means, label=arm, color="black" if arm == OURS else f"C{number}")
        begin = 0
        for phase in phases(session.of(arms[0])):
            if phase[0].shot.worn:
                axes.axvspan(begin, begin + len(phase), color="0.9")
            begin += len(phase)
        axes.set_xlabel("request")
        axes.set_ylabel(f"ms per token, mean of {WINDOW}")
        axes.set_title(session.load)
    panels[0].legend(fontsize=7)
    return figure


if __name__ == "__main__":
    sessions, arms, workload = read(Path(sys.argv[1]))
    for file in draw(sessions, arms, Path(sys.argv[2]), workload):
        print(file)
