"""Tokens of a key, as engines report them in every API, streaming or not, and as estimated where they do not."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import orjson
import pytest
from doorway import key_of, written
from scripted import Script, ScriptedEngine, answer, stream
from service import VANILLA, http_server, running_service, settings_with

from router.access.door import DoorStores, guarded
from router.access.guard import Guard
from router.access.keys import new_key
from router.access.shared_keys import MemoryKeyStore
from router.access.usage import MemoryUsageStore
from router.config.auth import AdminSettings, AuthSettings
from router.service import Application
from router.traffic.metering import Meter

PROMPT = "x" * 400
CHAT = {"model": "demo", "messages": [{"role": "user", "content": PROMPT}]}
MESSAGES = {"model": "demo", "max_tokens": 9, "messages": [{"role": "user", "content": PROMPT}]}
USAGE = b'{"prompt_tokens":70,"completion_tokens":7,"total_tokens":77}'
NAMED = b'{"input_tokens":70,"output_tokens":7}'
CHUNK = b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n'
LAST = b'data: {"choices":[],"usage":' + USAGE + b"}\n\ndata: [DONE]\n\n"
BEGUN = b'event: message_start\ndata: {"message":{"usage":{"input_tokens":70,"output_tokens":0}}}\n\n'
ENDED = b'event: message_delta\ndata: {"usage":{"output_tokens":7}}\n\n'
QUOTED = orjson.dumps(
    {"choices": [{"message": {"content": '{"completion_tokens": 99999}'}}], "usage": orjson.loads(USAGE)}
)


@contextlib.asynccontextmanager
async def _asking(folder: Path, script: Script) -> AsyncIterator[tuple[Guard, aiohttp.ClientSession]]:
    """A guarded router over an engine with this script; the session's key may use many tokens."""
    secret = new_key()
    file = written(folder / "keys.json", [key_of(secret, "a", limits={"tokens_per_minute": 10**6})])
    engine, guards = ScriptedEngine(script), []
    async with running_service(settings_with([VANILLA]), {"vanilla-1": engine}) as service:

        @contextlib.asynccontextmanager
        async def running() -> AsyncIterator[Guard]:
            stores = DoorStores(MemoryKeyStore(), MemoryUsageStore())
            auth, telemetry = AuthSettings(keys_file=file), service.ingress.recorder.telemetry
            async with guarded(service.ingress, telemetry, auth, AdminSettings(), stores, time.time, "r1") as guard:
                guards.append(guard)
                yield guard

        async with (
            http_server(Application(running())) as url,
            aiohttp.ClientSession(url, headers={"x-api-key": secret}) as session,
        ):
            yield guards[0], session


def _tokens(guard: Guard) -> int:
    return sum(use.tokens for use in guard.usage._accounts["a"].mine.values())


@pytest.mark.parametrize(
    ("path", "body", "script"),
    [
        ("/v1/chat/completions", CHAT, answer(b'{"choices":[],"usage":' + USAGE + b"}")),
        ("/v1/chat/completions", CHAT, answer(QUOTED)),
        ("/v1/chat/completions", {**CHAT, "stream": True}, stream(CHUNK, CHUNK, LAST)),
        (
            "/v1/chat/completions",
            {**CHAT, "stream": True, "stream_options": {"include_usage": True}},
            stream(CHUNK, CHUNK, LAST),
        ),
        ("/v1/completions", {"model": "demo", "prompt": PROMPT, "stream": True}, stream(CHUNK, LAST)),
        ("/v1/messages", MESSAGES, answer(b'{"type":"message","usage":' + NAMED + b"}")),
        ("/v1/messages", {**MESSAGES, "stream": True}, stream(BEGUN, CHUNK, ENDED)),
        ("/v1/responses", {"model": "demo", "input": PROMPT}, answer(b'{"usage":' + NAMED + b"}")),
        ("/v1/embeddings", {"model": "demo", "input": PROMPT}, answer(b'{"usage":' + USAGE + b"}")),
    ],
)
async def test_what_the_engine_reports_is_counted(
    tmp_path: Path, path: str, body: dict[str, object], script: Script
) -> None:
    """77 tokens by each API's own names, also where the client did not ask to be told; quoted text is no report."""
    async with _asking(tmp_path, script) as (guard, session):
        async with session.post(path, json=body) as got:
            assert got.status == 200
            await got.read()
        assert _tokens(guard) == 77


