"""Anthropic's own client against the router's /v1/messages."""

from collections.abc import AsyncIterator, Iterator
from typing import Literal

import anthropic
import pytest
from anthropic.types import MessageParam, ToolParam
from pydantic import BaseModel

MESSAGES: list[MessageParam] = [{"role": "user", "content": "Write a SQL query: list the users with age above 40."}]
SEARCH: ToolParam = {
    "name": "search",
    "description": "Looks something up.",
    "input_schema": {
        "type": "object",
        "properties": {"table": {"enum": ["users", "orders"]}},
        "required": ["table"],
        "additionalProperties": False,
    },
}

# The client has no parameter of that name (any more); the API has.
GREEDY = {"temperature": 0}

# vLLM makes calls only with a parser for its model's own format, and the demo model, left to fill a JSON schema, pads
# it with blanks to the end of its context.
SIMULATED = pytest.mark.parametrize("url", ["simulator"], indirect=True)


class Answer(BaseModel):
    """What structured output is asked to be."""

    table: Literal["users", "orders"]


@pytest.fixture
async def client(url: str) -> AsyncIterator[anthropic.AsyncAnthropic]:
    """The async client, which never tries twice."""
    async with anthropic.AsyncAnthropic(base_url=url, api_key="none", max_retries=0) as made:
        yield made


@pytest.fixture
def blocking(url: str) -> Iterator[anthropic.Anthropic]:
    """The synchronous client."""
    with anthropic.Anthropic(base_url=url, api_key="none", max_retries=0) as made:
        yield made


def test_a_message_and_its_stream(blocking: anthropic.Anthropic) -> None:
    """A stream joined is the whole answer, and ends as it does."""
    whole = blocking.messages.create(
        model="demo", messages=MESSAGES, max_tokens=12, system="Be brief.", extra_body=GREEDY
    )
    assert whole.usage.output_tokens <= 12
    assert whole.content[0].type == "text"
    with blocking.messages.stream(
        model="demo", messages=MESSAGES, max_tokens=12, system="Be brief.", extra_body=GREEDY
    ) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text == whole.content[0].text
    assert (final.stop_reason, final.usage.output_tokens) == (whole.stop_reason, whole.usage.output_tokens)


async def test_the_async_client_streams(client: anthropic.AsyncAnthropic) -> None:
    """Events come in Anthropic's order."""
    stream = await client.messages.create(model="demo", messages=MESSAGES, max_tokens=8, stream=True)
    kinds = [event.type async for event in stream]
    assert (kinds[0], kinds[1], kinds[-2:]) == (
        "message_start",
        "content_block_start",
        ["message_delta", "message_stop"],
    )


@SIMULATED
async def test_tool_calls(client: anthropic.AsyncAnthropic) -> None:
    """A call arrives whole and streamed, with input that fits the tool's schema."""
    whole = await client.messages.create(
        model="demo", messages=MESSAGES, max_tokens=300, tools=[SEARCH], tool_choice={"type": "any"}
    )
    async with client.messages.stream(
        model="demo", messages=MESSAGES, max_tokens=300, tools=[SEARCH], tool_choice={"type": "any"}
    ) as stream:
        streamed = await stream.get_final_message()
    for answer in (whole, streamed):
        calls = [block for block in answer.content if block.type == "tool_use"]
        assert calls
        assert calls[0].name == "search"
        assert calls[0].input["table"] in ("users", "orders")
        assert answer.stop_reason == "tool_use"


@SIMULATED
async def test_structured_output(client: anthropic.AsyncAnthropic) -> None:
    """A schema given as a class comes back as an instance of it."""
    parsed = await client.messages.parse(model="demo", messages=MESSAGES, max_tokens=300, output_format=Answer)
    assert parsed.parsed_output in (Answer(table="users"), Answer(table="orders"))


async def test_tokens_are_counted(client: anthropic.AsyncAnthropic) -> None:
    """The count is the usage of the answer."""
    counted = await client.messages.count_tokens(model="demo", messages=MESSAGES)
    answer = await client.messages.create(model="demo", messages=MESSAGES, max_tokens=2)
    assert counted.input_tokens == answer.usage.input_tokens


async def test_errors_are_the_client_s_own(client: anthropic.AsyncAnthropic) -> None:
    """The router's refusals and the engine's have Anthropic's shape."""
    with pytest.raises(anthropic.NotFoundError) as missing:
        await client.messages.create(model="claude-x", messages=MESSAGES, max_tokens=2)
    with pytest.raises(anthropic.BadRequestError) as wrong:
        await client.messages.create(model="demo", messages=[], max_tokens=2)
    with pytest.raises(anthropic.BadRequestError) as engine:
        await client.messages.create(model="demo", messages=MESSAGES, max_tokens=2, extra_body={"top_p": 7})
    for raised, kinds in (
        (missing, {"not_found_error"}),
        (wrong, {"invalid_request_error"}),
        (engine, {"invalid_request_error", "BadRequestError"}),  # vLLM's own word for it
    ):
        body = raised.value.body
        assert isinstance(body, dict)
        assert body["type"] == "error"
        assert body["error"]["type"] in kinds
        assert body["error"]["message"]


async def test_the_decision_is_in_the_raw_headers(client: anthropic.AsyncAnthropic) -> None:
    """A long answer of unknown acceptance says that nothing will be learnt from it."""
    raw = await client.messages.with_raw_response.create(
        model="demo",
        messages=MESSAGES,
        max_tokens=64,
        extra_headers={"x-alpharoute-task": "creative_writing"},
    )
    assert raw.headers["x-alpharoute-task"] == "creative_writing"
    assert raw.headers["x-alpharoute-decision"] in ("unmeasured", "short_output")
