"""Who measures when, of engines that start together on one machine."""

import asyncio
import time
from typing import Never

import pytest

from engines.registry import Heartbeat
from engines.turn import WAITING, Turn
from router.state.store import MemoryRegistry

HERE, ELSEWHERE = "http://10.0.0.1:{}", "http://10.0.0.2:{}"


@pytest.fixture
def registry() -> MemoryRegistry:
    """Where the engines announce themselves."""
    return MemoryRegistry(time.monotonic)


def _other(**but: object) -> Heartbeat:
    of_ours = {"replica": "b-1", "pool": "b", "model": "m", "target": "t", "url": HERE.format(2), "reloadable": True}
    return Heartbeat.model_validate({**of_ours, "state": "starting", "phase": "loading the target", **but})


def _turn(name: str, registry: MemoryRegistry, limit_s: float = 10.0) -> Turn:
    return Turn(name, HERE.format(1), registry, limit_s, every_s=0.001)


async def test_it_waits_until_the_others_have_loaded(registry: MemoryRegistry) -> None:
    """Whoever is up first does not measure while another takes every core."""
    await registry.announce(_other(), 60)
    coming = asyncio.create_task(_turn("a-1", registry).come())
    done, _ = await asyncio.wait([coming], timeout=0.05)
    assert not done
    await registry.announce(_other(phase=WAITING), 60)
    await asyncio.wait_for(coming, 5)


async def test_the_first_by_name_goes_first(registry: MemoryRegistry) -> None:
    """Two that wait do not wait for each other, and do not measure at once."""
    await registry.announce(_other(phase=f"{WAITING} (preflight: tight)"), 60)
    await asyncio.wait_for(_turn("a-1", registry).come(), 5)
    last = asyncio.create_task(_turn("c-1", registry).come())
    await registry.announce(_other(phase="measuring step times"), 60)
    done, _ = await asyncio.wait([last], timeout=0.05)
    assert not done
    await registry.announce(_other(state="ready", phase=""), 60)
    await asyncio.wait_for(last, 5)


@pytest.mark.parametrize(
    "other",
    [{"url": ELSEWHERE.format(2)}, {"reloadable": False}, {"state": "ready"}, {"replica": "a-1"}],
    ids=["another machine", "a server that others run", "it serves", "itself"],
)
async def test_nobody_waits_for_what_is_not_loading_here(registry: MemoryRegistry, other: dict[str, object]) -> None:
    """Only engines that we start on this machine take its cores from a measurement."""
    await registry.announce(_other(**other), 60)
    await asyncio.wait_for(_turn("a-1", registry).come(), 5)


async def test_one_that_never_loads_is_not_waited_for_long(
    registry: MemoryRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    """An engine that hangs at its start must not keep the others from serving; the log says so."""
    await registry.announce(_other(), 60)
    await asyncio.wait_for(_turn("a-1", registry, limit_s=0.01).come(), 5)
    assert "a-1: measures its step times while b-1 starts" in caplog.text


async def test_a_registry_that_is_away_holds_nobody_up() -> None:
    """Redis being away must not cost a start a minute."""

    class Away(MemoryRegistry):
        async def replicas(self) -> Never:
            raise ConnectionError("refused")

    await asyncio.wait_for(_turn("a-1", Away(time.monotonic)).come(), 5)
