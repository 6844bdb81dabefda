"""The console in a thread of its own over an Admin API that answers as told: for pages at sizes and in states that a
real service takes long to reach."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from aiohttp import web

from engines.ports import free_port
from router.console.application import running_console
from router.console.gate import Told

START_S = 30.0


@dataclass
class Service:
    """What the routers say: bodies by path below /admin/v1, and how old what they know of Redis is."""

    bodies: dict[str, Any] = field(default_factory=dict)
    redis_ago_s: float | None = 0.1
    away: bool = False
    url: str = ""
    changes: list[tuple[str, str, Any]] = field(default_factory=list)
    """Method, path and body of whatever was to change something."""

    async def answer(self, request: web.Request) -> web.Response:
        """As a router, or as a proxy before none."""
        if self.away:
            return web.Response(status=503, text="no server is available")
        if request.path == "/ready":
            return web.json_response({"router": "r1", "redis": {"seconds_since_exchange": self.redis_ago_s}})
        path = request.path.removeprefix("/admin/v1")
        if request.method != "GET":
            self.changes.append((request.method, path, await request.json() if request.can_read_body else None))
        body = self.bodies.get(path if request.method == "GET" else f"{request.method} {path}")
        if body is None:
            return web.json_response({"error": {"message": "unknown", "code": "unknown_route"}}, status=404)
        return web.json_response(body)


@contextlib.contextmanager
def console_over(service: Service) -> Iterator[None]:
    """Run both until the block ends; `service.url` is the console's. Once in a process: NiceGUI has one application."""
    started, ending = threading.Event(), threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(_both(service, started, ending)))
    thread.start()
    try:
        assert started.wait(START_S), "the console did not start"
        yield
    finally:
        ending.set()
        thread.join(START_S)


async def _both(service: Service, started: threading.Event, ending: threading.Event) -> None:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", service.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port := free_port())
    await site.start()
    async with running_console(Told(f"http://127.0.0.1:{port}", 3600.0)) as gate:
        config = uvicorn.Config(gate, port=free_port(), lifespan="off", log_level="critical", access_log=False)
        config.load()
        server = uvicorn.Server(config)
        server.lifespan = config.lifespan_class(config)
        await server.startup()
        service.url = f"http://127.0.0.1:{config.port}"
        started.set()
        await asyncio.to_thread(ending.wait)
        server.force_exit = True
        await server.shutdown()
    await runner.cleanup()


def overview(tasks: int) -> dict[str, Any]:
    """Totals of a service with so many tasks."""
    rows = [
        {
            "task": f"task-{i:02d}",
            "decisions": 100 + i,
            "speculative": 80,
            "output_tokens": 9000,
            "generation_s": 90.0,
            "saved_s": 40.0,
            "proposed": 1000,
            "accepted": 700,
        }
        for i in range(tasks)
    ]
    return {
        "at_s": time.time(),
        "routers": 3,
        "requests": 5000,
        "failed": 0,
        "k": {"0": 900, "4": 4100},
        "tasks": rows,
        "pools": [{"pool": "draft", "in_flight": 31, "queued": 2}],
    }


def acceptance(tasks: int) -> dict[str, Any]:
    """A record for each of so many tasks."""
    rows = [
        {
            "drafter": "org/drafter",
            "target": "demo@1",
            "task": f"task-{i:02d}",
            "segment": "default",
            "temperature": "0",
            "shape": "plain",
            "alpha": 0.5 + i / 200,
            "alpha_interval": [0.4 + i / 200, 0.6 + i / 200],
            "survival": [0.8, 0.6, 0.5, 0.4],
            "survival_intervals": [[0.7, 0.9], [0.5, 0.7], [0.4, 0.6], [0.3, 0.5]],
            "drafts": 1000.0 + i,
            "requests": 90.0,
            "at_s": time.time() - i,
        }
        for i in range(tasks)
    ]
    return {"router": "r1", "acceptance": rows}


