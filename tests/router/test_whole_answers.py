"""Whole answers of engines that are long: what they say of their request, and how they go out."""

import asyncio
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted import ScriptedEngine, answer
from service import CHAT, COMPLETION, DRAFT, VANILLA, running_service, settings_with

from router.api.answer import account, portions
from router.api.body import ON_THE_LOOP_BYTES
from router.api.dialect import ANTHROPIC, OPENAI
from router.traffic.forward import Whole, pass_whole
from router.traffic.metering import Meter

USAGE = {"prompt_tokens": 1234, "total_tokens": 6912, "completion_tokens": 5678}
METRICS = {"time_to_first_token_ms": 1.0, "generation_time_ms": 2.0, "queue_time_ms": 0.5}
# As tokens that are counted in log-probabilities, and in texts, the names of both members may come anywhere.
NAMES = st.sampled_from(["usage", "metrics", "a", '"usage', '{"usage":{},"metrics":{}}', 'x,"metrics":'])
VALUES = st.recursive(
    st.integers(0, 9) | NAMES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=12,
)


@given(said=st.lists(VALUES, max_size=3) | st.dictionaries(NAMES, VALUES, max_size=5), long_bytes=st.integers(0, 80))
def test_what_an_answer_says_is_never_taken_from_within_it(said: object, long_bytes: int) -> None:
    """However little of its end is read: what is found is the outermost object's own."""
    body = orjson.dumps(said)
    for found in (account(body, long_bytes), account(body)):
        own = said if isinstance(said, dict) else {}
        assert all(name in own and own[name] == value for name, value in found.items())


@given(VALUES, st.sampled_from([None, 1]))
def test_what_stands_at_the_end_of_an_answer_is_found(inside: object, added: object) -> None:
    """As vLLM words it, whatever the answer holds before."""
    said = {"id": "c", "choices": [inside, "x" * 400], "usage": USAGE, "kv_transfer_params": added, "metrics": METRICS}
    found = account(orjson.dumps(said), 300)
    assert (found["usage"], found["metrics"]) == (USAGE, METRICS)
    assert "choices" not in found


@pytest.mark.parametrize("body", [b"", b"[]", b"7", b"\x1f\x8bzip", b'{"usage":', b'"usage":{}}', b'"usage":{}}' * 9])
def test_an_answer_that_is_no_object_says_nothing(body: bytes) -> None:
    """Read whole or from its end."""
    assert account(body) == account(body, 4) == account(body, len(body) - 1) == {}


async def test_a_long_answer_teaches_and_is_not_read_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading a prompt's log-probabilities would hold every stream of the router for as long as it takes."""
    choice = {"index": 0, "text": "a", "prompt_logprobs": [{"17": {"logprob": -0.5, "rank": 1}}] * 40_000}
    body = orjson.dumps({"choices": [choice], "usage": USAGE, "metrics": METRICS})
    read, loads = [], orjson.loads

    def noted(data: bytes) -> Any:
        read.append(len(data))
        return loads(data)

    async with running_service(settings_with([DRAFT]), {"draft-1": ScriptedEngine(answer(body))}) as service:
        with monkeypatch.context() as patched:
            patched.setattr(orjson, "loads", noted)
            async with service.session.post("/v1/completions", json=COMPLETION) as got:
                assert await got.read() == body
        assert service.total("output_tokens_total") == USAGE["completion_tokens"]
    assert len(body) > 5 * ON_THE_LOOP_BYTES
    assert max(read) <= ON_THE_LOOP_BYTES + 1


async def test_a_chat_with_a_long_account_of_its_prompt_teaches_nothing() -> None:
    """vLLM writes it between the two members; it costs a sample, never the answer."""
    body = orjson.dumps({"choices": [], "usage": USAGE, "prompt_logprobs": [None] * 100_000, "metrics": METRICS})
    async with running_service(settings_with([VANILLA]), {"vanilla-1": ScriptedEngine(answer(body))}) as service:
        async with service.session.post("/v1/chat/completions", json=CHAT) as got:
            assert await got.read() == body
        assert service.metric("unmeasured_requests_total", reason="no_metrics") == 1


async def _sent(whole: Whole) -> list[bytes]:
    """The parts in which an answer went out; each time another task had its turn."""
    parts: list[bytes] = []
    turns = 0

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            assert turns >= len(parts) - 1
            parts.append(message["body"])
            assert message.get("more_body", False) == (sum(map(len, parts)) < len(whole.body) or bool(message["body"]))

    async def turning() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    beside = asyncio.create_task(turning())
    await pass_whole(whole, OPENAI, send, [])
    beside.cancel()
    return parts


@pytest.mark.parametrize("filling", ["x,y", "x"])
async def test_a_long_answer_goes_out_in_portions(filling: str) -> None:
    """Others' streams in between: who looks each message through for tokens would hold them up."""
    body = orjson.dumps({"text": filling * ON_THE_LOOP_BYTES * 3})
    parts = await _sent(Whole(200, [], body))
    assert b"".join(parts) == body
    assert max(map(len, parts)) <= ON_THE_LOOP_BYTES


@given(st.integers(0, 200))
def test_no_portion_ends_within_a_count(filled: int) -> None:
    """What is counted for a key is what the engine said."""
    meter = Meter(0)
    body = b'{"text":"' + b"x" * filled + b'","usage":{"input_tokens":1234,"output_tokens":5678}}'
    parts = list(portions(body, 60))
    for part in parts:
        meter.passes(part)
    assert b"".join(parts) == body
    assert max(map(len, parts)) <= 60
    assert meter.counts == {"input_tokens": 1234, "output_tokens": 5678}


async def test_an_error_too_long_to_be_read_goes_on_as_it_came() -> None:
    """A shorter one in another API's shape is worded anew."""
    for size, same in ((ON_THE_LOOP_BYTES, True), (99, False)):
        whole = Whole(400, [], orjson.dumps({"detail": "x" * size}))
        sent: list[Any] = []

        async def send(message: Any, sent: list[Any] = sent) -> None:
            sent.append(message.get("body", b""))

        await pass_whole(whole, ANTHROPIC, send, [])
        assert (b"".join(sent) == whole.body) == same
