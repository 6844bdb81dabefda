"""k as clients send it: the same reading in vLLM's scheduler and in the simulator."""

import pytest

from engines.contract import requested_k


@pytest.mark.parametrize(
    ("asked", "k"), [(None, 4), (0, 0), (2, 2), (2.0, 2), (2.5, 4), (-1, 0), (99, 4), (True, 4), ("2", 4), ([1], 4)]
)
def test_k_is_clamped_and_nonsense_is_the_largest(asked: object, k: int) -> None:
    """It never raises: that would end every request of the engine."""
    assert requested_k(None if asked is None else {"spec_k": asked}, k_max=4) == k


def test_no_arguments_at_all() -> None:
    """A request without `vllm_xargs` drafts as much as the engine can."""
    assert requested_k(None, 3) == requested_k({}, 3) == 3
