"""Engines that fail: another one answers while nothing has reached the client, and a clear error says so afterwards."""

import asyncio
import gc
from collections.abc import AsyncIterator
from unittest.mock import Mock

import openai
import orjson
import pytest
from scripted import Script, ScriptedEngine, answer, raw, stream
from service import CHAT, VANILLA, EngineServer, Service, running_service, settings_with, simulator

from engines.simulator.failures import Failure
from policies.choice import Choice
from policies.policy import POLICIES
from router.api.request import Generation
from router.traffic.relay import Plain

ASKED = {**CHAT, "max_tokens": 8}
EVENT = b'data: {"id":"c","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"a"}}]}\n\n'


@pytest.fixture
async def two() -> AsyncIterator[Service]:
    """Two replicas of one vanilla pool, and little patience."""
    engines = {"vanilla-1": simulator(VANILLA), "vanilla-2": simulator(VANILLA)}
    limits = {"first_byte_s": 0.4, "silence_s": 0.4}
    async with running_service(settings_with([VANILLA], limits=limits), engines) as running:
        yield running


async def served_by(service: Service, body: dict[str, object]) -> str:
    """The replica that gave a complete answer."""
    async with service.session.post("/v1/chat/completions", json=body) as got:
        data = await got.read()
        assert got.status == 200, data
        assert b"error" not in data
        return got.headers["x-alpharoute-replica"]


def fail(service: Service, name: str, **order: object) -> None:
    """Let an engine fail from now on."""
    service.simulator(name).engine.failures.add(Failure.model_validate(order))


