"""Streams and whole answers through the router: the engine's own bytes, and what is learnt from both."""

import asyncio
from collections.abc import AsyncIterator

import orjson
import pytest
from scripted import ScriptedEngine, TapedSimulator, answer, stream
from service import CHAT, COMPLETION, DRAFT, KEY, VANILLA, Service, running_service, settings_with

from engines.simulator.engine import SimulatedEngine
from engines.simulator.settings import SimulatorSettings
from router.state.store import Cursor

TOOL = {"type": "function", "function": {"name": "search", "parameters": {"type": "object"}}}
OPTIONS: list[dict[str, object]] = [
    {},
    {"temperature": 0.9, "seed": 7, "n": 3},
    {"logprobs": True},
    {"tools": [TOOL], "tool_choice": "required"},
    {"stop": ["the"]},
    {"max_tokens": 1},
]
COMPLETION_OPTIONS: list[dict[str, object]] = [{}, {"logprobs": 1}, {"echo": True}]


@pytest.fixture
async def taped() -> AsyncIterator[Service]:
    """A router over one speculative simulator whose answers are on tape."""
    facts = {"model": "demo", "method": "draft_model", "drafter": "small", "calibration": "instant", "api_key": KEY}
    engine = TapedSimulator(SimulatedEngine(SimulatorSettings.model_validate(facts)))
    async with running_service(settings_with([DRAFT]), {"draft-1": engine}) as running:
        yield running


def tape(service: Service) -> TapedSimulator:
    """The engine of `taped`."""
    engine = service.engines["draft-1"]
    assert isinstance(engine, TapedSimulator)
    return engine


def without_usage(sent: bytes) -> bytes:
    """What an engine sent, less the usage chunk."""
    events = sent.split(b"\n\n")
    return b"\n\n".join(event for event in events if b'"choices":[]' not in event)


async def fetched(service: Service, path: str, body: dict[str, object]) -> bytes:
    """The body of a good answer."""
    async with service.session.post(path, json=body) as got:
        data = await got.read()
        assert got.status == 200, data
        return data


@pytest.mark.parametrize("stream_options", [None, {"include_usage": False}, {"include_usage": True}, {}])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
async def test_a_stream_is_the_engine_s_less_the_usage_chunk(
    taped: Service, path: str, stream_options: dict[str, object] | None
) -> None:
    """Byte for byte, whatever is asked for; a client that wants the usage chunk gets it."""
    base, options = (CHAT, OPTIONS) if "chat" in path else (COMPLETION, COMPLETION_OPTIONS)
    for option in options:
        asked: dict[str, object] = {
            "max_tokens": 12,
            **base,
            **option,
            "stream": True,
            "stream_options": stream_options,
        }
        got = await fetched(taped, path, asked)
        sent = tape(taped).answers[-1]
        assert b'"choices":[]' in sent, "the router did not ask for usage"
        wants = bool(stream_options and stream_options.get("include_usage"))
        assert got == (sent if wants else without_usage(sent))
        assert got.endswith(b"data: [DONE]\n\n")


async def test_a_whole_answer_is_the_engine_s(taped: Service) -> None:
    """Byte for byte too."""
    for option in OPTIONS:
        got = await fetched(taped, "/v1/chat/completions", {**CHAT, "max_tokens": 12, **option})
        assert got == tape(taped).answers[-1]


async def test_usage_in_every_chunk_comes_only_with_the_usage_chunk(taped: Service) -> None:
    """`continuous_usage_stats` means nothing without `include_usage`, though the router asks for the latter itself."""
    asked = {**CHAT, "max_tokens": 8, "stream": True}
    quiet = await fetched(taped, "/v1/chat/completions", {**asked, "stream_options": {"continuous_usage_stats": True}})
    assert b'"usage"' not in quiet
    every = {"include_usage": True, "continuous_usage_stats": True}
    full = await fetched(taped, "/v1/chat/completions", {**asked, "stream_options": every})
    assert full == tape(taped).answers[-1]
    assert full.count(b'"usage"') > 2


async def test_the_client_s_bytes_reach_the_engine_as_sent() -> None:
    """Numbers, order, spaces, escapes and duplicate keys stay; what the router adds stands behind them."""
    engine = ScriptedEngine(answer(b"{}"))
    raw = (
        b'{"model":"demo", "messages":[{"role":"user","content":"\\u00e9"}],"seed":12345678901234567890123,"top_p":1.0}'
    )
    async with running_service(settings_with([DRAFT]), {"draft-1": engine}) as service:
        head = {"content-type": "application/json"}
        async with service.session.post("/v1/chat/completions", data=raw + b" \n", headers=head) as got:
            k = int(got.headers["x-alpharoute-k"])
    assert engine.asked[0].body == raw[:-1] + b',"vllm_xargs":{"spec_k":%d}}' % k


async def test_streamed_and_whole_answers_teach_alike(taped: Service) -> None:
    """Tokens, times and drafts are counted from both, and reach the store."""
    seen = []
    for streams in (True, False):
        before = taped.total("output_tokens_total"), taped.total("proposed_drafts_total")
        body = {**CHAT, "max_tokens": 40, "ignore_eos": True, "temperature": 0, "stream": streams}
        async with taped.session.post(
            "/v1/chat/completions", json=body, headers={"x-alpharoute-speculation": "on"}
        ) as got:
            await got.read()
            assert int(got.headers["x-alpharoute-k"]) > 0
        tokens = taped.total("output_tokens_total") - before[0]
        seen.append((tokens, taped.total("proposed_drafts_total") - before[1] > 0))
    assert seen == [(40, True), (40, True)]
    assert taped.total("unmeasured_requests_total") == 0
    await taped.until(lambda: not taped.ingress.recorder.sharing._pending.deltas)
    records = (await taped.store.changes(Cursor())).records
    assert any(key.startswith("acc:") and record.fields["n"] > 1.5 for key, record in records.items())


