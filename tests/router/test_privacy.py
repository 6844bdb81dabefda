"""No text of a prompt or an answer, and no key, is in logs, metrics, Redis, the console or the admin API."""

import asyncio
import contextlib
import io
import json
import logging
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from doorway import key_of, written
from scripted import ScriptedEngine, answer, raw, stream
from service import VANILLA, Service, http_server, running_service, settings_with

from classifiers.label import Label
from classifiers.prompt import Prompt
from router.access.door import DoorStores, guarded
from router.access.guard import Guard
from router.access.keys import new_key
from router.access.redis_door import RedisKeyStore, RedisUsageStore
from router.config.auth import AdminSettings, AuthSettings
from router.observe.logs import JsonLines, TextLines
from router.roles import Role
from router.service import Application
from router.state.redis_registry import RedisRegistry
from router.state.redis_store import Keys, RedisStore, connect

pytestmark = pytest.mark.redis

MARK = "xyzzyMARKxyzzy"
PATIENT = {"breaker_failures": 1000}
BODIES: dict[str, dict[str, object]] = {
    "/v1/chat/completions": {
        "model": "demo",
        "messages": [{"role": "system", "content": MARK}, {"role": "user", "content": f"hello {MARK}"}],
        "tools": [{"type": "function", "function": {"name": MARK, "description": MARK, "parameters": {}}}],
        "metadata": {"note": MARK},
        "user": MARK,
    },
    "/v1/completions": {"model": "demo", "prompt": MARK, "suffix": MARK},
    "/v1/responses": {"model": "demo", "input": MARK, "instructions": MARK},
    "/v1/messages": {"model": "demo", "max_tokens": 9, "messages": [{"role": "user", "content": MARK}], "system": MARK},
    "/v1/embeddings": {"model": "demo", "input": MARK},
    "/tokenize": {"model": "demo", "prompt": MARK},
}
METRICS = {"time_to_first_token_ms": 1.0, "generation_time_ms": 9.0, "queue_time_ms": 0.0}
USAGE = {"prompt_tokens": 5, "completion_tokens": 3}
GOOD = json.dumps({"choices": [{"message": {"content": MARK}}], "usage": USAGE, "metrics": METRICS}).encode()
EVENT = b'data: {"choices":[{"delta":{"content":"%b"}}]}\n\n' % MARK.encode()
LAST = b"data: " + json.dumps({"choices": [], "usage": USAGE, "metrics": METRICS}).encode() + b"\n\ndata: [DONE]\n\n"
ERROR = json.dumps({"error": {"message": MARK, "type": MARK, "param": MARK, "code": MARK}}).encode()
ENGINE_SAYS = {
    "good": answer(GOOD),
    "stream": stream(EVENT, EVENT, LAST),
    "broken stream": stream(EVENT, EVENT, ends=False),
    "odd stream": stream(b"data: " + MARK.encode() + b"\n\n", b'data: {"usage":"' + MARK.encode() + b'"}\n\n'),
    "no json": answer(MARK.encode()),
    "odd metrics": answer(GOOD.replace(b"9.0", json.dumps(MARK).encode())),
    "400": answer(ERROR, status="400 Bad Request"),
    "404 in other words": answer(f'{{"detail":"{MARK}"}}'.encode(), status="404 Not Found"),
    "500": answer(MARK.encode(), status="500 Internal Server Error"),
    "502": answer(MARK.encode(), status="502 Bad Gateway"),
    "no http": raw(MARK.encode() + b"\r\n\r\n"),
    "header": answer(GOOD, headers=f"content-type: application/json\r\nx-said: {MARK}\r\n"),
    "nothing": raw(b""),
}


