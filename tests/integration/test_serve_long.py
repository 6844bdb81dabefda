"""What takes its time, over real Ray Serve and HAProxy: long streams, slow heads, a router that comes in an outage."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import psutil
import pytest
import yaml
from deployed import Deployed, deployed

from router.local.embedded_redis import EmbeddedRedis

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.timeout(300)]

TOKENS = 11
"""Five seconds each: a step that takes 49 ms by the calibration, at a hundredth of its speed."""
CLIENT_TIMEOUT_S = 3
SLOW = {
    "pools": [
        {
            "name": "vanilla",
            "model": "demo",
            "engine": "simulator",
            "drain_s": 90,
            "probe": False,
            "simulator": {"time_scale": 0.01},
        }
    ],
    "router": {"drain_s": 90},
}
CHAT = {"model": "demo", "messages": [{"role": "user", "content": "hello"}]}
LONG = {**CHAT, "max_tokens": TOKENS, "ignore_eos": True, "stream": True}


async def test_a_stream_of_fifty_seconds_survives_ctrl_c_and_its_own_silences(redis_url: str, tmp_path: Path) -> None:
    """Its pauses are longer than HAProxy waits for a client that is to say something; the drain waits for its end."""
    settings = tmp_path / "slow.yaml"
    settings.write_text(yaml.safe_dump(SLOW))
    env = {"RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S": str(CLIENT_TIMEOUT_S)}
    with deployed(redis_url, tmp_path, "--config", str(settings), env=env) as running:
        family = psutil.Process(running.process.pid).children(recursive=True)
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=150)) as session,
            session.post(f"{running.url}/v1/chat/completions", json=LONG) as got,
        ):
            assert got.status == 200
            await got.content.readuntil(b"\n\n")
            await _half_a_head_is_hung_up_on(running)
            os.kill(running.process.pid, signal.SIGINT)
            began_s = time.monotonic()
            rest = await got.read()
            took_s = time.monotonic() - began_s
        assert rest.endswith(b"data: [DONE]\n\n"), rest[-500:]
        assert b'"error"' not in rest
        assert took_s > 40
        assert await asyncio.to_thread(running.process.wait, 60) == 0, running.log.read_text()
        _, alive = await asyncio.to_thread(psutil.wait_procs, family, 20)
        assert alive == []
    said = running.log.read_text()
    assert "raylet" not in said
    assert "Deleting app" not in said


async def _half_a_head_is_hung_up_on(running: Deployed) -> None:
    """Well before the thirty seconds that a head has: the client's own timeout is shorter here."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(running.url.rsplit(":", 1)[1]))
    began_s = time.monotonic()
    writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n")
    said = await asyncio.wait_for(reader.read(), 20)
    writer.close()
    assert time.monotonic() - began_s < 20
    assert said == b"" or said.startswith(b"HTTP/1.1 408")


@pytest.fixture
def own_redis() -> Iterator[EmbeddedRedis]:
    """A redis-server that the test may harm."""
    with EmbeddedRedis() as redis:
        yield redis


async def test_a_router_that_comes_while_redis_hangs_serves(own_redis: EmbeddedRedis, tmp_path: Path) -> None:
    """Nobody is left who knew the engines: they are asked through Serve."""
    with deployed(own_redis.url, tmp_path, "--engine", "sim") as running:
        before = await _router(running.url)
        assert before is not None
        assert own_redis.pid is not None
        os.kill(own_redis.pid, signal.SIGSTOP)
        try:
            for process in psutil.Process(running.process.pid).children(recursive=True):
                if " ".join(process.cmdline()).startswith("ray::ServeReplica:alpharoute:router"):
                    process.kill()
            deadline = time.monotonic() + 90
            while await _router(running.url) in (None, before):
                assert time.monotonic() < deadline, "no router came"
                await asyncio.sleep(0.2)
            async with (
                aiohttp.ClientSession() as session,
                session.post(f"{running.url}/v1/chat/completions", json={**CHAT, "max_tokens": 8}) as got,
            ):
                assert got.status == 200, await got.text()
        finally:
            os.kill(own_redis.pid, signal.SIGCONT)


async def _router(url: str) -> str | None:
    """Which router answers that it is ready; None where none does."""
    with contextlib.suppress(aiohttp.ClientError, TimeoutError):
        timeout = aiohttp.ClientTimeout(total=5)
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(f"{url}/ready") as got:
            if got.status == 200:
                return str((await got.json())["router"])
    return None