async def test_an_answer_that_ends_at_a_stop_string_teaches_what_was_accepted(taped: Service) -> None:
    """Speculation would go on blindly for whoever always sends stop strings."""
    body = {**CHAT, "max_tokens": 40, "ignore_eos": True, "temperature": 0}
    text = orjson.loads(await fetched(taped, "/v1/chat/completions", body))["choices"][0]["message"]["content"]
    before = taped.total("proposed_drafts_total")
    stopped = {**body, "stop": [text[len(text) // 2 :][:4]]}
    headers = {"x-alpharoute-speculation": "on"}
    async with taped.session.post("/v1/chat/completions", json=stopped, headers=headers) as got:
        assert (await got.json())["choices"][0]["finish_reason"] == "stop"
    assert taped.total("proposed_drafts_total") > before
    assert taped.total("unmeasured_requests_total") == 0


async def test_several_answers_teach_nothing_and_cost_nothing(taped: Service) -> None:
    """With n > 1 the engine reports no metrics: counted, not guessed."""
    await fetched(taped, "/v1/chat/completions", {**CHAT, "max_tokens": 8, "n": 2})
    assert taped.metric("unmeasured_requests_total", reason="no_metrics") == 1


async def test_events_leave_as_they_come() -> None:
    """A stream is not held back until it is complete."""
    pause = asyncio.Event()
    event, done = b'data: {"choices":[{"index":0}]}\n\n', b"data: [DONE]\n\n"
    engine = ScriptedEngine(stream(event, event, done, pause=pause))
    async with (
        running_service(settings_with([VANILLA]), {"vanilla-1": engine}) as service,
        service.session.post("/v1/chat/completions", json={**CHAT, "stream": True}) as got,
    ):
        assert await got.content.readexactly(len(event)) == event
        pause.set()
        assert await got.content.read() == event + done


@pytest.mark.parametrize("line", [b"\n", b"\r\n"])
async def test_events_cut_anywhere_pass(line: bytes) -> None:
    """Pieces that end inside an event, line ends of either kind, comments and a usage chunk cut in two."""
    usage = orjson.dumps({"choices": [], "usage": {"completion_tokens": 2}})
    kept = [b": keep-alive", b'data: {"choices":[{"delta":{"content":"\\"usage\\":"}}]}', b"data: [DONE]"]
    full = b"".join(part + line * 2 for part in (*kept[:2], b"data: " + usage, kept[2]))
    for size in (1, 7, 50, 4096):
        engine = ScriptedEngine(stream(*(full[i : i + size] for i in range(0, len(full), size))))
        async with running_service(settings_with([VANILLA]), {"vanilla-1": engine}) as service:
            got = await fetched(service, "/v1/chat/completions", {**CHAT, "stream": True})
        assert got == b"".join(part + line * 2 for part in kept)


async def test_headers_of_one_connection_stay_there() -> None:
    """Hop-by-hop headers, and those that Connection names, are not the client's; content-encoding is."""
    headers = (
        "content-type: application/json\r\nconnection: x-secret\r\nx-secret: 1\r\nkeep-alive: timeout=5\r\n"
        "content-encoding: gzip\r\nx-kept: yes\r\nserver: engine\r\n"
    )
    engine = ScriptedEngine(answer(b"\x1f\x8bzip", headers=headers))
    async with (
        running_service(settings_with([VANILLA]), {"vanilla-1": engine}) as service,
        service.session.post("/v1/chat/completions", json=CHAT, auto_decompress=False) as got,
    ):
        assert await got.read() == b"\x1f\x8bzip"
        assert {"x-secret", "keep-alive"}.isdisjoint(name.lower() for name in got.headers)
        assert (got.headers["x-kept"], got.headers["content-encoding"]) == ("yes", "gzip")
        assert "engine" not in got.headers.values()


async def test_what_the_engine_is_told_of_the_client() -> None:
    """Trace and request ids go on; keys, cookies and the router's own headers do not; oddities are left out."""
    engine = ScriptedEngine(answer(b"{}"))
    headers = {
        "authorization": "Bearer client-secret",
        "cookie": "a=b",
        "x-request-id": "r-1",
        "traceparent": "00-1-2-01",
        "tracestate": "ü",
        "x-correlation-id": "x" * 2000,
        "x-alpharoute-task": "mathematics",
        "x-forwarded-for": "1.2.3.4",
    }
    async with (
        running_service(settings_with([VANILLA]), {"vanilla-1": engine}) as service,
        service.session.post("/v1/chat/completions", json=CHAT, headers=headers) as got,
    ):
        assert got.status == 200
    told = engine.asked[0].headers
    assert told["authorization"] == f"Bearer {KEY}"
    assert (told["x-request-id"], told["traceparent"]) == ("r-1", "00-1-2-01")
    assert told.keys() == {
        "host", "accept", "content-type", "content-length", "authorization", "x-request-id", "traceparent",
            "x-request-timeout-ms",
    }  # fmt: skip