async def test_leaving_early_is_no_way_round(tmp_path: Path) -> None:
    """A client that goes after two events pays for its prompt and for these."""
    async with _asking(tmp_path, stream(CHUNK + CHUNK, LAST, pause=asyncio.Event())) as (guard, session):
        body = orjson.dumps({**CHAT, "stream": True})
        async with session.post("/v1/chat/completions", data=body, headers={"content-type": "application/json"}) as got:
            await got.content.readuntil(b"\n\n")
        deadline = time.monotonic() + 10
        while guard.usage._accounts["a"].running:
            assert time.monotonic() < deadline, "the request does not end"
            await asyncio.sleep(0.005)
        assert _tokens(guard) == len(body) // 4 + 2


WORDS = "lorem ipsum " * 1000
CHARS = len(WORDS)


def _events(*bodies: dict[str, object]) -> bytes:
    return b"".join(b"data: " + orjson.dumps(body) + b"\n\n" for body in bodies)


@pytest.mark.parametrize(
    ("passed", "made"),
    [
        (_events({"choices": [{"delta": {"role": "assistant", "content": WORDS}}]}), CHARS // 4),
        (_events({"choices": [{"text": WORDS}]}), CHARS // 4),
        (CHUNK * 3, 3),
        (_events({"choices": [{"delta": {"content": "four words in one"}}]}) * 5, 5 * 17 // 4),
        (_events({"choices": [{"delta": {"reasoning": WORDS}}]}), CHARS // 4),
        (_events({"choices": [{"delta": {"tool_calls": [{"function": {"arguments": WORDS}}]}}]}), CHARS // 4),
        (_events({"type": "response.output_text.delta", "delta": WORDS}), CHARS // 4),
        (BEGUN + _events({"delta": {"type": "text_delta", "text": WORDS}}), CHARS // 4),
        (_events({"choices": [{"text": 'a "quote", a \\ and a\nline'}]}), 7),
        (_events({"choices": [{"text": "a", "logprobs": {"tokens": ["a"] * 400}}]}), 1),
        (orjson.dumps({"choices": [{"message": {"content": WORDS}}]}), CHARS // 4),
        (_events({"choices": [{"text": WORDS}]})[:-9], CHARS // 4 - 1),
    ],
)
def test_what_nobody_counted_is_estimated_from_its_text(passed: bytes, made: int) -> None:
    """A quarter of its bytes, a token for each piece at least: however many tokens an event holds."""
    meter = Meter(0)
    meter.passes(passed)
    assert meter.tokens - meter.counts.get("input_tokens", 0) == made


def test_a_count_says_all_that_came_before_it() -> None:
    """A stream that tells as it goes is estimated from the last count on; nothing comes after the last of all."""
    meter = Meter(0)
    usage = {"usage": {"prompt_tokens": 5, "completion_tokens": 2000}}
    meter.passes(_events({"choices": [{"text": WORDS}], **usage}))
    assert meter.tokens == 2005
    meter.passes(CHUNK * 3)
    assert meter.tokens == 2008
    meter.passes(CHUNK + _events({"choices": [{"text": WORDS}], "usage": {"completion_tokens": 4000}}) + CHUNK)
    assert meter.tokens == 4006
    meter.counted("completion_tokens", 4001)
    meter.passes(b"data: [DONE]\n\n")
    assert meter.tokens == 4006
    for fields in ({**usage, "choices": [{"text": WORDS}]}, {"choices": [{"text": WORDS}], **usage}):
        whole, body = Meter(0), orjson.dumps(fields)
        for portion in (body[:6000], body[6000:], b""):
            whole.passes(portion)
        assert whole.tokens == 2005


async def test_an_engine_that_fails_costs_nothing(tmp_path: Path) -> None:
    """Neither the estimate nor what the error says is charged."""
    async with _asking(tmp_path, answer(b'{"usage":' + USAGE + b"}", status="500 Oops")) as (guard, session):
        async with session.post("/v1/chat/completions", json=CHAT) as got:
            assert got.status == 500
        assert _tokens(guard) == 0


def test_the_largest_count_is_the_last() -> None:
    """Streams may tell running totals; a count that makes no sense is none."""
    meter = Meter(400)
    meter.passes(b'data: {"usage":{"prompt_tokens":5,"completion_tokens":1}}\n\n')
    meter.passes(b'data: {"usage":{"prompt_tokens":5,"completion_tokens":3}}\n\n')
    meter.counted("completion_tokens", "9")
    meter.counted("completion_tokens", True)
    assert meter.tokens == 8
    assert Meter(400).tokens == 100
