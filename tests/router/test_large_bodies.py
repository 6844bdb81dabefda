"""Large bodies: what is read of them is bounded, and read beside the event loop."""

import threading

import orjson
import pytest
from service import CHAT, VANILLA, running_service, settings_with, simulator

import router.ingress
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
