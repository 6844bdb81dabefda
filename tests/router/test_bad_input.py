"""Requests that are wrong: an answer in OpenAI's error shape that names the field, never a 500, never silence."""

import io
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

import aiohttp
import orjson
import pytest
import pytest_asyncio
from scripted import ScriptedEngine, answer
from service import CHAT, COMPLETION, DRAFT, VANILLA, Service, running_service, settings_with, simulator

DEEP = b"[" * 200 + b"]" * 200


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service() -> AsyncIterator[Service]:
    """One router for all of these requests, for none of them may harm it; one xarg that clients may set."""
    engines = {"vanilla-1": simulator(VANILLA), "draft-1": simulator(DRAFT)}
    async with running_service(settings_with(limits={"xargs": ["sim_task"]}), engines) as running:
        yield running


@dataclass(frozen=True)
class Said:
    """An error as the client got it."""

    status: int
    param: str | None
    code: str | int | None
    message: str
    headers: Mapping[str, str]


async def said(answer: aiohttp.ClientResponse) -> Said:
    """The error of an answer, whose shape is checked."""
    body = await answer.read()
    assert answer.content_type == "application/json", body
    error = orjson.loads(body)["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert isinstance(error["message"], str)
    assert error["message"]
    assert isinstance(error["type"], str)
    return Said(answer.status, error["param"], error["code"], error["message"], dict(answer.headers))


async def refused(
    service: Service, body: object, path: str = "/v1/chat/completions", headers: Mapping[str, str] | None = None
) -> Said:
    """What the router says to a body, given as bytes or to be encoded."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = {"content-type": "application/json", **(headers or {})}
    async with service.session.post(path, data=io.BytesIO(data), headers=head) as got:
        return await said(got)


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"", "empty_body"),
        (b"  \n", "empty_body"),
        (b"{", "invalid_json"),
        (b"nonsense", "invalid_json"),
        (b'{"model": "demo",}', "invalid_json"),
        (b'{"model": NaN}', "invalid_json"),
        (b'{"temperature": 1e999}', "invalid_json"),
        (b'{"model": "\xff\xfe"}', "invalid_json"),
        (b'{"model": "\\ud800"}', "invalid_json"),
        (b'\xef\xbb\xbf{"model": "demo"}', "invalid_json"),
        ('{"model": "demo"}'.encode("utf-16"), "invalid_json"),
        (b"\x00" * 64, "invalid_json"),
        (b"[" * 50_000, "invalid_json"),
        (b'{"a":' * 30_000, "invalid_json"),
        (b"null", "invalid_json"),
        (b"[]", "invalid_json"),
        (b'"text"', "invalid_json"),
        (b"1", "invalid_json"),
    ],
)
async def test_a_body_that_is_no_json_object(service: Service, raw: bytes, code: str) -> None:
    """Whatever cannot be read as an object is a 400."""
    error = await refused(service, raw)
    assert (error.status, error.code) == (400, code)


WRONG = [
    ({"model": None}, "model"),
    ({"model": 3}, "model"),
    ({"model": ""}, "model"),
    ({"model": "m" * 129}, "model"),
    ({"messages": None}, "messages"),
    ({"messages": []}, "messages"),
    ({"messages": "hello"}, "messages"),
    ({"messages": {}}, "messages"),
    ({"messages": ["hello"]}, "messages[0]"),
    ({"messages": [{}]}, "messages[0].role"),
    ({"messages": [{"role": 1, "content": "x"}]}, "messages[0].role"),
    ({"messages": [{"role": "user"}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": 7}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": {}}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": [7]}]}, "messages[0].content[0]"),
    ({"messages": [{"role": "user", "content": [{"type": "text", "text": 7}]}]}, "messages[0].content[0].text"),
    ({"stream": "yes"}, "stream"),
    ({"stream": 1}, "stream"),
    ({"temperature": "hot"}, "temperature"),
    ({"temperature": True}, "temperature"),
    ({"temperature": -0.1}, "temperature"),
    ({"temperature": 2.1}, "temperature"),
    ({"temperature": 10**30}, "temperature"),
    ({"temperature": [1]}, "temperature"),
    ({"n": 0}, "n"),
    ({"n": 1.5}, "n"),
    ({"n": "2"}, "n"),
    ({"n": -(10**30)}, "n"),
    ({"max_tokens": -1}, "max_tokens"),
    ({"max_tokens": "10"}, "max_tokens"),
    ({"max_tokens": 10**40}, "max_tokens"),
    ({"max_completion_tokens": 1.5}, "max_completion_tokens"),
    ({"use_beam_search": "no"}, "use_beam_search"),
    ({"tools": {}}, "tools"),
    ({"tools": "search"}, "tools"),
    ({"functions": 1}, "functions"),
    ({"response_format": "json"}, "response_format"),
    ({"structured_outputs": ["a"]}, "structured_outputs"),
    ({"vllm_xargs": []}, "vllm_xargs"),
    ({"vllm_xargs": {"spec_k": 3}}, "vllm_xargs.spec_k"),
    ({"vllm_xargs": {"sim_task": "x", "kv": 3}}, "vllm_xargs.kv"),
    ({"stream_options": {"include_usage": True}}, "stream_options"),
    ({"stream": True, "stream_options": []}, "stream_options"),
    ({"stream": True, "stream_options": {"include_usage": 1}}, "stream_options.include_usage"),
]


@pytest.mark.parametrize(("change", "param"), WRONG, ids=[f"{param}-{i}" for i, (_, param) in enumerate(WRONG)])
async def test_a_wrong_value_is_named(service: Service, change: dict[str, object], param: str) -> None:
    """Every field the router reads is checked, and the message begins with its name."""
    error = await refused(service, {**CHAT, **change})
    assert (error.status, error.param) == (400, param)
    assert param in error.message


@pytest.mark.parametrize("prompt", [None, 3, {}, [], [None], ["a", 1], [["a"]], [[1, "a"]], [[[1]]], [1, True], [1.5]])
async def test_a_wrong_prompt_is_named(service: Service, prompt: object) -> None:
    """A completions prompt is text, token ids or a list of these."""
    error = await refused(service, {"model": "demo", "prompt": prompt}, "/v1/completions")
    assert (error.status, error.param) == (400, "prompt")


async def test_a_deeply_nested_prompt_is_refused(service: Service) -> None:
    """Nesting is refused by the checks, not by a stack that runs out."""
    error = await refused(service, b'{"model":"demo","prompt":' + DEEP + b"}", "/v1/completions")
    assert (error.status, error.param) == (400, "prompt")


@pytest.mark.parametrize("field", ["chat_template_kwargs", "structured_outputs"])
async def test_a_deep_schema_is_answered(service: Service, field: str) -> None:
    """What the router only looks at from outside may be as deep as the router writes it."""
    schema = b'{"a":' * 200 + b"1" + b"}" * 200
    raw = json.dumps({**CHAT, "max_tokens": 4}).encode()[:-1] + b',"%b":%b}' % (field.encode(), schema)
    async with service.session.post(
        "/v1/chat/completions", data=raw, headers={"content-type": "application/json"}
    ) as got:
        assert got.status == 200


async def test_a_deep_body_that_must_be_rewritten_is_refused(service: Service) -> None:
    """Where the router has to write the JSON anew, more levels than it can write are a 400."""
    schema = b'{"a":' * 400 + b"1" + b"}" * 400
    raw = (
        json.dumps({**CHAT, "stream": True, "stream_options": None}).encode()[:-1] + b',"response_format":%b}' % schema
    )
    error = await refused(service, raw)
    assert (error.status, error.code) == (400, "invalid_json")


@pytest.mark.parametrize(
    ("field", "near"),
    [("temprature", "temperature"), ("max_token", "max_tokens"), ("mesages", "messages"), ("zzzzzz", None)],
)
async def test_an_unknown_field_is_named_with_its_nearest(service: Service, field: str, near: str | None) -> None:
    """A misspelt field is an error that says what was meant."""
    error = await refused(service, {**CHAT, field: 1})
    assert (error.status, error.param, error.code) == (400, field, "unknown_field")
    assert (near is None) == ("Did you mean" not in error.message)
    assert near is None or repr(near) in error.message


async def test_a_huge_field_name_costs_nothing(service: Service) -> None:
    """A megabyte of a name is neither compared nor sent back."""
    error = await refused(service, {**CHAT, "temperatur" * 100_000: 1})
    assert error.status == 400
    assert error.param is not None
    assert len(error.param) <= 128
    assert len(error.message) < 500


async def test_an_unknown_model_is_a_404(service: Service) -> None:
    """The names that are served are in the message, and the wrong one becomes no label of a metric."""
    error = await refused(service, {**CHAT, "model": "gpt-x"})
    assert (error.status, error.param, error.code) == (404, "model", "model_not_found")
    assert "demo" in error.message
    assert service.total("requests_total", model="gpt-x") == 0
    assert service.metric("requests_total", route="/v1/chat/completions", model="", task="", status="404") == 1


@pytest.mark.parametrize(
    ("header", "value", "code"),
    [
        ("x-alpharoute-task", "juggling", "unknown_task"),
        ("x-alpharoute-segment", "vip", "unknown_segment"),
        ("x-alpharoute-speculation", "maybe", "invalid_value"),
    ],
)
async def test_a_wrong_header_is_named(service: Service, header: str, value: str, code: str) -> None:
    """The router's own headers take what is documented, and the message lists it."""
    error = await refused(service, CHAT, headers={header: value})
    assert (error.status, error.param, error.code) == (400, header, code)
    assert "one of" in error.message


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"])
async def test_another_content_type_is_refused(service: Service, kind: str) -> None:
    """A body that says it is no JSON is not read as JSON."""
    error = await refused(service, CHAT, headers={"content-type": kind})
    assert (error.status, error.param) == (415, "content-type")


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "APPLICATION/JSON", "application/vnd.api+json"])
async def test_json_by_any_name_is_read(service: Service, kind: str) -> None:
    """Parameters, case and suffixes of the content type do not matter."""
    async with service.session.post(
        "/v1/chat/completions", data=json.dumps({**CHAT, "max_tokens": 2}), headers={"content-type": kind}
    ) as got:
        assert got.status == 200


