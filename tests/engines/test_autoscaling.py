"""How many replicas a pool is given for its load."""

from types import SimpleNamespace
from typing import Any

import pytest

from engines.autoscaling import REQUESTS, by_load


def _context(*requests: float, target: float = 32, now: int = 2) -> Any:
    reported = {f"replica-{i}": count for i, count in enumerate(requests)}
    metrics = {REQUESTS: reported} if reported else None
    return SimpleNamespace(
        aggregated_metrics=metrics, target_num_replicas=now, config=SimpleNamespace(target_ongoing_requests=target)
    )


@pytest.mark.parametrize(
    ("requests", "replicas"), [((0, 0), 0), ((1, 0), 1), ((32, 32), 2), ((33, 32), 3), ((100, 100), 7)]
)
def test_replicas_follow_the_requests(requests: tuple[float, ...], replicas: int) -> None:
    """As many as hold the pool's requests at the target each; the bounds are Serve's to apply."""
    assert by_load(_context(*requests))[0] == replicas


def test_silence_changes_nothing() -> None:
    """While no replica has reported, none is added and none taken."""
    assert by_load(_context(now=3))[0] == 3
