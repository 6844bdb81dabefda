"""Requests and answers nobody wrote by hand: mutated bodies, HTTP and streams, over a router that must live through it.

A few here; `FUZZ_EXAMPLES=2500 pytest tests/router/test_fuzz.py --timeout=0` makes so many of each kind.
"""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from itertools import pairwise

import orjson
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scripted import ScriptedEngine, stream
from service import DRAFT, VANILLA, Service, running_service, settings_with, simulator

from router.api.fields import CHAT_FIELDS, COMPLETIONS_FIELDS
from router.api.sse import EventStream
from router.ingress import API_ROUTES

pytestmark = pytest.mark.asyncio(loop_scope="module")

# n and prompts multiply the engine's work: the simulator, unlike vLLM, sets no bound to them.
NUMBERS = st.integers(-3, 5) | st.floats(-3, 5) | st.sampled_from((2**31, 2**63, 2**64, 10**30, -(2**63), 1e308))
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
MESSAGE = st.fixed_dictionaries({"role": st.sampled_from(("user", "system", "tool", ""))}, optional={"content": JSON})
BASE: dict[str, object] = {"model": "demo", "max_tokens": 3}
CHATS = st.builds(
    lambda messages, more: {**BASE, "messages": messages, **more},
    st.lists(MESSAGE | JSON, max_size=3) | JSON,
    st.dictionaries(st.sampled_from(sorted(CHAT_FIELDS - {"n"})) | st.text(max_size=8), JSON, max_size=4),
)
COMPLETIONS = st.builds(
    lambda prompt, more: {**BASE, "prompt": prompt, **more},
    st.text(max_size=20) | JSON,
    st.dictionaries(st.sampled_from(sorted(COMPLETIONS_FIELDS - {"n"})) | st.text(max_size=8), JSON, max_size=4),
)
HEADERS = st.dictionaries(
    st.sampled_from(("x-alpharoute-task", "x-alpharoute-segment", "x-alpharoute-speculation", "x-request-id")),
    st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=12),
    max_size=2,
)
OTHERS = st.sampled_from([route for path, route in API_ROUTES.items() if not path.endswith("completions")]).flatmap(
    lambda route: st.tuples(
        st.just(route.path),
        st.dictionaries(st.sampled_from(sorted(route.fields - {"n"})) | st.text(max_size=8), JSON, max_size=5),
    )
)
PROMPTS: dict[str, object] = {
    "/v1/responses": {"input": "hello", "max_output_tokens": 3},
    "/v1/messages": {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 3},
    "/detokenize": {"tokens": [1]},
}
EVENTS = (
    b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n',
    b'data: {"choices":[],"usage":{"completion_tokens":3},"metrics":{"queue_time_ms":1}}\n\n',
    b'event: content_block_delta\r\ndata: {"type":"content_block_delta","delta":{"text":"\xc3\xa9"}}\r\n\r\n',
    b'event: message_delta\ndata: {"usage":{"output_tokens":3}}\n\n',
    b": comment\n\n",
    b"data: [DONE]\n\n",
    b"\n",
    b"\xff\x00",
)
STREAMS = st.tuples(
    st.lists(st.sampled_from(EVENTS) | st.binary(min_size=1, max_size=20), min_size=1, max_size=8).map(b"".join),
    st.lists(st.integers(0, 400), max_size=5),
    st.booleans(),
    st.sampled_from(["/v1/chat/completions", "/v1/messages", "/v1/responses"]),
)
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "100"))
MANY = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service() -> AsyncIterator[Service]:
    """One router for all of it; at the end nothing of it is left."""
    engines = {"vanilla-1": simulator(VANILLA), "draft-1": simulator(DRAFT)}
    async with running_service(settings_with(limits={"body_s": 0.1}), engines) as running:
        before = len(asyncio.all_tasks())
        yield running
        await running.until(lambda: running.total("in_flight_requests") == 0)
        assert running.total("requests_total", status="500") == 0
        assert running.total("engine_failures_total") == 0
        for name in engines:
            await running.until(lambda name=name: running.simulator(name).state()["running"] == 0)  # type: ignore[misc]
        await running.session.close()
        await running.until(lambda: len(asyncio.all_tasks()) <= before)


async def answered(service: Service, path: str, raw: bytes, headers: dict[str, str]) -> None:
    """A success, or a 4xx in OpenAI's shape; in time."""
    head = {"content-type": "application/json"} | {k: v.strip() for k, v in headers.items()}
    async with asyncio.timeout(10), service.session.post(path, data=raw, headers=head) as got:
        data = await got.read()
        assert got.status == 200 or 400 <= got.status < 500, data
        if got.status != 200:
            error = orjson.loads(data)["error"]
            assert error.keys() >= {"message", "type", "param", "code"}
            assert error["message"]


