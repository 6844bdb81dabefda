"""Large bodies: what is read of them is bounded, and read beside the event loop."""

import asyncio
import threading

import orjson
import pytest
from service import CHAT, VANILLA, running_service, settings_with, simulator

import router.ingress
from router.api.body_room import FREE_BYTES
from router.api.prompts import MAX_ITEMS, chat_chars, completions_chars, responses_chars
from router.api.request import parse_generation
from router.traffic.affinity import affinity

TURN = {"role": "user", "content": "abcd"}


@pytest.mark.parametrize("spaces", [0, router.ingress.ON_THE_LOOP_BYTES])
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
        _, writer = await asyncio.open_connection("127.0.0.1", int(service.url.rsplit(":", 1)[1]))
        head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n"
        writer.write(head % (4 * FREE_BYTES) + large)
        await service.until(lambda: room.held_bytes >= len(large))
        status, text = await ask(large)
        assert status == 429
        assert "bodies_full" in text
        assert (await ask(small))[0] == 200
        writer.close()
        await service.until(lambda: room.held_bytes == 0)
        assert (await ask(large))[0] == 200


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
