"""What an engine is asked is what was checked: nothing comes past in a second key, an odd spelling or a path."""

import asyncio
import json
import time
from collections.abc import AsyncIterator

import orjson
import pytest
import pytest_asyncio
from scripted import ScriptedEngine, answer
from service import CHAT, Service, running_service, settings_with

from router.api.strict import DEEPEST, check_strict
from router.errors import BadRequest

pytestmark = pytest.mark.asyncio(loop_scope="module")

ANSWER = answer(b'{"choices":[],"usage":{}}')
HEAD = json.dumps(CHAT)[:-1].encode()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service() -> AsyncIterator[Service]:
    """One engine of each kind that keeps what it is asked; clients may set the xarg `mine`."""
    engines = {"vanilla-1": ScriptedEngine(ANSWER), "draft-1": ScriptedEngine(ANSWER)}
    async with running_service(settings_with(limits={"xargs": ["mine"]}), engines) as running:
        yield running


def _asked(service: Service) -> list[bytes]:
    """The bodies that reached an engine."""
    engines = [engine for engine in service.engines.values() if isinstance(engine, ScriptedEngine)]
    return [asked.body for engine in engines for asked in engine.asked]


async def _post(service: Service, body: bytes, **headers: str) -> tuple[int, str]:
    async with service.session.post(
        "/v1/chat/completions", data=body, headers={"content-type": "application/json", **headers}
    ) as got:
        said = orjson.loads(await got.read())
        return got.status, said.get("error", {}).get("code", "")


async def test_many_keys_are_looked_through_once() -> None:
    """A body with as many names as fit and one of them twice must not hold the router up (minutes, if compared)."""
    names = [f'"n{i}": 1' for i in range(150_000)]
    body = "{" + ", ".join([*names, names[-1]]) + "}"
    began_s = time.process_time()
    with pytest.raises(BadRequest, match="'n149999' is given twice"):
        check_strict(body.encode(), orjson.loads(body))
    assert time.process_time() - began_s < 10


@pytest.mark.parametrize(
    "smuggled",
    [
        b'"vllm_xargs":{"spec_k":9},"vllm_xargs":{}',
        b'"vllm_xargs":{"spec_k":9},"vllm_xargs":null',
        b'"vllm_xargs":{},"vllm_xargs":{"mine":1}',
        b'"vllm_xargs":{"mine":1,"mine":2}',
        b'"vllm_xargs":{"spec_k":9},"vllm\\u005fxargs":{}',
        b'"vllm\\u005fxargs":{"spec_k":9},"vllm_xargs":{}',
        b'"vllm_xargs":{"mine":1,"\\u006dine":2}',
        b'"model":"demo"',
        b'"\\u006dodel":"other"',
        b'"stream":true,"stream":false',
        b'"metadata":{"a":1,"a":2}',
        b'"tools":[{"type":"function","type":"other"}]',
        b'"messages":[{"role":"user","content":"other"}]',
        b'"response_format":{"type":"text"}, "response_format":{"type":"json_object"}',
    ],
)
async def test_a_key_given_twice_is_refused(service: Service, smuggled: bytes) -> None:
    """At any depth and in any spelling: which of them counts would be the reader's choice."""
    before = len(_asked(service))
    for body in (HEAD + b"," + smuggled + b"}", b"{" + smuggled + b"," + HEAD[1:] + b"}"):
        status, code = await _post(service, body)
        assert (status, code) in {(400, "duplicate_field")}, body
    assert len(_asked(service)) == before


@pytest.mark.parametrize(
    "smuggled",
    [
        b'"vllm_xargs":{"spec_k":9}',
        b'"vllm_xargs":{"spec\\u005fk":9}',
        b'"vllm_xargs":{"\\u0073pec_k":9}',
        b'"vllm\\u005fxargs":{"spec_k":9}',
        b'"vllm_xargs":{"SPEC_K":9}',
        b'"vllm_xargs":{"spec_k ":9}',
        b'"vllm_xargs":{"spec_k\\u0000":9}',
        b'"VLLM_XARGS":{"spec_k":9}',
        b'"vllm_xargs ":{"spec_k":9}',
        b'"vllm_xargs":{"mine":{"spec_k":9},"spec_k":1}',
        b'"vllm_xargs":[["spec_k",9]]',
        b'"vllm_xargs":"{\\"spec_k\\":9}"',
        b'"extra_args":{"spec_k":9}',
        b'"extra_body":{"vllm_xargs":{"spec_k":9}}',
        b'"sampling_params":{"extra_args":{"spec_k":9}}',
    ],
)
async def test_k_is_the_router_s_alone(service: Service, smuggled: bytes) -> None:
    """No spelling of it passes."""
    before = len(_asked(service))
    status, _ = await _post(service, HEAD + b"," + smuggled + b"}")
    assert status == 400
    assert len(_asked(service)) == before


