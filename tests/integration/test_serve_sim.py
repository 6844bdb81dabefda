"""`alpharoute serve --engine sim`: real Ray Serve, HAProxy and Redis, without a model."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import psutil
import pytest
from deployed import Deployed, deployed

pytestmark = [pytest.mark.ray, pytest.mark.timeout(240)]

FAST = {"ALPHAROUTE_ROUTER__REPLICAS": "2", "ALPHAROUTE_LOGS__FORMAT": "json", "ALPHAROUTE_LOGS__REQUESTS": "true"}
CHAT = {"model": "demo", "messages": [{"role": "user", "content": "[task:sql_generation] hello"}], "max_tokens": 24}


@pytest.fixture(scope="module")
def service(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    """Two routers, one simulator in each pool."""
    with deployed(redis_url, tmp_path_factory.mktemp("sim"), "--engine", "sim", env=FAST) as running:
        yield running


async def _ask(url: str, task: str = "sql_generation", **headers: str) -> aiohttp.ClientResponse:
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{url}/v1/chat/completions", json=CHAT, headers={"x-alpharoute-task": task, **headers}) as answer,
    ):
        await answer.read()
        return answer


async def _acceptance_by_router(url: str) -> dict[str, dict[str, float]]:
    """Drafts seen by task, as each router tells; every call is a new connection, which HAProxy may send anywhere."""
    seen = {}
    for _ in range(8):
        async with aiohttp.ClientSession() as session, session.get(f"{url}/admin/v1/acceptance") as answer:
            body = await answer.json()
        seen[body["router"]] = {row["task"]: row["drafts"] for row in body["acceptance"]}
    return seen


async def test_two_routers_share_what_they_learn(service: Deployed) -> None:
    """Whichever router a request went through, within a second both know the same drafts."""
    for _ in range(6):
        answer = await _ask(service.url, "mathematics", **{"x-alpharoute-speculation": "on"})
        assert answer.status == 200
        assert answer.headers["x-alpharoute-pool"] == "draft"
    deadline = time.monotonic() + 30
    while True:
        seen = await _acceptance_by_router(service.url)
        drafts = {round(rows.get("mathematics", 0.0), 3) for rows in seen.values()}
        if len(seen) == 2 and len(drafts) == 1 and drafts != {0.0}:
            return
        assert time.monotonic() < deadline, f"the routers do not agree: {seen}"
        await asyncio.sleep(0.2)


async def test_an_answer_has_one_request_id(service: Deployed) -> None:
    """The client's own where it is one, else one that was made; in pages, refusals and answers alike."""
    async with aiohttp.ClientSession(service.url) as session:
        for path, body in (("/health", None), ("/v1/chat/completions", {}), ("/v1/chat/completions", CHAT)):
            for given in ("r-1", "x" * 129, None):
                method, headers = "GET" if body is None else "POST", {"x-request-id": given} if given else {}
                async with session.request(method, path, json=body, headers=headers) as answer:
                    (seen,) = answer.headers.getall("x-request-id")
                    assert (seen == given) is (given == "r-1"), (path, given, seen)


async def test_the_log_says_a_request_at_once_where_the_service_says_it_does(service: Deployed) -> None:
    """In the folder that is told at the start, one object per line, before anything is full or ends."""
    (folder,) = re.findall(r"^  logs: (.+)$", service.log.read_text(), re.MULTILINE)
    async with (
        aiohttp.ClientSession(service.url) as session,
        session.post("/v1/chat/completions", json=CHAT, headers={"x-request-id": "r-log"}) as answer,
    ):
        assert answer.status == 200
    deadline = time.monotonic() + 5
    while "r-log" not in (ids := [line.get("request_id") for line in _log_lines(Path(folder))]):
        assert time.monotonic() < deadline, f"not told in {folder}: {ids}"
        await asyncio.sleep(0.1)


def _log_lines(folder: Path) -> list[dict[str, object]]:
    """Each line of the routers' logs; that each is an object is part of what is tested."""
    return [json.loads(line) for file in folder.glob("router-*.log") for line in file.read_text().splitlines()]


async def _until_running(service: Deployed, count: int, limit_s: float) -> None:
    deadline = time.monotonic() + limit_s
    while sum(beat.running for beat in await service.heartbeats()) != count:
        assert time.monotonic() < deadline, f"not {count} running after {limit_s:g} s"
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_leaves_takes_its_request_along(service: Deployed, stream: bool) -> None:
    """Ray Serve is told not to watch for that: the router does, and the engine stops long before it would be done."""
    asked = {**CHAT, "max_tokens": 400, "ignore_eos": True, "stream": stream}

    async def ask() -> None:
        async with (
            aiohttp.ClientSession(service.url) as session,
            session.post("/v1/chat/completions", json=asked, headers={"x-alpharoute-speculation": "off"}) as answer,
        ):
            await answer.read()

    asking = asyncio.create_task(ask())
    await _until_running(service, 1, 10)
    asking.cancel()
    await _until_running(service, 0, 3)


async def test_a_killed_engine_is_replaced_and_no_request_fails(service: Deployed) -> None:
    """Its process is killed: the other pool answers meanwhile, and Serve brings a new engine."""
    victim = next(beat for beat in await service.heartbeats() if beat.pool == "draft")
    _kill_listener(victim.url)
    deadline = time.monotonic() + 120
    while True:
        assert (await _ask(service.url)).status == 200
        ready = [beat for beat in await service.heartbeats() if beat.pool == "draft" and beat.state == "ready"]
        if any(beat.replica != victim.replica for beat in ready):
            return
        assert time.monotonic() < deadline, "no new engine came"
        await asyncio.sleep(0.1)


async def test_nothing_listens_beyond_this_machine(service: Deployed) -> None:
    """Neither Ray's own ports nor HAProxy's statistics: only `listen` opens anything."""
    family = [psutil.Process(service.process.pid), *psutil.Process(service.process.pid).children(recursive=True)]
    sockets = {
        (one.name(), at.laddr.ip) for one in family for at in one.net_connections("inet") if at.status == "LISTEN"
    }
    assert {name for name, _ in sockets} >= {"haproxy", "raylet", "gcs_server"}
    assert {ip.removeprefix("::ffff:") for _, ip in sockets} == {"127.0.0.1"}, sockets


async def test_a_second_service_on_the_port_is_told_so(service: Deployed) -> None:
    """The message names the port and what to do; the first service is not disturbed."""
    port = service.url.rsplit(":", 1)[1]
    second = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "router.cli", "serve", "--engine", "sim", "--port", port],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert second.returncode == 2
    assert port in second.stderr
    assert "--port" in second.stderr
    assert (await _ask(service.url)).status == 200


@pytest.mark.slow
def test_ctrl_c_ends_it_whole(tmp_path: Path, redis_url: str) -> None:
    """None of its processes is left, the embedded Redis included; `deployed` says the same of SIGTERM."""
    with deployed("embedded", tmp_path, "--engine", "sim") as running:
        family = psutil.Process(running.process.pid).children(recursive=True)
        assert any(child.name() == "redis-server" for child in family)
        os.kill(running.process.pid, signal.SIGINT)
        assert running.process.wait(60) == 0, running.log.read_text()
        _, alive = psutil.wait_procs(family, timeout=20)
    assert alive == []


def _kill_listener(url: str) -> None:
    port = int(url.rsplit(":", 1)[1])
    (listener,) = [
        connection.pid
        for connection in psutil.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port
    ]
    assert listener is not None
    os.kill(listener, signal.SIGKILL)