@dataclass
class Stack:
    """A guarded router over Redis; `told` collects what clients were answered."""

    url: str
    service: Service
    guard: Guard
    keys: dict[str, str]
    engine: ScriptedEngine
    told: list[str] = field(default_factory=list)

    async def post(self, path: str, body: bytes, who: str = "client", **headers: str) -> int:
        """The status of a request, whatever becomes of its answer."""
        sent = {"content-type": "application/json", "x-api-key": self.keys.get(who, who), **headers}
        status = 0
        async with aiohttp.ClientSession(self.url) as session:
            with contextlib.suppress(aiohttp.ClientError):
                async with session.post(path, data=body, headers=sent) as got:
                    status = got.status
                    self.told.append((await got.read()).decode())
        return status

    async def get(self, path: str) -> str:
        """A page, as an admin sees it."""
        headers = {"x-api-key": self.keys["admin"]}
        async with aiohttp.ClientSession(self.url) as session, session.get(path, headers=headers) as got:
            assert got.status == 200, path
            return await got.text()


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """Everything that anything logs, in both formats, down to debug level."""
    text, root = io.StringIO(), logging.getLogger()
    handlers = [logging.StreamHandler(text), logging.StreamHandler(text)]
    for handler, formatter in zip(handlers, (JsonLines(), TextLines()), strict=True):
        handler.setFormatter(formatter)
        root.addHandler(handler)
    level, product = root.level, logging.getLogger("alpharoute")
    before = (product.level, product.propagate)
    root.setLevel(logging.DEBUG)
    product.setLevel(logging.DEBUG)
    product.propagate = True
    yield text
    for handler in handlers:
        root.removeHandler(handler)
    root.setLevel(level)
    product.setLevel(before[0])
    product.propagate = before[1]


@contextlib.asynccontextmanager
async def _stack(folder: Path, redis: Any, prefix: str) -> AsyncIterator[Stack]:
    names = Keys(prefix)
    keys = {"client": new_key(), "admin": new_key(), "limited": new_key()}
    stored = [
        key_of(keys["client"], "client"),
        key_of(keys["admin"], "admin", Role.ADMIN),
        key_of(keys["limited"], "limited", limits={"requests_per_minute": 1, "tokens_per_minute": 9000}),
    ]
    auth = AuthSettings(keys_file=written(folder / "keys.json", stored), redis_keys=True)
    stores = DoorStores(RedisKeyStore(redis, names), RedisUsageStore(redis, names))
    engine = ScriptedEngine(ENGINE_SAYS["good"])
    settings = settings_with(
        [VANILLA], router={"retries": 0}, limits={"body_bytes": 100_000, "body_s": 0.2}, resilience=PATIENT
    )
    store, registry = RedisStore(redis, names), RedisRegistry(redis, names)
    async with running_service(settings, {"vanilla-1": engine}, store=store, registry=registry) as service:
        guards: list[Guard] = []

        @contextlib.asynccontextmanager
        async def running() -> AsyncIterator[Guard]:
            telemetry = service.ingress.recorder.telemetry
            async with guarded(service.ingress, telemetry, auth, AdminSettings(), stores, time.time, "r1") as guard:
                guards.append(guard)
                yield guard

        async with http_server(Application(running())) as url:
            yield Stack(url, service, guards[0], keys, engine)


class Quoting:
    """A classifier that fails with the prompt in its words."""

    tasks = ("other",)

    def classify(self, prompt: Prompt) -> Label:
        """Never answers."""
        raise ValueError(f"cannot classify {prompt.text!r} {MARK}")


async def _ask_every_way(stack: Stack) -> None:
    """Every route with every kind of engine answer, and everything that is refused before."""
    for script in ENGINE_SAYS.values():
        stack.engine.script = script
        for path, body in BODIES.items():
            await stack.service.announce("vanilla-1")
            await stack.post(path, json.dumps(body).encode(), **{"x-alpharoute-task": "mathematics"})
    stack.engine.script = ENGINE_SAYS["stream"]
    chat = BODIES["/v1/chat/completions"]
    for extra in ({"stream": True}, {"stream": True, "stream_options": {"include_usage": True}}, {"n": 2}):
        await stack.post("/v1/chat/completions", json.dumps({**chat, **extra}).encode())
    await _ask_wrongly(stack, json.dumps(chat).encode())
    for name in ("limited", "limited", MARK * 4):
        await stack.post("/v1/chat/completions", json.dumps(chat).encode(), who=name)


