"""A soak in small: real engine processes, one of which is killed under load, and the router in this process."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from scripted import ScriptedEngine, answer
from service import VANILLA, Service, running_service, settings_with

from bench.soak.clients import End, Load
from bench.soak.faults import Fault
from bench.soak.stand import MODEL, Engine
from bench.soak.verdict import checks


@dataclass
class Standing(ScriptedEngine):
    """Stands where the router's tests expect an engine; the process behind the URL is another's."""

    async def __aenter__(self) -> "Standing":
        return self

    async def __aexit__(self, *failure: object) -> None:
        return


@pytest.fixture
def engines(tmp_path: Path) -> Iterator[list[Engine]]:
    """Two engine processes that write down what they serve."""
    found = [Engine(f"vanilla-{i}", None, tmp_path / f"{i}.log") for i in range(2)]
    for engine in found:
        engine.start()
    yield found
    for engine in found:
        engine.kill()


@pytest.fixture
async def service(engines: list[Engine]) -> AsyncIterator[Service]:
    """A router over them."""
    pool = VANILLA.model_copy(update={"model": MODEL})
    standing = {engine.name: Standing(answer(b""), engine.url) for engine in engines}
    async with running_service(settings_with([pool], resilience={"breaker_backoff_s": 0.2}), standing) as running:
        yield running


async def test_a_killed_engine_loses_nothing_silently_and_nothing_is_served_twice(
    service: Service, engines: list[Engine]
) -> None:
    """Every claim of a soak holds while an engine dies and comes back; both engines and all kinds of ends are seen."""
    load = Load(service.url, MODEL, clients=24)
    running = asyncio.create_task(load.run(time.monotonic() + 3.0))
    await service.until(lambda: all("served" in engine.log.read_text() for engine in engines))
    killed = Fault("engine killed", engines[0].name, time.monotonic())
    await asyncio.to_thread(engines[0].kill)
    asked_before = len(load.ended)
    await service.until(lambda: len(load.ended) >= asked_before + 10)
    engines[0].spawn()
    await asyncio.to_thread(engines[0].wait)
    await running

    async def inside() -> int:
        return sum([await asyncio.to_thread(engine.inside) for engine in engines])

    deadline = time.monotonic() + 5
    while await inside():
        assert time.monotonic() < deadline, "an engine still works for a client that is gone"
        await asyncio.sleep(0.05)
    lines = [line for engine in engines for line in engine.log.read_text().splitlines()]
    found = checks(load.ended, [killed], lines, await inside(), [])
    assert [check.claim for check in found if not check.held] == [], (load.counts(), load.ended)
    counts = load.counts()
    assert counts[End.COMPLETE] > 20
    assert counts[End.LEFT] > 0
