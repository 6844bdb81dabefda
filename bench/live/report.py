"""From hits to figures: time per token by arm, task and temperature, with paired bootstrap intervals."""

import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from rich.table import Table

from bench.live.arms import OURS, Hit

RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class Ratio:
    """A ratio of mean times per token (below 1: ours is faster) with its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


Kind = tuple[str, float]


def by_kind(hits: Sequence[Hit]) -> dict[Kind, dict[str, list[Hit]]]:
    """Hits by task and temperature, then by arm."""
    kinds: dict[Kind, dict[str, list[Hit]]] = defaultdict(lambda: defaultdict(list))
    for hit in hits:
        kinds[hit.shot.task, hit.shot.temperature][hit.arm].append(hit)
    return dict(sorted(kinds.items()))


def mean_ms(hits: Sequence[Hit]) -> float:
    """Mean over requests of milliseconds per token."""
    return fmean(hit.ms_per_token for hit in hits)


def paired_ratio(ours: Sequence[Hit], other: Sequence[Hit], seed: int = 0) -> Ratio:
    """Ours over the other arm's mean; the bootstrap draws shots, so that each resample compares the same prompts."""
    pairs = [(a.ms_per_token, b.ms_per_token) for a, b in zip(ours, other, strict=True)]
    draws = random.Random(seed)
    ratios = sorted(_ratio([draws.choice(pairs) for _ in pairs]) for _ in range(RESAMPLES))
    return Ratio(_ratio(pairs), ratios[int(0.025 * RESAMPLES)], ratios[int(0.975 * RESAMPLES)])


def _ratio(pairs: Sequence[tuple[float, float]]) -> float:
    return sum(a for a, _ in pairs) / sum(b for _, b in pairs)


def settled(hits: Sequence[Hit]) -> str:
    """Pool and k that the last third of an arm's hits mostly got."""
    last = hits[-max(1, len(hits) // 3) :]
    (pool, k), count = Counter((hit.pool, hit.k) for hit in last).most_common(1)[0]
    return f"{pool} k={k} ({count}/{len(last)})"


def tables(hits: Sequence[Hit], arms: Sequence[str]) -> list[Table]:
    """The comparison by task and temperature, and the totals."""
    detail = Table(
        "task", "temperature", *(f"{arm}, ms/token" for arm in arms), "ours ended on", title="Time per token"
    )
    for (task, temperature), found in by_kind(hits).items():
        best = min(mean_ms(found[arm]) for arm in arms)
        cells = [_marked(mean_ms(found[arm]), best) for arm in arms]
        detail.add_row(task, f"{temperature:g}", *cells, settled(found[OURS]))
    total = Table("arm", "ms/token", "ours / arm [95 %]", "requests", title="All prompts")
    for arm in arms:
        mine, theirs = _of(hits, OURS), _of(hits, arm)
        total.add_row(
            arm, f"{mean_ms(theirs):.2f}", "" if arm == OURS else str(paired_ratio(mine, theirs)), str(len(theirs))
        )
    return [detail, total]


def summary(hits: Sequence[Hit], arms: Sequence[str]) -> dict[str, object]:
    """The same as JSON, every request included."""
    mine = _of(hits, OURS)
    kinds = by_kind(hits)
    return {
        "mean_ms_per_token": {arm: mean_ms(_of(hits, arm)) for arm in arms},
        "ours_over": {arm: paired_ratio(mine, _of(hits, arm)) for arm in arms if arm != OURS},
        "by_task": [
            {
                "task": task,
                "temperature": temperature,
                "mean_ms_per_token": {arm: mean_ms(found[arm]) for arm in arms},
                "ours_ended_on": settled(found[OURS]),
            }
            for (task, temperature), found in kinds.items()
        ],
        "requests": hits,
    }


def _of(hits: Sequence[Hit], arm: str) -> list[Hit]:
    return [hit for hit in hits if hit.arm == arm]


def _marked(value: float, best: float) -> str:
    return f"[bold]{value:.2f}[/]" if value <= best * 1.02 else f"{value:.2f}"
