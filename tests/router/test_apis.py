"""The other APIs: routed where they generate, relayed where they do not, refused in their own shape."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping

import orjson
import pytest
from pydantic import ValidationError
from scripted import ScriptedEngine, answer
from service import CHAT, DRAFT, VANILLA, Service, running_service, settings_with, simulator

from engines.simulator.failures import Failure, FailureKind
from policies.document import Document
from policies.knowledge import Knowledge
from policies.policy import POLICIES
from policies.replica import Pool, Replica
from policies.request import Request

MESSAGE: dict[str, object] = {**CHAT, "max_tokens": 40}
RESPONSE: dict[str, object] = {"model": "demo", "input": "[task:sql_generation] hello", "max_output_tokens": 40}
LONG = {"x-alpharoute-task": "sql_generation"}


async def posted(
    service: Service, path: str, body: object, headers: Mapping[str, str] | None = None, status: int = 200
) -> tuple[dict[str, str], dict[str, object]]:
    """Headers and decoded body of an answer."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = {"content-type": "application/json", **(headers or {})}
    async with service.session.post(path, data=data, headers=head) as got:
        said = await got.read()
        assert got.status == status, said
        decoded: dict[str, object] = orjson.loads(said)
        return {name.lower(): value for name, value in got.headers.items()}, decoded


@pytest.mark.parametrize(("path", "body"), [("/v1/messages", MESSAGE), ("/v1/responses", RESPONSE)])
async def test_what_is_not_measured_speculates_only_where_others_have_taught(
    service: Service, path: str, body: dict[str, object]
) -> None:
    """Neither API says what was accepted: vanilla at first, speculation once chats of the class have taught it."""
    head, _ = await posted(service, path, body, LONG)
    assert (head["x-alpharoute-pool"], head["x-alpharoute-decision"]) == ("vanilla", "unmeasured")
    for _ in range(12):
        await posted(
            service, "/v1/chat/completions", {**CHAT, "max_tokens": 40}, {**LONG, "x-alpharoute-speculation": "on"}
        )
    head, _ = await posted(service, path, body, LONG)
    assert (head["x-alpharoute-decision"], head["x-alpharoute-pool"]) == ("unmeasured", "draft")
    assert service.recent("draft-1")["k"] == int(head["x-alpharoute-k"]) > 0


def test_what_is_not_measured_is_never_an_experiment() -> None:
    """Over every draw: no exploration, no hold-out; nothing would be learnt from either."""
    pools = [Pool("vanilla", "demo", "t"), Pool("draft", "demo", "t", "d", "draft_model", 4)]
    replicas = [Replica(f"{pool.name}-1", pool) for pool in pools]
    request = Request("demo", "sql_generation", max_tokens=200, measured=False)
    decided = {
        str(POLICIES["adaptive"].decide(request, replicas, Knowledge(Document()), 0.0, draw / 1000).reason)
        for draw in range(1000)
    }
    assert decided == {"unmeasured"}


@pytest.mark.parametrize(("path", "body"), [("/v1/messages", MESSAGE), ("/v1/responses", RESPONSE)])
async def test_the_client_s_wish_reaches_the_engine(service: Service, path: str, body: dict[str, object]) -> None:
    """k travels in `vllm_xargs` in these APIs too, and nothing else of the body changes."""
    head, _ = await posted(service, path, body, {"x-alpharoute-speculation": "on"})
    assert (head["x-alpharoute-pool"], head["x-alpharoute-decision"]) == ("draft", "requested")
    assert service.recent("draft-1")["k"] == int(head["x-alpharoute-k"]) > 0