async def _ask_wrongly(stack: Stack, good: bytes) -> None:
    mark = MARK.encode()
    for body in (
        mark,
        b'{"' + mark + b'":1}',
        good[:-1],
        good[:-1] + b',"' + mark + b'":1}',
        good[:-1] + b',"user":"' + mark + b'"}',
        good[:-1] + b',"stream":"' + mark + b'"}',
        good[:-1] + b',"vllm_xargs":{"' + mark + b'":"' + mark + b'"}}',
        good.replace(b'"demo"', b'"' + mark + b'"'),
        good.replace(b'"role": "user"', b'"role": ["' + mark + b'"]'),
        b'{"a":' * 300 + b'"' + mark + b'"' + b"}" * 300,
        good + mark * 10_000,
    ):
        assert 400 <= await stack.post("/v1/chat/completions", body) < 500
    for headers in (
        {"x-alpharoute-task": MARK},
        {"x-alpharoute-segment": MARK},
        {"x-alpharoute-speculation": MARK},
        {"content-type": MARK},
        {"content-encoding": MARK},
    ):
        assert 400 <= await stack.post("/v1/chat/completions", good, **headers) < 500
    for path in (f"/{MARK}", f"/v1/{MARK}", f"/v1/models/{MARK}", f"/admin/v1/{MARK}", f"/v1//{MARK}"):
        assert 400 <= await stack.post(path, good, who="admin") < 500


async def _fail_inside(stack: Stack, log: io.StringIO) -> None:
    """Faults of the router's own whose words quote the prompt: before the answer, in it and after it."""
    ingress, good = stack.service.ingress, json.dumps(BODIES["/v1/chat/completions"]).encode()
    classifier, ingress.classifier = ingress.classifier, Quoting()
    assert await stack.post("/v1/chat/completions", good) == 500
    ingress.classifier = classifier
    stack.engine.script = ENGINE_SAYS["good"]

    def quote(*_: object) -> object:
        raise RuntimeError(f"no lesson in {MARK}")

    learn, ingress.recorder.sharing.learn = ingress.recorder.sharing.learn, quote  # type: ignore[method-assign, assignment]
    assert await stack.post("/v1/chat/completions", good) == 200
    ingress.recorder.sharing.learn = learn  # type: ignore[method-assign]
    assert "ValueError" in log.getvalue()
    assert "RuntimeError" in log.getvalue()


async def _leave_early(stack: Stack) -> None:
    """A client that goes before the end of its request, and one that goes before the end of its answer."""
    stack.engine.script = stream(EVENT, LAST, pause=asyncio.Event())
    body = json.dumps({**BODIES["/v1/chat/completions"], "stream": True}).encode()
    for length in (len(body) + 9, len(body)):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(stack.url.rsplit(":", 1)[1]))
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nx-api-key: {stack.keys['client']}\r\n"
        writer.write(f"{head}content-type: application/json\r\ncontent-length: {length}\r\n\r\n".encode() + body)
        await reader.readline()
        writer.close()
    telemetry = stack.service.ingress.recorder.telemetry
    gone = {"route": "/v1/chat/completions", "status": "499"}
    await stack.service.until(
        lambda: any(
            gone.items() <= sample.labels.items() and sample.value
            for metric in telemetry.registry.collect()
            for sample in metric.samples
        )
    )


async def _redis_content(redis: Any, prefix: str) -> str:
    """All that is kept under a prefix, names and values."""
    readers = {"string": redis.get, "hash": redis.hgetall, "set": redis.smembers, "stream": redis.xrange}
    found = []
    async for name in redis.scan_iter(f"*{prefix}*"):
        kind = await redis.type(name)
        value = await (redis.zrange(name, 0, -1) if kind == "zset" else readers[kind](name))
        found.append(f"{name} = {value!r}")
    return "\n".join(found)


async def test_nothing_of_a_prompt_is_kept_anywhere(tmp_path: Path, redis_url: str, log: io.StringIO) -> None:
    """Every route and every way to fail, at debug level: what a client sent is in its own answers and nowhere else."""
    redis, prefix = connect(redis_url, timeout_s=5), f"test-{uuid.uuid4().hex[:8]}"
    async with _stack(tmp_path, redis, prefix) as stack:
        await _ask_every_way(stack)
        await _fail_inside(stack, log)
        await _leave_early(stack)
        await stack.service.ingress.recorder.sharing.exchange()
        await stack.guard.usage.exchange()
        paths = ("/metrics", "/admin/v1/acceptance", "/admin/v1/decisions", "/ready", "/v1/models")
        shown = {path: await stack.get(path) for path in paths}
        shown["Redis"] = await _redis_content(redis, prefix)
        shown["the log"] = log.getvalue()
        secrets = [*stack.keys.values(), MARK]
    assert MARK in "".join(stack.told), "the marker went through the whole stack"
    assert ":record:" in shown["Redis"]
    assert ":use:" in shown["Redis"]
    assert [where for where, text in shown.items() for secret in secrets if secret in text] == []
    await redis.aclose()