async def test_a_compressed_body_is_refused(service: Service) -> None:
    """A body in an encoding that is not undone is not parsed as if it were plain."""
    error = await refused(service, CHAT, headers={"content-encoding": "gzip"})
    assert (error.status, error.param) == (415, "content-encoding")


async def test_a_wrong_method_says_which_is_right(service: Service) -> None:
    """405 with Allow, on routes of both kinds."""
    async with service.session.get("/v1/chat/completions") as got:
        error = await said(got)
        assert (error.status, error.headers["Allow"]) == (405, "POST")
    async with service.session.post("/health") as got:
        error = await said(got)
        assert (error.status, error.headers["Allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("path", ["/", "/v1/chat", "/v1/chat/completions/", "/v1//completions", "/admin/../v1/models"])
async def test_an_unknown_route_is_a_404(service: Service, path: str) -> None:
    """Routes are matched exactly, and unknown ones share one label."""
    async with service.session.post(path, json=CHAT) as got:
        assert (await said(got)).status in (404, 405)


async def test_head_answers_without_a_body(service: Service) -> None:
    """HEAD works on pages, for probes."""
    async with service.session.head("/health") as got:
        assert got.status == 200
        assert await got.read() == b""


BIG = 5 * 1024 * 1024


async def test_a_body_over_the_limit_is_refused(service: Service) -> None:
    """5 MB with their length declared are a 413."""
    error = await refused(service, {**CHAT, "user": "x" * BIG})
    assert (error.status, error.code) == (413, "body_too_large")


async def test_a_chunked_body_over_the_limit_is_refused(service: Service) -> None:
    """A length that is not declared is counted."""

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(BIG // 65536):
            yield b"x" * 65536

    async with service.session.post(
        "/v1/chat/completions", data=pieces(), headers={"content-type": "application/json"}
    ) as got:
        assert (await said(got)).status == 413


async def test_a_large_body_within_the_limit_is_answered(service: Service) -> None:
    """3 MB pass."""
    body = {**CHAT, "max_tokens": 2, "user": "x" * 3_000_000}
    data = io.BytesIO(json.dumps(body).encode())
    async with service.session.post(
        "/v1/chat/completions", data=data, headers={"content-type": "application/json"}
    ) as got:
        assert got.status == 200


async def test_the_engine_s_own_refusals_pass_on(service: Service) -> None:
    """Types, values and lengths that only the engine judges come back in its words."""
    wrong_type = await refused(service, {**CHAT, "seed": "x"})
    assert (wrong_type.status, wrong_type.param) == (400, "body.seed")
    wrong_value = await refused(service, {**CHAT, "top_p": 7})
    assert (wrong_value.status, wrong_value.param) == (400, "top_p")
    too_long = await refused(service, {**CHAT, "messages": [{"role": "user", "content": "x" * 200_000}]})
    assert too_long.status == 400
    assert "context length" in too_long.message


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        ("404 Not Found", b'{"detail":"Not Found"}', "Not Found"),
        ("422 Unprocessable Entity", b'{"detail":[{"loc":["body"]}]}', '[{"loc":["body"]}]'),
        ("400 Bad Request", b'{"object":"error","message":"old shape","code":400}', "old shape"),
        ("403 Forbidden", b'{"error":"no"}', "no"),
        ("500 Internal Server Error", b"Internal Server Error", "Internal Server Error"),
        ("429 Too Many Requests", b"", ""),
        ("400 Bad Request", b'{ "error" : {"message": "spaced", "type": "t", "param": null, "code": 1}}', "spaced"),
    ],
)
async def test_an_engine_s_odd_errors_get_one_shape(status: str, body: bytes, message: str) -> None:
    """Whatever the engine words its error in, the client gets OpenAI's object under the engine's status."""
    engine = ScriptedEngine(answer(body, status=status, headers="content-type: text/plain\r\nretry-after: 9\r\n"))
    async with (
        running_service(settings_with([VANILLA]), {"vanilla-1": engine}) as service,
        service.session.post("/v1/chat/completions", json=CHAT) as got,
    ):
        error = orjson.loads(await got.read())["error"]
        assert got.status == int(status[:3])
        assert got.headers["retry-after"] == "9"
    assert error["message"] == message or not message
    assert isinstance(error["message"], str)


@pytest.mark.parametrize(
    "body", [b"", b"not json", b"[]", b'{"metrics":7,"usage":[]}', b'{"metrics":{"generation_time_ms":"x"}}']
)
async def test_a_success_that_makes_no_sense_still_passes(body: bytes) -> None:
    """An engine's 200 is the client's, readable or not; it only teaches nothing."""
    engine = ScriptedEngine(answer(body))
    async with running_service(settings_with([VANILLA]), {"vanilla-1": engine}) as service:
        async with service.session.post("/v1/chat/completions", json=CHAT) as got:
            assert (got.status, await got.read()) == (200, body)
        assert service.metric("unmeasured_requests_total", reason="no_metrics") == 1


async def test_a_fault_of_the_router_is_said_in_shape(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    """A bug is a 500 that says so, counted and logged, and the next request is answered."""
    classifier, service.ingress.classifier = service.ingress.classifier, None  # type: ignore[assignment]
    error = await refused(service, CHAT)
    assert (error.status, error.code) == (500, "internal_error")
    assert "AttributeError" in caplog.text
    service.ingress.classifier = classifier
    async with service.session.post("/v1/chat/completions", json={**CHAT, "max_tokens": 2}) as got:
        assert got.status == 200


@pytest.mark.parametrize("prompt", ["text", [1, 2], ["a", "b"], [[1], [2, 3]]])
async def test_every_kind_of_prompt_is_taken(service: Service, prompt: object) -> None:
    """Completions take text, token ids and lists of either."""
    body = {**COMPLETION, "prompt": prompt, "max_tokens": 2}
    async with service.session.post("/v1/completions", json=body) as got:
        assert got.status == 200, await got.text()


async def test_nobody_ready_is_a_503_that_says_when_to_come_again() -> None:
    """Engines that start or drain are named with their state."""
    engines = {"vanilla-1": simulator(VANILLA), "draft-1": simulator(DRAFT)}
    async with running_service(settings_with(), engines) as service:
        await service.announce("vanilla-1", state="starting")
        await service.announce("draft-1", state="draining")
        fleet = service.ingress.fleet
        await service.until(lambda: all(beat.state != "ready" for beat in fleet.heartbeats()))
        error = await refused(service, CHAT)
        assert (error.status, error.code, error.headers["Retry-After"]) == (503, "no_engine", "5")
        assert "draft-1 is draining" in error.message