@pytest.mark.parametrize(
    ("path", "body", "event", "kind"),
    [
        ("/v1/messages", MESSAGE, b"event: error", {"type": "error"}),
        ("/v1/responses", RESPONSE, b"event: error", {"type": "error", "sequence_number": 0}),
        ("/v1/chat/completions", CHAT, b"data: ", {}),
    ],
)
async def test_a_stream_that_breaks_off_says_so_in_its_own_words(
    service: Service, path: str, body: dict[str, object], event: bytes, kind: dict[str, object]
) -> None:
    """The last event is an error that the API's clients raise."""
    for name in ("vanilla-1", "draft-1"):
        service.simulator(name).engine.failures.add(
            Failure(kind=FailureKind.DIE_MID_STREAM, requests=1, after_chunks=3)
        )
    async with service.session.post(path, json={**body, "stream": True}) as got:
        last = (await got.read()).removesuffix(b"\n\n").rpartition(b"\n\n")[2]
    assert last.startswith(event)
    said = orjson.loads(last[last.index(b"data: ") + 6 :])
    assert said["error"]["message"]
    assert kind.items() <= said.items()


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/v1/responses", {"model": "demo"}, "input"),
        ("/v1/responses", {"model": "demo", "input": []}, "input"),
        ("/v1/responses", {"model": "demo", "input": ["x"]}, "input[0]"),
        ("/v1/responses", {"model": "demo", "input": [{"role": "user", "content": 3}]}, "input[0].content"),
        ("/v1/responses", {**RESPONSE, "instructions": 3}, "instructions"),
        ("/v1/responses", {**RESPONSE, "max_output_tokens": "9"}, "max_output_tokens"),
        ("/v1/responses", {**RESPONSE, "text": {"format": "json"}}, "text.format"),
        ("/v1/responses", {**RESPONSE, "background": True}, "background"),
        ("/v1/responses", {**RESPONSE, "max_tokens": 3}, "max_tokens"),
        ("/v1/messages", {**MESSAGE, "messages": []}, "messages"),
        ("/v1/messages", {**MESSAGE, "system": 3}, "system"),
        ("/v1/messages", {**MESSAGE, "output_config": []}, "output_config"),
        ("/v1/messages", {**MESSAGE, "n": 2}, "n"),
        ("/v1/messages", {**MESSAGE, "vllm_xargs": {"spec_k": 9}}, "vllm_xargs.spec_k"),
        ("/v1/messages/count_tokens", {**MESSAGE}, "max_tokens"),
        ("/v1/embeddings", {"model": "demo", "input": "x", "dimension": 3}, "dimension"),
        ("/v1/embeddings", {"input": "x"}, "model"),
        ("/tokenize", {"model": 3}, "model"),
        ("/detokenize", {"model": "demo", "text": "x"}, "text"),
    ],
)
async def test_a_wrong_field_is_named(service: Service, path: str, body: dict[str, object], param: str) -> None:
    """In the error shape of its API."""
    _, said = await posted(service, path, body, status=400)
    error = said["error"]
    assert isinstance(error, dict)
    assert error["param"] == param
    assert (said.get("type") == "error") == path.startswith("/v1/messages")


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("400 Bad Request", "invalid_request_error"),
        ("404 Not Found", "not_found_error"),
        ("429 Too Many Requests", "rate_limit_error"),
        ("500 Internal Server Error", "api_error"),
    ],
)
@pytest.mark.parametrize(
    "body", [b'{"error":{"message":"no","type":"x","param":null,"code":1}}', b'{"detail":"no"}', b"no"]
)
async def test_an_engine_s_errors_get_anthropic_s_shape(status: str, kind: str, body: bytes) -> None:
    """vLLM words some errors of this route in OpenAI's shape and some in none."""
    async with running_service(
        settings_with([VANILLA]), {"vanilla-1": ScriptedEngine(answer(body, status=status))}
    ) as one:
        _, said = await posted(one, "/v1/messages", MESSAGE, status=int(status[:3]))
    error = {"type": kind, "message": "no", "param": None, "code": None}
    assert said == {"type": "error", "error": error}


async def test_an_engine_s_anthropic_error_passes_as_it_is() -> None:
    """What has the shape already is not touched."""
    body = b'{"type": "error", "error": {"type": "BadRequestError", "message": "spaced"}}'
    engine = ScriptedEngine(answer(body, status="400 Bad Request"))
    async with (
        running_service(settings_with([VANILLA]), {"vanilla-1": engine}) as service,
        service.session.post("/v1/messages", json=MESSAGE) as got,
    ):
        assert await got.read() == body