async def test_a_fault_in_deciding_costs_no_request(
    two: Service, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The emptiest engine answers, which says why it was asked; the log tells of the fault, not of the prompt."""

    def breaks(*_: object) -> Choice:
        raise ZeroDivisionError("float division by zero")

    monkeypatch.setitem(POLICIES, "adaptive", Mock(decide=breaks))
    prompt = "[task:sql_generation] the quick brown fox"
    body = {**ASKED, "messages": [{"role": "user", "content": prompt}]}
    async with two.session.post("/v1/chat/completions", json=body) as got:
        assert (got.status, got.headers["x-alpharoute-decision"]) == (200, "undecided"), await got.text()
        await got.read()
    assert two.total("decisions_total", reason="undecided") == two.metric("undecided_total") == 1
    assert "nothing was decided" in caplog.text
    assert "quick brown fox" not in caplog.text


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize(
    "order",
    [
        {"kind": "refuse"},
        {"kind": "error", "status": 503},
        {"kind": "error", "status": 401},
        {"kind": "error", "status": 502},
        {"kind": "exit"},
        {"kind": "die_mid_stream", "after_chunks": 0},
    ],
    ids=lambda order: "-".join(map(str, order.values())),
)
async def test_another_replica_answers(two: Service, order: dict[str, object], streams: bool) -> None:
    """However an engine fails before its first byte, nobody notices; the failure is counted once."""
    (first,) = {await served_by(two, {**ASKED, "stream": streams})}
    fail(two, first, **order)
    for _ in range(20):
        assert await served_by(two, {**ASKED, "stream": streams}) in two.engines
        if two.total("retries_total"):
            break
        await two.announce(first)
    assert two.total("engine_failures_total") == two.total("retries_total") == 1
    assert two.metric("in_flight_requests", pool="vanilla") == 0


async def test_a_client_s_error_is_no_failure_of_the_engine(two: Service) -> None:
    """A 4xx is neither tried again nor held against the engine."""
    async with two.session.post("/v1/chat/completions", json={**ASKED, "top_p": 9}) as got:
        assert got.status == 400
    assert two.total("retries_total") == two.total("engine_failures_total") == 0
    assert {replica.state for replica in two.ingress.fleet.replicas("demo")} == {"ready"}


async def test_a_500_is_the_engine_s_answer(two: Service) -> None:
    """An engine that says 500 may say it again elsewhere: it is passed on, not repeated."""
    for name in two.engines:
        fail(two, name, kind="error", status=500)
    async with two.session.post("/v1/chat/completions", json=ASKED) as got:
        assert got.status == 500
        assert (await got.json())["error"]["message"] == "simulated failure"
    assert two.total("retries_total") == 0


@pytest.mark.parametrize("streams", [False, True])
async def test_a_request_that_may_be_at_work_is_not_sent_twice(two: Service, streams: bool) -> None:
    """An engine that took a request and says nothing may still do the work: its time-out goes to the client."""
    for name in two.engines:
        fail(two, name, kind="hang")
    async with two.session.post("/v1/chat/completions", json={**ASKED, "stream": streams}) as got:
        assert got.status == 504
        assert (await got.json())["error"]["code"] == "engine_timeout"
    assert sum(two.simulator(name).engine.tally.failed for name in two.engines) == 1
    assert two.metric("retries_refused_total", pool="vanilla", reason="may_be_at_work") == 1


async def test_the_last_failure_is_told_and_not_that_no_engine_is_left(two: Service) -> None:
    """Both replicas break off: the client hears what happened, and each was asked once."""
    for name in two.engines:
        fail(two, name, kind="refuse")
    async with two.session.post("/v1/chat/completions", json=ASKED) as got:
        assert got.status == 502
        assert (await got.json())["error"]["code"] == "engine_lost"
    assert two.total("engine_failures_total") == 2


async def test_a_pool_that_is_down_is_replaced_by_the_other(service: Service) -> None:
    """The vanilla pool gone, the speculative one serves all, and the other way round."""
    service.simulator("vanilla-1").kill()
    for _ in range(3):
        assert await served_by(service, {**ASKED, "n": 2, "temperature": 1}) == "draft-1"
    async with service.session.post(
        "/v1/chat/completions", json=ASKED, headers={"x-alpharoute-speculation": "off"}
    ) as got:
        assert (got.status, got.headers["x-alpharoute-k"]) == (200, "0")


@pytest.mark.parametrize("status", ["301 Moved", "307 Temporary Redirect"])
async def test_a_redirect_is_not_followed_nor_shown(status: str) -> None:
    """An engine's redirect could point anywhere: it is a failure, and its target stays inside."""
    engine = ScriptedEngine(answer(b"", status=status, headers="location: http://10.0.0.1/\r\n"))
    async with (
        running_service(settings_with([VANILLA]), {"vanilla-1": engine}) as service,
        service.session.post("/v1/chat/completions", json=ASKED, allow_redirects=False) as got,
    ):
        assert (got.status, (await got.json())["error"]["code"]) == (502, f"engine_{status[:3]}")
        assert b"10.0.0.1" not in await got.read()


BROKEN: dict[str, Script] = {
    "garbage": raw(b"\x16\x03\x01 not http\r\n\r\n"),
    "nothing": raw(b""),
    "half a head": raw(b"HTTP/1.1 200 OK\r\ncontent-"),
    "half a body": raw(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{"),
    "bad chunks": raw(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n{}"),
    "endless header": raw(b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100_000 + b"\r\n\r\n"),
    "stream without a byte": stream(ends=False),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_what_is_no_answer_is_replaced(name: str) -> None:
    """Broken HTTP in any form counts as a failure of that engine, and the next one is asked."""
    broken = ScriptedEngine(BROKEN[name])
    engines: dict[str, EngineServer] = {"vanilla-1": broken, "vanilla-2": simulator(VANILLA)}
    async with running_service(settings_with([VANILLA]), engines) as service:
        for _ in range(20):
            assert await served_by(service, ASKED) == "vanilla-2"
            await service.announce("vanilla-1")
            if broken.asked:
                break
        assert broken.asked
        assert service.total("retries_total") >= 1


async def test_retries_have_an_end() -> None:
    """With more broken replicas than retries the client gets a 502, once."""
    engines = {f"vanilla-{i}": ScriptedEngine(raw(b"")) for i in range(5)}
    async with running_service(settings_with([VANILLA], router={"retries": 1}), engines) as service:
        async with service.session.post("/v1/chat/completions", json=ASKED) as got:
            error = (await got.json())["error"]
            assert (got.status, error["code"], error["type"]) == (502, "engine_lost", "engine_error")
            assert got.headers["x-alpharoute-replica"]
        assert sum(len(engine.asked) for engine in engines.values()) == 2


@pytest.mark.parametrize("retries", [0, 1, 4])
@pytest.mark.parametrize(
    ("path", "body"), [("/v1/chat/completions", ASKED), ("/v1/embeddings", {"model": "demo", "input": "a"})]
)
async def test_a_request_that_failed_leaves_its_body_nowhere(path: str, body: dict[str, object], retries: int) -> None:
    """A router seldom searches for garbage: what an error holds through its traceback would pile up meanwhile."""
    engines = {f"vanilla-{i}": ScriptedEngine(raw(b"")) for i in range(2)}
    async with running_service(settings_with([VANILLA], router={"retries": retries}), engines) as service:
        gc.collect()
        gc.disable()
        try:
            async with service.session.post(path, json=body) as got:
                assert got.status == 502
            await service.until(lambda: not service.ingress.running)
            left = [one for one in gc.get_objects() if isinstance(one, Generation | Plain)]
        finally:
            gc.enable()
    assert not left


async def test_a_stream_that_breaks_is_never_begun_again(two: Service) -> None:
    """After the first byte there is no second engine: the client gets an error event and no [DONE]."""
    for name in two.engines:
        fail(two, name, kind="die_mid_stream", after_chunks=3)
    async with two.session.post("/v1/chat/completions", json={**ASKED, "stream": True}) as got:
        data = await got.read()
    *_, last, end = data.split(b"\n\n")
    assert (end, b"[DONE]" in data) == (b"", False)
    assert orjson.loads(last.removeprefix(b"data: "))["error"]["code"] == "engine_lost"
    assert (two.total("retries_total"), two.total("engine_failures_total")) == (0, 1)
    assert two.total("aborted_requests_total") == 0


async def test_the_openai_client_raises_where_a_stream_breaks(two: Service) -> None:
    """The real client reports the error event as an exception with the router's words."""
    for name in two.engines:
        fail(two, name, kind="die_mid_stream", after_chunks=3)
    async with openai.AsyncOpenAI(base_url=f"{two.url}/v1", api_key="none", max_retries=0) as client:
        chunks = await client.chat.completions.create(
            model="demo", messages=[{"role": "user", "content": "x"}], stream=True
        )
        with pytest.raises(openai.APIError, match="engine broke off"):
            _ = [chunk async for chunk in chunks]


@pytest.mark.parametrize("part", [b"", EVENT[:30]])
async def test_half_an_event_is_not_sent_before_the_error(part: bytes) -> None:
    """The error event begins on a line of its own."""
    engine = ScriptedEngine(stream(EVENT, *([part] if part else []), ends=False))
    async with (
        running_service(settings_with([VANILLA]), {"vanilla-1": engine}) as service,
        service.session.post("/v1/chat/completions", json={**ASKED, "stream": True}) as got,
    ):
        data = await got.read()
    assert data.startswith(EVENT + b'data: {"error"')


async def test_an_engine_that_falls_silent_is_given_up() -> None:
    """Silence after the first byte ends in an error event that says so, and the connection is dropped."""
    engine = ScriptedEngine(stream(EVENT, EVENT, pause=asyncio.Event()))
    settings = settings_with([VANILLA], limits={"silence_s": 0.2})
    async with running_service(settings, {"vanilla-1": engine}) as service:
        async with service.session.post("/v1/chat/completions", json={**ASKED, "stream": True}) as got:
            first, last, end = (await got.read()).split(b"\n\n")
        assert (first + b"\n\n", end) == (EVENT, b"")
        assert orjson.loads(last.removeprefix(b"data: "))["error"]["code"] == "engine_timeout"
        await service.until(lambda: engine.lost == 1)


ENGINE_DEAD = (
    b'data: {"error": {"message": "EngineCore died.", "type": "InternalServerError", "param": null, "code": 500}}\n\n'
)
ANTHROPIC_DEAD = b'event: error\ndata: {"type":"error","error":{"type":"internal_error","message":"died"}}\n\n'
DONE = b"data: [DONE]\n\n"


@pytest.mark.parametrize(("path", "error"), [("/v1/chat/completions", ENGINE_DEAD), ("/v1/messages", ANTHROPIC_DEAD)])
async def test_an_error_inside_a_stream_is_the_engine_s_failure(path: str, error: bytes) -> None:
    """vLLM ends such a stream as it ends a good one, under the 200 of its head: breaker and metrics hear of it."""
    engine = ScriptedEngine(stream(EVENT, error + DONE))
    async with running_service(settings_with([VANILLA]), {"vanilla-1": engine}) as service:
        body = {**ASKED, "stream": True}
        async with service.session.post(path, json=body) as got:
            assert (got.status, await got.read()) == (200, EVENT + error + DONE)
        await service.until(lambda: service.total("requests_total", route=path, status="502") == 1)
        assert service.total("requests_total", route=path) == 1
        assert service.metric("engine_failures_total", pool="vanilla", code="engine_500") == 1
        assert service.ingress.fleet.endpoint("vanilla-1").breaker.failures == 1
        assert service.total("unmeasured_requests_total") == 0


async def test_a_client_s_error_inside_a_stream_is_not_held_against_the_engine() -> None:
    """Its code says whose it is."""
    error = ENGINE_DEAD.replace(b"500", b"400")
    engine = ScriptedEngine(stream(error + DONE))
    async with running_service(settings_with([VANILLA]), {"vanilla-1": engine}) as service:
        async with service.session.post("/v1/chat/completions", json={**ASKED, "stream": True}) as got:
            assert (got.status, await got.read()) == (200, error + DONE)
        assert service.total("engine_failures_total") == 0


async def test_a_stream_that_begins_with_an_error_is_begun_elsewhere() -> None:
    """Nothing has reached the client: another replica answers, and nobody notices."""
    broken = ScriptedEngine(stream(ENGINE_DEAD + DONE))
    engines: dict[str, EngineServer] = {"vanilla-1": broken, "vanilla-2": simulator(VANILLA)}
    async with running_service(settings_with([VANILLA]), engines) as service:
        for session in range(50):  # each has a replica of its own
            assert await served_by(service, {**ASKED, "stream": True, "user": f"{session}"}) == "vanilla-2"
            if broken.asked:
                break
        assert service.total("retries_total") == 1
        assert service.metric("engine_failures_total", pool="vanilla", code="engine_500") == 1


async def test_a_stream_that_breaks_counts_as_what_broke_it(two: Service) -> None:
    """The head's 200 is not what became of the request."""
    for name in two.engines:
        fail(two, name, kind="die_mid_stream", after_chunks=3)
    async with two.session.post("/v1/chat/completions", json={**ASKED, "stream": True}) as got:
        await got.read()
    await two.until(lambda: two.total("requests_total", status="502") == 1)