@MANY
@given(asked=OTHERS)
async def test_any_body_of_the_other_routes_is_answered(service: Service, asked: tuple[str, dict[str, object]]) -> None:
    """Any JSON in any field of Responses, Messages, embeddings and tokens."""
    path, more = asked
    prompt = PROMPTS.get(path, {"input": "hello"} if path == "/v1/embeddings" else {})
    assert isinstance(prompt, dict)
    await answered(service, path, json.dumps({"model": "demo", **prompt, **more}).encode(), {})


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scripted() -> AsyncIterator[Service]:
    """A router over one engine that sends what it is told; nothing of it is left at the end."""
    patient = settings_with([VANILLA], resilience={"breaker_failures": 1_000_000})
    async with running_service(patient, {"vanilla-1": ScriptedEngine(stream(b""))}) as running:
        yield running
        await running.until(lambda: running.total("in_flight_requests") == 0)
        assert running.total("requests_total", status="500") == 0


@MANY
@given(streamed=STREAMS)
async def test_any_stream_ends(scripted: Service, streamed: tuple[bytes, list[int], bool, str]) -> None:
    """Events damaged, cut anywhere and broken off: the client gets what came, in order, and an end."""
    sent, cuts, ends, path = streamed
    at = sorted({0, *(cut % len(sent) for cut in cuts), len(sent)})
    engine = scripted.engines["vanilla-1"]
    assert isinstance(engine, ScriptedEngine)
    engine.script = stream(*(sent[a:b] for a, b in pairwise(at)), ends=ends)
    prompt = PROMPTS.get(path, {"messages": [{"role": "user", "content": "hello"}]})
    assert isinstance(prompt, dict)
    async with (
        asyncio.timeout(10),
        scripted.session.post(path, json={"model": "demo", "stream": True, **prompt}) as got,
    ):
        data = await got.read()
    whole = EventStream(wants_usage=False)
    expected = whole.feed(sent) + whole.end()
    assert got.status in ((200,) if ends else (200, 502))
    assert data == expected or not ends
    assert got.status != 200 or ends or b"error" in data


@MANY
@given(body=CHATS, headers=HEADERS)
async def test_any_chat_body_is_answered(service: Service, body: dict[str, object], headers: dict[str, str]) -> None:
    """Any JSON in any field."""
    await answered(service, "/v1/chat/completions", json.dumps(body).encode(), headers)


@MANY
@given(body=COMPLETIONS)
async def test_any_completions_body_is_answered(service: Service, body: dict[str, object]) -> None:
    """Any JSON in any field."""
    await answered(service, "/v1/completions", json.dumps(body).encode(), {})


@MANY
@given(
    body=CHATS,
    edits=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 3), st.binary(max_size=3)), min_size=1, max_size=4),
)
async def test_any_damage_to_a_body_is_answered(
    service: Service, body: dict[str, object], edits: list[tuple[int, int, bytes]]
) -> None:
    """Bytes cut out and put in anywhere."""
    raw = json.dumps(body).encode()
    for at, cut, new in edits:
        at %= len(raw) + 1
        raw = raw[:at] + new + raw[at + cut :]
    await answered(service, "/v1/chat/completions", raw, {})


REQUEST = b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 50\r\n\r\n"
BODY = b'{"model":"demo","prompt":"hello ab","max_tokens":2'.ljust(49) + b"}"
SPLICES = st.sampled_from(
    (
        b"\r\n", b"\n", b"\x00", b"transfer-encoding: chunked\r\n", b"content-length: 5\r\n", b"HTTP/9.9", b" ",
        b"connection: upgrade\r\nupgrade: websocket\r\n", b"expect: 100-continue\r\n", b"%ff", b"\xff",
        b"content-length: 999999999999999999999\r\n", b"x: " + b"y" * 9000 + b"\r\n",
    )
)  # fmt: skip


@MANY
@given(edits=st.lists(st.tuples(st.integers(0, 160), st.integers(0, 4), SPLICES), min_size=1, max_size=3))
async def test_any_damage_to_http_ends(service: Service, edits: list[tuple[int, int, bytes]]) -> None:
    """Broken HTTP is answered or hung up on, never with a 500, and never left waiting."""
    raw = REQUEST + BODY
    for at, cut, new in edits:
        at %= len(raw) + 1
        raw = raw[:at] + new + raw[at + cut :]
    host, port = service.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(raw)
    writer.write_eof()
    got = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    statuses = [line for line in got.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")]
    assert all(status[9:10] in b"124" for status in statuses), got