async def test_tokens_and_their_text(service: Service) -> None:
    """There and back, and counted."""
    _, tokens = await posted(service, "/tokenize", {"model": "demo", "prompt": "there and back"})
    _, text = await posted(service, "/detokenize", {"model": "demo", "tokens": tokens["tokens"]})
    assert text["prompt"] == "there and back"
    _, counted = await posted(
        service, "/v1/messages/count_tokens", {k: v for k, v in MESSAGE.items() if k != "max_tokens"}
    )
    assert isinstance(counted["input_tokens"], int)


async def test_what_generates_nothing_goes_where_it_is_least_busy(service: Service) -> None:
    """By the load that engines announce."""
    await service.announce("vanilla-1", running=200)
    await service.until(lambda: any(beat.running == 200 for beat in service.ingress.fleet.heartbeats()))
    head, _ = await posted(service, "/v1/embeddings", {"model": "demo", "input": "x"})
    assert (head["x-alpharoute-replica"], head["x-alpharoute-pool"]) == ("draft-1", "draft")


async def test_what_one_router_has_there_itself_counts_at_once() -> None:
    """Between two heartbeats a burst is spread by what the router itself has sent."""
    body = answer(b'{"data":[]}')
    release = asyncio.Event()

    async def wait(asked: object, writer: asyncio.StreamWriter) -> None:
        await release.wait()
        await body(asked, writer)  # type: ignore[arg-type]

    engines = {name: ScriptedEngine(wait) for name in ("vanilla-1", "vanilla-2")}
    async with running_service(settings_with([VANILLA]), engines) as service:
        asks = [
            asyncio.create_task(posted(service, "/v1/embeddings", {"model": "demo", "input": "x"})) for _ in range(6)
        ]
        await service.until(lambda: sum(len(engine.asked) for engine in engines.values()) == 6)
        assert [len(engine.asked) for engine in engines.values()] == [3, 3]
        release.set()
        await asyncio.gather(*asks)
        assert not any(service.ingress.relay.own.values())


async def test_another_engine_is_asked_where_one_breaks_off() -> None:
    """Nothing is lost by asking twice; where none is left, the engine's failure is told."""
    good, bad = ScriptedEngine(answer(b'{"tokens":[]}')), ScriptedEngine(answer(b"", status="503 Gone"))
    async with running_service(settings_with([VANILLA]), {"vanilla-1": bad, "vanilla-2": good}) as service:
        for _ in range(4):
            head, _ = await posted(service, "/tokenize", {"model": "demo", "prompt": "x"})
            assert head["x-alpharoute-replica"] == "vanilla-2"
    async with running_service(
        settings_with([VANILLA]), {"vanilla-1": ScriptedEngine(answer(b"", status="503 Gone"))}
    ) as one:
        _, said = await posted(one, "/tokenize", {"model": "demo", "prompt": "x"}, status=502)
        await one.announce("vanilla-1", state="draining")
        await one.until(lambda: one.ingress.fleet.heartbeats()[0].state == "draining")
        head, _ = await posted(one, "/tokenize", {"model": "demo", "prompt": "x"}, status=503)
    assert "503" in str(said["error"])
    assert head["retry-after"] == "5"


async def test_a_route_that_the_model_does_not_serve_is_said() -> None:
    """Embeddings of a model that generates: vLLM has no such route then."""
    engine = ScriptedEngine(answer(b'{"detail":"Not Found"}', status="404 Not Found"))
    async with running_service(settings_with([VANILLA]), {"vanilla-1": engine}) as service:
        _, said = await posted(service, "/v1/embeddings", {"model": "demo", "input": "x"}, status=404)
    error = said["error"]
    assert isinstance(error, dict)
    assert error["code"] == "route_not_served"