def engines(replicas: int) -> dict[str, Any]:
    """Two pools with so many replicas in all; one of them is marked."""
    pools = [
        {"name": name, "model": "demo", "target": "demo@1", "drafter": drafter, "method": method, "k_max": k}
        for name, drafter, method, k in (("draft", "org/drafter", "eagle", 4), ("vanilla", None, None, 0))
    ]
    rows = [
        {
            "name": f"{pools[i % 2]['name']}-{i:03d}",
            "pool": pools[i % 2]["name"],
            "state": "ready",
            "phase": "",
            "running": i % 7,
            "waiting": 0,
            "max_running": 256,
            "kv_usage": i % 100 / 100,
            "breaker": "open" if i == 5 else "closed",
            "heartbeat_s": time.time(),
            "receives": i != 9,
            "drained": False,
            "mark": {"kind": "cordon", "by": "ana", "at_s": time.time(), "why": "driver"} if i == 9 else None,
        }
        for i in range(replicas)
    ]
    return {
        "router": "r1",
        "pools": [{**pool, "replicas": [r for r in rows if r["pool"] == pool["name"]]} for pool in pools],
        "marks": {},
    }


STATUS = {"active": 0, "source": "settings", "since_s": 0.0, "by": "", "shadow": None, "canary": None, "problem": None}


SECRET = "ar-shown-once"
HOUR_S = 3600.0


def key(name: str, role: str) -> dict[str, Any]:
    """What is told of a key."""
    limits = {"requests_per_minute": 60, "tokens_per_minute": None, "concurrent": None}
    about: dict[str, Any] = {"id": name, "role": role, "segments": [], "limits": limits, "kept_in": "redis"}
    return {**about, "expires": "2027-01-01T00:00:00Z", "former_until": None}


def _series() -> dict[str, Any]:
    """Half an hour of acceptance of one task, which falls in its middle."""
    first_s = time.time() - HOUR_S / 2
    alphas = [0.8 if i < 15 else 0.4 for i in range(30)]
    points = [
        {"at_s": first_s + 60 * i, "alpha": alpha, "low": alpha - 0.1, "high": alpha + 0.1}
        for i, alpha in enumerate(alphas)
    ]
    return {**{part: acceptance(8)["acceptance"][7][part] for part in RECORD}, "points": points}


RECORD = ("drafter", "task", "segment", "temperature", "shape")


def drift(minutes_ago: float, task: str = "task-07") -> dict[str, Any]:
    """An alarm on a record of the org's drafter."""
    subject, at_s = f"org/drafter/{task}/default/0", time.time() - 60 * minutes_ago
    return {"id": f"{minutes_ago}", "kind": "drift", "subject": subject, "at_s": at_s, "detail": "0.80 to 0.40"}


def _settings() -> list[dict[str, str]]:
    return [
        {"path": "redis.url", "value": "********", "default": "********", "about": "Where Redis is.", "origin": "file"},
        {"path": "redis.password", "value": "********", "default": "", "about": "Its password.", "origin": "default"},
        {
            "path": "router.sync_s",
            "value": "0.2",
            "default": "0.2",
            "about": "How often routers exchange.",
            "origin": "default",
        },
    ]


def large(tasks: int = 50, replicas: int = 200) -> Service:
    """A large service."""
    return Service(
        {
            "/overview": overview(tasks),
            "/acceptance": acceptance(tasks),
            "/engines": engines(replicas),
            "/events": {"events": []},
            "POST /engines/draft-000/reload": {},
            "/policies/status": STATUS,
            "/acceptance/history": {"series": [_series()]},
            "/keys": {"keys": [key("team-a", "client"), key("ana", "admin")]},
            "POST /keys": {**key("team-b", "operator"), "key": SECRET},
            "POST /keys/team-a/rotate": {**key("team-a", "client"), "key": SECRET},
            "DELETE /keys/team-a": {},
            "/settings": {"settings": _settings()},
        }
    )
