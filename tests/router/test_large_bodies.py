"""Large bodies: what is read of them is bounded, and read beside the event loop."""

import asyncio
import contextlib
import sys
import threading
import weakref
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
from scripted import Asked, Script, ScriptedEngine, answer, stream
from service import CHAT, VANILLA, Service, running_service, settings_with, simulator

import router.ingress
from router.api.body import ON_THE_LOOP_BYTES
from router.api.body_room import FREE_BYTES, BodyRoom
from router.api.prompts import MAX_ITEMS, chat_chars, completions_chars, responses_chars
from router.api.request import CHAT as CHAT_ROUTE
from router.api.request import parse_generation
from router.api.strict import check_strict
from router.errors import Overloaded
from router.traffic.affinity import affinity
from router.traffic.forward import engine_body

TURN = {"role": "user", "content": "abcd"}


@pytest.mark.parametrize("spaces", [0, ON_THE_LOOP_BYTES])
async def test_a_large_body_is_read_beside_the_event_loop(monkeypatch: pytest.MonkeyPatch, spaces: int) -> None:
    """A small one is not: a thread costs more than reading it."""
    threads: list[threading.Thread] = []

    def parse(*args: object, **named: object) -> object:
        threads.append(threading.current_thread())
        return parse_generation(*args, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(router.ingress, "parse_generation", parse)
    async with running_service(settings_with([VANILLA]), {"vanilla-1": simulator(VANILLA)}) as service:
        body = orjson.dumps(CHAT) + b" " * spaces
        head = {"content-type": "application/json"}
        async with service.session.post("/v1/chat/completions", data=body, headers=head) as got:
            assert got.status == 200
    (thread,) = threads
    assert (thread is threading.main_thread()) == (spaces == 0)


@contextlib.asynccontextmanager
async def slow_client(service: Service, sent_bytes: int) -> AsyncIterator[None]:
    """One that has sent so much of a body and does not go on."""
    _, writer = await asyncio.open_connection("127.0.0.1", int(service.url.rsplit(":", 1)[1]))
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n"
    writer.write(head % (4 * FREE_BYTES) + b" " * sent_bytes)
    try:
        yield
    finally:
        writer.close()


async def test_large_bodies_of_many_clients_find_no_room_and_small_ones_do() -> None:
    """Slow large bodies fill it, whoever sends another is refused in time to come back; what left is given back."""
    limits = {"body_bytes": 4 * FREE_BYTES, "bodies_bytes": 4 * FREE_BYTES, "body_s": 20}
    settings = settings_with([VANILLA], limits=limits)
    async with running_service(settings, {"vanilla-1": simulator(VANILLA)}) as service:
        room, small = service.ingress.bodies, orjson.dumps(CHAT)
        large = small + b" " * (3 * FREE_BYTES)

        async def ask(body: bytes) -> tuple[int, str]:
            head = {"content-type": "application/json"}
            async with service.session.post("/v1/chat/completions", data=body, headers=head) as got:
                return got.status, await got.text()

        assert (await ask(large))[0] == 200
        assert room.held_bytes == 0
        async with slow_client(service, len(large)):
            await service.until(lambda: room.held_bytes >= len(large))
            status, text = await ask(large)
            assert status == 429
            assert "bodies_full" in text
            assert (await ask(small))[0] == 200
        await service.until(lambda: room.held_bytes == 0)
        assert (await ask(large))[0] == 200


HEAD = {"content-type": "application/json"}
EVENT, DONE = b'data: {"choices":[{"index":0}]}\n\n', b"data: [DONE]\n\n"


class Tree(dict[str, object]):
    """A decoded body that can be looked for."""


class Kept:
    """What is left in this process of the last body that was parsed: its bytes, and what was decoded."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        self._parse = getattr(router.ingress, name)
        monkeypatch.setattr(router.ingress, name, self)

    def __call__(self, route: Any, raw: bytes, **named: Any) -> Any:
        asked = self._parse(route, raw, **named)
        tree = Tree(asked.body)
        self._raw, self._tree = raw, weakref.ref(tree)
        return type(asked)(**{field: getattr(asked, field) for field in asked.__slots__} | {"body": tree})

    @property
    def decoded(self) -> bool:
        """Whether anything still holds the decoded body."""
        return self._tree() is not None

    @property
    def raw(self) -> bool:
        """Whether anything but this still holds its bytes."""
        return sys.getrefcount(self._raw) > 2


def waits(go: asyncio.Event, then: Script) -> Script:
    """A script that is played once it may go."""

    async def play(asked: Asked, writer: asyncio.StreamWriter) -> None:
        await go.wait()
        await then(asked, writer)

    return play


async def posted(service: Service, path: str, body: dict[str, object]) -> bytes:
    """The bytes of a good answer to a body as large as three free ones, of which this client keeps nothing."""
    data = iter([orjson.dumps(body) + b" " * (3 * FREE_BYTES)])

    async def once() -> Any:
        for part in data:
            yield part

    async with service.session.post(path, data=once(), headers=HEAD) as got:
        answered = await got.read()
        assert got.status == 200, answered
        return answered


@pytest.mark.parametrize(
    ("path", "parse", "then"),
    [
        ("/v1/chat/completions", "parse_generation", stream(EVENT, DONE)),
        ("/v1/messages/count_tokens", "parse_plain", answer(b'{"input_tokens":3}')),
    ],
)
async def test_while_an_engine_is_waited_for_only_the_bytes_are_held(
    monkeypatch: pytest.MonkeyPatch, path: str, parse: str, then: Script
) -> None:
    """What was decoded takes up to twenty times as much, and nobody needs it any longer."""
    go, kept = asyncio.Event(), Kept(monkeypatch, parse)
    engine = ScriptedEngine(waits(go, then))
    async with running_service(settings_with([VANILLA]), {"vanilla-1": engine}) as service:
        asking = asyncio.create_task(posted(service, path, {**CHAT, "messages": [TURN] * 1000}))
        await service.until(lambda: bool(engine.asked))
        assert not kept.decoded
        assert 3 * FREE_BYTES < service.ingress.bodies.held_bytes < 4 * FREE_BYTES
        go.set()
        await asking
        assert service.ingress.bodies.held_bytes == 0


@pytest.mark.parametrize("spaces", [0, ON_THE_LOOP_BYTES])
async def test_once_an_answer_has_begun_nothing_is_held_of_its_body(
    monkeypatch: pytest.MonkeyPatch, spaces: int
) -> None:
    """No engine can be asked again, and an answer takes minutes: others' bodies find room meanwhile."""
    pause, kept = asyncio.Event(), Kept(monkeypatch, "parse_generation")
    engine = ScriptedEngine(stream(EVENT, DONE, pause=pause))
    body = {**CHAT, "stream": True, "stream_options": {"include_usage": True}, "user": "x" * spaces}
    limits = {"body_bytes": 8 * FREE_BYTES, "bodies_bytes": 8 * FREE_BYTES}
    async with running_service(settings_with([VANILLA], limits=limits), {"vanilla-1": engine}) as service:
        asking = []
        for many in (1, 2, 3, 4):
            asking.append(asyncio.create_task(posted(service, "/v1/chat/completions", body)))
            await service.until(lambda many=many: len(engine.asked) == many)  # type: ignore[misc]
            await service.until(lambda: service.ingress.bodies.held_bytes == 0)
        await service.until(lambda: not kept.raw)
        assert not kept.decoded
        pause.set()
        assert await asyncio.gather(*asking) == [EVENT + DONE] * 4


async def test_a_dense_body_needs_more_room() -> None:
    """It is refused beside one that leaves room for another as large by its bytes; alone it is served."""
    limits = {"body_bytes": 8 * FREE_BYTES, "bodies_bytes": 8 * FREE_BYTES, "body_s": 20}
    engines = {"vanilla-1": simulator(VANILLA)}
    async with running_service(settings_with([VANILLA], limits=limits), engines) as service:
        room = service.ingress.bodies
        dense = {**CHAT, "metadata": {"lists": [[]] * 20_000}}

        async def ask(body: dict[str, object]) -> int:
            data = orjson.dumps(body) + b" " * FREE_BYTES
            async with service.session.post("/v1/chat/completions", data=data, headers=HEAD) as got:
                await got.read()
                return got.status

        assert await ask(dense) == 200
        async with slow_client(service, 2 * FREE_BYTES):
            await service.until(lambda: room.held_bytes >= 2 * FREE_BYTES)
            assert (await ask(dense), await ask(CHAT)) == (429, 200)
        await service.until(lambda: room.held_bytes == 0)
        assert await ask(dense) == 200


def test_what_is_decoded_takes_room_too() -> None:
    """More than its bytes, until it is let go; a body that found room for free takes none."""
    room = BodyRoom(10 * FREE_BYTES)
    with room.share() as one, room.share() as other, room.share() as small:
        one.grow(2 * FREE_BYTES)
        one.decoded(9 * FREE_BYTES)
        small.grow(FREE_BYTES)
        small.decoded(9 * FREE_BYTES)
        assert room.held_bytes == 9 * FREE_BYTES
        with pytest.raises(Overloaded):
            other.grow(2 * FREE_BYTES)
        one.shrink(2 * FREE_BYTES)
        other.grow(2 * FREE_BYTES)
        with pytest.raises(Overloaded):
            other.decoded(9 * FREE_BYTES)
        one.shrink(3 * FREE_BYTES)
        assert room.held_bytes == 4 * FREE_BYTES
        one.shrink(0)
        other.decoded(99 * FREE_BYTES)
    assert room.held_bytes == 0


@pytest.mark.parametrize("speculative", [True, False])
@pytest.mark.parametrize("options", [None, {}, {"include_usage": False}, {"include_usage": True, "x": 1}])
@pytest.mark.parametrize("xargs", [None, {"mine": 1}])
def test_an_engine_s_body_is_made_of_the_bytes_alone(
    speculative: bool, options: dict[str, object] | None, xargs: dict[str, object] | None
) -> None:
    """What the client said in the fields that the router writes is kept, and none of them is there twice."""
    body = {**CHAT, "stream": True, "vllm_xargs": xargs, "stream_options": options}
    body = {name: value for name, value in body.items() if value is not None}
    parsed = parse_generation(CHAT_ROUTE, orjson.dumps(body), xargs=frozenset({"mine"}), extra_fields=frozenset())
    sent = engine_body(parsed.understood(), 3, speculative=speculative)
    expected = {**body}
    if speculative:
        expected["vllm_xargs"] = {**(xargs or {}), "spec_k": 3}
    if not (options or {}).get("include_usage"):
        expected["stream_options"] = {"include_usage": True}
    assert orjson.loads(sent) == expected
    check_strict(sent, orjson.loads(sent))


def test_of_long_lists_the_first_items_stand_for_all() -> None:
    """Lengths are estimates; what is wrong further back is left for the engine to refuse."""
    many = 3 * MAX_ITEMS
    assert chat_chars({"messages": [TURN] * many}) == 4 * many
    assert chat_chars({"messages": [{"role": "user", "content": ["abcd"] * many}]}) == 4 * many
    assert chat_chars({"messages": [TURN] * MAX_ITEMS + [7]}) == 4 * (MAX_ITEMS + 1)
    assert responses_chars({"input": [TURN] * many}) == 4 * many
    assert completions_chars({"prompt": ["abcd"] * many}) == 4 * many
    assert completions_chars({"prompt": [[1]] * MAX_ITEMS + ["x"]}) == 4 * (MAX_ITEMS + 1)


class Endless(list[int]):
    """Token ids of which only a few may be looked at one by one."""

    def __repr__(self) -> str:
        raise AssertionError("the whole list was written out")


def test_a_name_is_made_of_a_prompt_s_beginning() -> None:
    """Of lists of token ids the first of the first, of parts the first text."""
    one = affinity({}, {"model": "m", "prompt": [Endless(range(100)), Endless([7])]})
    assert one == affinity({}, {"model": "m", "prompt": list(range(100))})
    image = {"type": "image_url", "image_url": {"url": Endless()}}
    shown = {"model": "m", "messages": [{"role": "user", "content": [image, {"type": "text", "text": "abc"}]}]}
    assert affinity({}, shown) == affinity({}, {"model": "m", "prompt": "abc"})
