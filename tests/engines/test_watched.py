"""Servers by URL: each is verified, lost and taken back on its own."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable

import pytest
from pydantic import ValidationError

import engines.engine
import engines.watched
from engines.engine import UnreachableError, UrlEngine
from engines.member import Announcing
from engines.pool import PoolSettings
from engines.registry import Heartbeat
from engines.simulator.engine import SimulatedEngine
from engines.simulator.server import SimulatorServer
from engines.simulator.settings import SimulatorSettings
from engines.vllm_selfcheck import SelfCheck
from engines.watched import Watched
from router.state.store import MemoryRegistry

OFTEN = Announcing(every_s=0.02, ttl_s=0.3, read_s=0.02)
NOWHERE = "http://127.0.0.1:1"


@pytest.fixture
def registry() -> MemoryRegistry:
    """Where servers are announced."""
    return MemoryRegistry(time.monotonic)


@pytest.fixture
async def server() -> AsyncIterator[SimulatorServer]:
    """Somebody else's server."""
    settings = SimulatorSettings(model="demo", calibration="instant", api_key="theirs", time_scale=0)
    async with SimulatorServer(SimulatedEngine(settings)) as running:
        yield running


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries and patience of milliseconds."""
    for name in ("FIRST_RETRY_S", "LONGEST_RETRY_S", "LONGEST_SILENCE_S"):
        monkeypatch.setattr(engines.watched, name, 0.02)
    monkeypatch.setattr(engines.engine, "_LOOK_S", 0.02)
    monkeypatch.setattr(engines.engine, "_AWAY_S", 0.2)


def pool(**fields: object) -> PoolSettings:
    """A pool by url; what it watches is given to `Watched`."""
    return PoolSettings.model_validate(
        {"name": "theirs", "engine": "url", "urls": [NOWHERE], "api_key": "theirs", "probe": False, **fields}
    )


async def _until(good: Callable[[list[Heartbeat]], bool], registry: MemoryRegistry) -> list[Heartbeat]:
    deadline = time.monotonic() + 10
    while not good(beats := await registry.replicas()):
        assert time.monotonic() < deadline, f"never so: {beats}"
        await asyncio.sleep(0.01)
    return beats


def _ready(beats: list[Heartbeat]) -> list[str]:
    return sorted(beat.url for beat in beats if beat.state == "ready")


async def test_one_that_is_down_keeps_no_other_waiting(registry: MemoryRegistry, server: SimulatorServer) -> None:
    """The pool is up with what answers; the other is shown with its reason."""
    both = [Watched(f"theirs-{i}", pool(), url, registry, OFTEN) for i, url in enumerate((server.url, NOWHERE))]
    await asyncio.wait_for(asyncio.gather(*(one.join() for one in both)), 10)
    beats = await _until(lambda beats: _ready(beats) == [server.url] and len(beats) == 2, registry)
    (ready, down) = sorted(beats, key=lambda beat: beat.replica)
    assert (ready.api_key, down.state) == ("theirs", "starting")
    assert down.phase.startswith("trying again: /metrics: Cannot connect")
    await asyncio.gather(*(one.leave(1) for one in both))
    assert await registry.replicas() == []


async def test_one_that_comes_back_is_taken_back(registry: MemoryRegistry, server: SimulatorServer) -> None:
    """It vanishes while it is away, and is verified anew: another server may answer there now."""
    port = int(server.url.rpartition(":")[2])
    one = Watched("theirs-0", pool(), server.url, registry, OFTEN)
    await one.join()
    await _until(lambda beats: _ready(beats) == [server.url], registry)
    server.kill()
    await _until(lambda beats: not _ready(beats) and "no answer" in "".join(beat.phase for beat in beats), registry)
    await server.start(port=port)
    await _until(lambda beats: _ready(beats) == [server.url], registry)
    await one.leave(1)


async def test_one_that_fails_its_check_is_checked_again(
    registry: MemoryRegistry, server: SimulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Left out, with the reason, until it passes."""
    checks = 0

    async def checked(*_: object, **__: object) -> SelfCheck:
        nonlocal checks
        checks += 1
        right = checks > 2
        return SelfCheck(True, True, right, () if right else ("k = 2: no drafts",))

    monkeypatch.setattr("engines.verification.self_check", checked)
    one = Watched("theirs-0", pool(method="ngram", k_max=2), server.url, registry, OFTEN)
    await one.join()
    await _until(lambda beats: _ready(beats) == [server.url], registry)
    assert checks == 3
    await one.leave(1)


async def test_an_engine_is_asked_before_its_start_like_after(server: SimulatorServer) -> None:
    """Its load needs no start; where nothing answers the error says so."""
    engine = UrlEngine(server.url, "theirs")
    assert (await engine.load()).running == 0
    await engine.stop()
    nothing = UrlEngine(NOWHERE, None)
    with pytest.raises(UnreachableError, match="Cannot connect"):
        await nothing.start()
    await nothing.stop()


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"replicas": 2}, r"a pool by url has one replica, .*\(replicas is 2\)"),
        ({"urls": ["http://a", "http://a/v1/"]}, "'http://a' is given twice"),
        ({"urls": ["a:8000"]}, "'a:8000' is not an http"),
        ({"urls": []}, "urls go with engine 'url' alone"),
    ],
)
def test_no_server_is_announced_twice(fields: dict[str, object], said: str) -> None:
    """Each replica would announce all of them."""
    with pytest.raises(ValidationError, match=said):
        pool(**fields)


async def test_its_key_may_come_by_environment(
    registry: MemoryRegistry, server: SimulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Settings name the variable, and hold no secret; both at once are refused."""
    monkeypatch.setenv("THEIR_KEY", "theirs")
    one = Watched("theirs-0", pool(api_key=None, api_key_env="THEIR_KEY"), server.url, registry, OFTEN)
    await one.join()
    (ready,) = await _until(lambda beats: _ready(beats) == [server.url], registry)
    assert ready.api_key == "theirs"
    await one.leave(1)
    with pytest.raises(ValidationError, match="exclude each other"):
        pool(api_key_env="THEIR_KEY")


async def test_a_password_in_a_url_is_shown_to_nobody(
    registry: MemoryRegistry, server: SimulatorServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither the log nor what the server is announced to be busy with names how to get in."""
    url = server.url.replace("://", "://svc:hunter2@")
    kept_out = pool(api_key="another's", urls=[url], method="ngram", k_max=2)
    watched = Watched("theirs-0", kept_out, url, registry, OFTEN)
    await watched.join()
    (down,) = await _until(lambda beats: bool(beats) and beats[0].phase.startswith("trying again: "), registry)
    await watched.leave(1)
    assert "trying again" in caplog.text
    assert "hunter2" not in down.phase + caplog.text
