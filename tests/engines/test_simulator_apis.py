"""The simulator's other APIs: Responses, Messages, embeddings, constrained output and adapters, in vLLM's shapes."""

import json
from collections.abc import AsyncIterator

import aiohttp
import pytest

from engines.simulator.engine import SimulatedEngine
from engines.simulator.frames import ANY_OBJECT, Frame, frame_of
from engines.simulator.server import SimulatorServer
from engines.simulator.settings import SimulatorSettings

SCHEMA = {
    "type": "object",
    "properties": {"n": {"type": "integer"}, "who": {"$ref": "#/$defs/Who"}, "kind": {"enum": ["a", "b"]}},
    "$defs": {"Who": {"type": "object", "properties": {"name": {"type": "string"}}}},
}
CHAT = [{"role": "user", "content": "[task:sql_generation] hello"}]


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """A session whose base is a simulator with one adapter."""
    settings = SimulatorSettings(model="demo", calibration="instant", loras=("legal",))
    async with SimulatorServer(SimulatedEngine(settings)) as server, aiohttp.ClientSession(server.url) as made:
        yield made


@pytest.mark.parametrize(
    ("schema", "frame"),
    [
        (SCHEMA, Frame('{"n":0,"who":{"name":"', '"},"kind":"a"}')),
        ({"type": "object", "properties": {"n": {"type": "integer"}}}, Frame('{"n":0}', "", silent=True)),
        ({"type": "string"}, ANY_OBJECT),
        (None, ANY_OBJECT),
        ({}, ANY_OBJECT),
    ],
)
def test_a_frame_makes_an_instance_of_the_schema(schema: object, frame: Frame) -> None:
    """The first string is where the words go; where there is none, there are no words."""
    assert frame_of(schema) == frame
    json.loads(f"{frame.before}{'' if frame.silent else 'words'}{frame.after}")


async def ask(session: aiohttp.ClientSession, path: str, **body: object) -> dict[str, object]:
    """The decoded answer of a request that must succeed."""
    async with session.post(path, json={"model": "demo", **body}) as got:
        assert got.status == 200, await got.text()
        answer: dict[str, object] = await got.json()
        return answer


async def events(session: aiohttp.ClientSession, path: str, **body: object) -> list[dict[str, object]]:
    """The decoded events of a stream, whose names must be their types."""
    async with session.post(path, json={"model": "demo", "stream": True, **body}) as got:
        assert got.status == 200
        blocks = (await got.text()).removesuffix("\n\n").split("\n\n")
    found = []
    for block in blocks:
        name, data = block.split("\n")
        found.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {found[-1]['type']}"
    return found


async def test_structured_output_fits_its_schema(session: aiohttp.ClientSession) -> None:
    """In all three APIs, for what ends by itself."""
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}
    chat = await ask(session, "/v1/chat/completions", messages=CHAT, response_format=wanted)
    text = chat["choices"][0]["message"]["content"]  # type: ignore[index]
    assert json.loads(text).keys() == {"n", "who", "kind"}
    response = await ask(
        session, "/v1/responses", input="hi", text={"format": {"type": "json_schema", "name": "x", "schema": SCHEMA}}
    )
    assert json.loads(response["output"][0]["content"][0]["text"])["n"] == 0  # type: ignore[index]
    config = {"format": {"type": "json_schema", "schema": SCHEMA}}
    message = await ask(session, "/v1/messages", messages=CHAT, max_tokens=4000, output_config=config)
    assert json.loads(message["content"][0]["text"])["kind"] == "a"  # type: ignore[index]


@pytest.mark.parametrize(
    ("path", "body", "delta"),
    [
        ("/v1/responses", {"input": "hi", "max_output_tokens": 9}, "response.output_text.delta"),
        ("/v1/messages", {"messages": CHAT, "max_tokens": 9}, "content_block_delta"),
    ],
)
async def test_a_stream_joined_is_the_whole_answer(
    session: aiohttp.ClientSession, path: str, body: dict[str, object], delta: str
) -> None:
    """Greedy text is the same however it is asked for, and a stream ends without `[DONE]`."""
    whole = await ask(session, path, temperature=0, **body)
    pieces = [e["delta"] for e in await events(session, path, temperature=0, **body) if e["type"] == delta]
    joined = "".join(piece["text"] if isinstance(piece, dict) else str(piece) for piece in pieces)
    assert joined
    assert joined in json.dumps(whole)


async def test_responses_carry_times_and_messages_nothing(session: aiohttp.ClientSession) -> None:
    """As in vLLM 0.32: neither says what was accepted."""
    response = await ask(session, "/v1/responses", input="hi", max_output_tokens=9)
    assert "generation_time_ms" in response["metrics"]  # type: ignore[operator]
    assert "speculative_decoding" not in response["metrics"]  # type: ignore[operator]
    assert "metrics" not in await ask(session, "/v1/messages", messages=CHAT, max_tokens=9)


async def test_tokens_of_a_message_are_counted(session: aiohttp.ClientSession) -> None:
    """The count is the usage of the answer."""
    counted = await ask(session, "/v1/messages/count_tokens", messages=CHAT, system="Be brief.")
    answered = await ask(session, "/v1/messages", messages=CHAT, system="Be brief.", max_tokens=4)
    assert counted["input_tokens"] == answered["usage"]["input_tokens"]  # type: ignore[index]


async def test_embeddings_follow_from_the_text(session: aiohttp.ClientSession) -> None:
    """Equal texts have equal vectors, of the length asked for."""
    got = await ask(session, "/v1/embeddings", input=["a", "b", "a"], dimensions=8)
    first, second, third = (entry["embedding"] for entry in got["data"])  # type: ignore[attr-defined]
    assert first == third != second
    assert len(first) == 8


async def test_an_adapter_is_served_and_named(session: aiohttp.ClientSession) -> None:
    """Its name comes back, and it is listed with its base."""
    answer = await ask(session, "/v1/chat/completions", model="legal", messages=CHAT, max_tokens=2)
    assert answer["model"] == "legal"
    async with session.get("/v1/models") as got:
        cards = (await got.json())["data"]
    assert [(card["id"], card["parent"]) for card in cards] == [("demo", None), ("legal", "demo")]