async def test_what_is_allowed_passes_beside_the_router_s_k(service: Service) -> None:
    """An allowed key with a value that looks like another stays a value, and every key is there once."""
    body = HEAD + b',"vllm_xargs":{"mine":"{\\"spec_k\\":9}"}}'
    status, _ = await _post(service, body, **{"x-alpharoute-speculation": "on"})
    assert status == 200
    draft = service.engines["draft-1"]
    assert isinstance(draft, ScriptedEngine)
    sent = draft.asked[-1].body
    xargs = orjson.loads(sent)["vllm_xargs"]
    assert xargs["mine"] == '{"spec_k":9}'
    assert type(xargs["spec_k"]) is int
    check_strict(sent, orjson.loads(sent))


@pytest.mark.parametrize(
    "body",
    [
        HEAD + b"}",
        json.dumps({**CHAT, "seed": 2**70, "temperature": 1e-5, "top_p": 1.0, "user": "é\\u0000\n"}).encode(),
        json.dumps({**CHAT, "user": "ü\U0001f600"}, ensure_ascii=False, indent=2).encode(),
        b"  " + HEAD + b' , "user" : "\\u00e9" }  \n',
        HEAD + b',"metadata":{"a":{"x":1},"b":{"x":1}},"user":"\\"a\\":1,\\"a\\":2"}',
    ],
)
async def test_ordinary_json_in_any_style_passes(service: Service, body: bytes) -> None:
    """Spaces, escapes, large numbers, equal keys of different objects: none of it is a double."""
    assert (await _post(service, body))[0] == 200


async def test_depth_is_bounded() -> None:
    """The last level that is taken, and the first that is not."""

    def nested(levels: int) -> bytes:
        return b'{"a":' * levels + b"1" + b"}" * levels

    check_strict(nested(DEEPEST), orjson.loads(nested(DEEPEST)))
    with pytest.raises(BadRequest, match="254"):
        check_strict(nested(DEEPEST + 1), orjson.loads(nested(DEEPEST + 1)))


@pytest.mark.parametrize(
    "target",
    [
        "/metrics/../v1/load_lora_adapter",
        "/v1/load_lora_adapter",
        "/v1/%2e%2e/sleep",
        "/v1/chat/completions/../../../sleep",
        "//sleep",
        "/v1/chat/completions/%2e%2e/%2e%2e/%2e%2e/scale_elastic_ep",
        "/invocations",
        "/v1/chat/completions%3F",
        "/v1/chat/completions%00",
        "/v1/chat/completions;/sleep",
        "/V1/CHAT/COMPLETIONS",
        "http://127.0.0.1:1/invocations",
        "/collective_rpc",
        "/reset_prefix_cache",
        "/server_info",
        "*",
    ],
)
async def test_no_path_leads_to_another_route_of_an_engine(service: Service, target: str) -> None:
    """An engine's path is a constant of the router's, never what a client wrote."""
    before = len(_asked(service))
    body = HEAD + b"}"
    request = b"POST %b HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%b"
    reader, writer = await asyncio.open_connection("127.0.0.1", int(service.url.rsplit(":", 1)[1]))
    writer.write(request % (target.encode(), len(body), body))
    status = int((await reader.read()).split(b" ", 2)[1])
    writer.close()
    assert status in (400, 404, 405)
    assert len(_asked(service)) == before


@pytest.mark.parametrize("target", ["/v1/chat/completions?x=../sleep", "http://evil/v1/chat/completions?a=1"])
async def test_neither_query_nor_authority_reach_an_engine(service: Service, target: str) -> None:
    """What is asked of the engine is the route alone, at its own address."""
    body = HEAD + b"}"
    request = b"POST %b HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%b"
    reader, writer = await asyncio.open_connection("127.0.0.1", int(service.url.rsplit(":", 1)[1]))
    writer.write(request % (target.encode(), len(body), body))
    assert b" 200 " in await reader.readline()
    await reader.read()
    writer.close()
    engines = [engine for engine in service.engines.values() if isinstance(engine, ScriptedEngine)]
    lines = {asked.head.split("\r\n")[0] for engine in engines for asked in engine.asked}
    assert lines == {"POST /v1/chat/completions HTTP/1.1"}


async def test_an_engine_sees_no_secret_of_the_client(service: Service) -> None:
    """Keys, cookies and addresses stay here, even where no guard stands in front; the engine gets its own key."""
    secret = "sk-client-secret"
    headers = {
        "authorization": f"Bearer {secret}",
        "x-api-key": secret,
        "cookie": f"session={secret}",
        "proxy-authorization": secret,
        "x-forwarded-for": secret,
        "x-alpharoute-segment": "default",
        "traceparent": f"00-{secret}",
    }
    status, _ = await _post(service, HEAD + b',"user":"u"}', **{**headers, "x-request-id": "r-1"})
    assert status == 200
    engines = [engine for engine in service.engines.values() if isinstance(engine, ScriptedEngine)]
    asked = next(asked for engine in engines for asked in reversed(engine.asked) if b'"user":"u"' in asked.body)
    assert asked.headers["authorization"] == "Bearer engine-key"
    names = asked.headers.keys() - {"host", "content-type", "content-length", "accept", "authorization"}
    assert names <= {"x-request-id", "traceparent", "x-request-timeout-ms"}
    assert secret not in asked.head.replace(f"00-{secret}", "")