@pytest.fixture
async def aliased() -> AsyncIterator[tuple[Service, ScriptedEngine]]:
    """A router with an alias over one engine that keeps what it is asked."""
    engine = ScriptedEngine(answer(b'{"model":"demo"}'))
    settings = settings_with([VANILLA], models={"aliases": {"gpt-4": "demo"}})
    async with running_service(settings, {"vanilla-1": engine}) as service:
        yield service, engine


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
@pytest.mark.parametrize(
    ("sent", "got"),
    [
        (
            b'{ "model" : "gpt-4" ,"temperature": 1.0,"max_tokens":9,"messages":[{"role":"user","content":"\\u00e9"}]}',
            b'{ "model":"demo" ,"temperature": 1.0,"max_tokens":9,"messages":[{"role":"user","content":"\\u00e9"}]}',
        ),
        (
            b'{"m\\u006fdel":"gpt-4","max_tokens":9,"messages":[{"role":"user","content":"x"}]}',
            b'{"model":"demo","max_tokens":9,"messages":[{"role":"user","content":"x"}]}',
        ),
        (
            b'{"metadata":{"model":"gpt-4"},"model":"gpt-4","max_tokens":9,"messages":[{"role":"user","content":"x"}]}',
            b'{"metadata":{"model":"gpt-4"},"model":"demo","max_tokens":9,"messages":[{"role":"user","content":"x"}]}',
        ),
        (
            b'{"model":"gpt-4","max_tokens":9,"messages":[{"role":"user","content":"\\"model\\":\\"gpt-4\\""}]}',
            b'{"model":"demo","max_tokens":9,"messages":[{"role":"user","content":"\\"model\\":\\"gpt-4\\""}]}',
        ),
        (
            b'{"metadata":{"model":"gpt-4"},"mode\\u006c":"gpt-4","max_tokens":9,"messages":[{"role":"user","content":"x"}]}',
            b'{"metadata":{"model":"gpt-4"},"model":"demo","max_tokens":9,"messages":[{"role":"user","content":"x"}]}',
        ),
    ],
)
async def test_an_alias_changes_the_model_and_nothing_else(
    aliased: tuple[Service, ScriptedEngine], path: str, sent: bytes, got: bytes
) -> None:
    """The engine gets its own name, wherever and however the client wrote the other."""
    service, engine = aliased
    await posted(service, path, sent)
    assert engine.asked[-1].body == got


async def test_an_adapter_keeps_its_own_acceptance() -> None:
    """The same drafter guesses an adapter's words less well: it is another target."""
    loras = {"loras": {"legal": "org/legal"}}
    pools = [VANILLA.model_copy(update=loras), DRAFT.model_copy(update=loras)]
    engines = {"vanilla-1": simulator(VANILLA, loras=("legal",)), "draft-1": simulator(DRAFT, loras=("legal",))}
    async with running_service(settings_with(pools), engines) as service:
        asked = {**CHAT, "max_tokens": 40}
        for model in ("legal", "demo"):
            _, said = await posted(
                service, "/v1/chat/completions", {**asked, "model": model}, {**LONG, "x-alpharoute-speculation": "on"}
            )
            assert said["model"] == model
        keys = [key for key in service.ingress.pilot.knowledge.records if key.startswith("acc:")]
    assert {key.partition("|")[0] for key in keys} == {"acc:sim@1%2Blegal", "acc:sim@1"}


async def test_models_are_listed_with_their_longest_context(service: Service) -> None:
    """The engines' own, where they have said it."""
    await service.announce("vanilla-1", max_context_tokens=512)
    await service.until(lambda: any(beat.max_context_tokens for beat in service.ingress.fleet.heartbeats()))
    async with service.session.get("/v1/models/demo") as got:
        assert (await got.json())["max_model_len"] == 512
    async with service.session.get("/v1/models/none") as got:
        assert got.status == 404
    async with service.session.post("/v1/models/demo") as got:
        assert got.status == 405


@pytest.mark.parametrize(
    ("aliases", "said"),
    [
        ({"gpt-4": "llama"}, "'gpt-4' stands for 'llama', but served are ['demo']"),
        ({"demo": "demo"}, "'demo' is a served model's own name"),
    ],
)
def test_an_alias_that_leads_nowhere_is_refused_at_start(aliases: dict[str, str], said: str) -> None:
    """With the names that could be meant."""
    with pytest.raises(ValidationError) as refused:
        settings_with(models={"aliases": aliases})
    assert said in str(refused.value)
