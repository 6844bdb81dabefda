"""OpenAI's own client against the router: chats, completions, responses; streams, tools, structured output, errors."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Literal

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam, ChatCompletionToolParam
from openai.types.responses import FunctionToolParam
from pydantic import BaseModel

MESSAGES: list[ChatCompletionMessageParam] = [
    {"role": "user", "content": "Write a SQL query: list the users with age above 40."}
]
PARAMETERS: dict[str, object] = {
    "type": "object",
    "properties": {"table": {"enum": ["users", "orders"]}},
    "required": ["table"],
    "additionalProperties": False,
}
SEARCH: ChatCompletionToolParam = {"type": "function", "function": {"name": "search", "parameters": PARAMETERS}}
SEARCH_FLAT: FunctionToolParam = {"type": "function", "name": "search", "parameters": PARAMETERS, "strict": True}

# vLLM makes calls only with a parser for its model's own format, and the demo model, left to fill a JSON schema, pads
# it with blanks to the end of its context.
SIMULATED = pytest.mark.parametrize("url", ["simulator"], indirect=True)


class Answer(BaseModel):
    """What structured output is asked to be."""

    table: Literal["users", "orders"]


@pytest.fixture
async def client(url: str) -> AsyncIterator[openai.AsyncOpenAI]:
    """The async client, which never tries twice."""
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as made:
        yield made


@pytest.fixture
def blocking(url: str) -> Iterator[openai.OpenAI]:
    """The synchronous client, as scripts use it."""
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as made:
        yield made


async def test_a_chat_and_a_completion(client: openai.AsyncOpenAI) -> None:
    """Whole answers parse into the client's models."""
    chat = await client.chat.completions.create(model="demo", messages=MESSAGES, max_tokens=8)
    assert chat.choices[0].message.content
    assert chat.model == "demo"
    assert chat.usage is not None
    assert 0 < chat.usage.completion_tokens <= 8
    text = await client.completions.create(model="demo", prompt="once upon a time", max_tokens=8)
    assert text.choices[0].text


async def test_streams(client: openai.AsyncOpenAI) -> None:
    """A stream joined is the whole answer; usage comes only where it was asked for."""
    whole = await client.chat.completions.create(model="demo", messages=MESSAGES, temperature=0, max_tokens=30)
    for include in (False, True):
        stream = await client.chat.completions.create(
            model="demo",
            messages=MESSAGES,
            temperature=0,
            max_tokens=30,
            stream=True,
            stream_options={"include_usage": include},
        )
        chunks = [chunk async for chunk in stream]
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        assert text == whole.choices[0].message.content
        assert [chunk.usage is not None for chunk in chunks if not chunk.choices] == [True] * include


def test_the_synchronous_client(blocking: openai.OpenAI) -> None:
    """Whole, streamed, and in the Responses API."""
    chat = blocking.chat.completions.create(model="demo", messages=MESSAGES, max_tokens=8)
    assert chat.choices[0].message.content
    stream = blocking.chat.completions.create(model="demo", messages=MESSAGES, max_tokens=8, stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
    assert blocking.responses.create(model="demo", input="Say something.", max_output_tokens=8).output_text


async def test_many_at_once(client: openai.AsyncOpenAI) -> None:
    """Answers do not mix: greedy text is the same alone and in a crowd."""
    prompts = [f"Write a SQL query: list the users with age above {age}." for age in range(20, 28)]

    async def ask(prompt: str) -> str | None:
        answer = await client.chat.completions.create(
            model="demo", messages=[{"role": "user", "content": prompt}], temperature=0, max_tokens=12
        )
        return answer.choices[0].message.content

    together = await asyncio.gather(*map(ask, prompts))
    assert list(together) == [await ask(prompt) for prompt in prompts]


async def test_several_answers_seeds_and_logprobs(client: openai.AsyncOpenAI) -> None:
    """What the router does not read reaches the engine as it was sent."""
    asked = {"model": "demo", "messages": MESSAGES, "max_tokens": 6, "temperature": 1.0, "seed": 7}
    first = await client.chat.completions.create(**asked, n=2, logprobs=True, top_logprobs=1)  # type: ignore[call-overload]
    assert [choice.index for choice in first.choices] == [0, 1]
    assert all(choice.logprobs and choice.logprobs.content for choice in first.choices)
    again = await client.chat.completions.create(**asked, n=2)  # type: ignore[call-overload]
    assert [c.message.content for c in first.choices] == [c.message.content for c in again.choices]


@SIMULATED
async def test_tool_calls(client: openai.AsyncOpenAI) -> None:
    """A call arrives whole and streamed, with arguments that fit the tool's schema."""
    whole = await client.chat.completions.create(
        model="demo", messages=MESSAGES, tools=[SEARCH], tool_choice="required", temperature=0
    )
    called = whole.choices[0].message.tool_calls
    assert called
    assert called[0].type == "function"
    assert json.loads(called[0].function.arguments)["table"] in ("users", "orders")
    async with client.chat.completions.stream(
        model="demo", messages=MESSAGES, tools=[SEARCH], tool_choice="required", temperature=0
    ) as stream:
        final = await stream.get_final_completion()
    calls = final.choices[0].message.tool_calls
    assert calls
    assert (calls[0].function.name, json.loads(calls[0].function.arguments).keys()) == ("search", {"table"})


@SIMULATED
async def test_structured_output(client: openai.AsyncOpenAI) -> None:
    """A schema given as a class comes back as an instance of it."""
    parsed = await client.chat.completions.parse(model="demo", messages=MESSAGES, response_format=Answer)
    assert parsed.choices[0].message.parsed in (Answer(table="users"), Answer(table="orders"))


async def test_responses(client: openai.AsyncOpenAI) -> None:
    """The Responses API, whole and streamed to the client's own final response."""
    asked = {"model": "demo", "input": MESSAGES[0]["content"], "temperature": 0, "max_output_tokens": 12}
    whole = await client.responses.create(**asked)  # type: ignore[call-overload]
    assert whole.usage.output_tokens <= 12
    stream = await client.responses.create(**asked, stream=True)  # type: ignore[call-overload]
    events = [event async for event in stream]
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert "".join(deltas) == whole.output_text
    assert events[-1].type == "response.completed"


@SIMULATED
async def test_structured_responses(client: openai.AsyncOpenAI) -> None:
    """`text.format` is the engine's business."""
    parsed = await client.responses.parse(model="demo", input="Which table?", text_format=Answer)
    assert parsed.output_parsed in (Answer(table="users"), Answer(table="orders"))


@SIMULATED
async def test_tool_calls_in_responses(client: openai.AsyncOpenAI) -> None:
    """A function's call is an output item."""
    answer = await client.responses.create(
        model="demo", input="Which table?", tools=[SEARCH_FLAT], tool_choice="required"
    )
    calls = [item for item in answer.output if item.type == "function_call"]
    assert calls
    assert json.loads(calls[0].arguments).keys() == {"table"}


async def test_what_one_engine_would_keep_is_refused(client: openai.AsyncOpenAI) -> None:
    """An earlier response cannot be found again: another engine may be asked next."""
    with pytest.raises(openai.BadRequestError) as refused:
        await client.responses.create(model="demo", input="And then?", previous_response_id="resp_1")
    assert refused.value.param == "previous_response_id"


async def test_models(client: openai.AsyncOpenAI) -> None:
    """The list holds what is served, with the longest context, and each can be asked for."""
    cards = {model.id: model async for model in client.models.list()}
    assert "demo" in cards
    one = await client.models.retrieve("demo")
    assert one == cards["demo"]
    assert one.model_extra is not None
    assert one.model_extra["root"] == "demo"
    with pytest.raises(openai.NotFoundError):
        await client.models.retrieve("gpt-x")


async def test_errors_are_the_client_s_own(client: openai.AsyncOpenAI) -> None:
    """Refusals become the exceptions that users catch, with field and code."""
    with pytest.raises(openai.NotFoundError) as missing:
        await client.chat.completions.create(model="gpt-x", messages=MESSAGES)
    assert (missing.value.param, missing.value.code) == ("model", "model_not_found")
    with pytest.raises(openai.BadRequestError) as wrong:
        await client.chat.completions.create(model="demo", messages=MESSAGES, extra_body={"temprature": 0})
    assert (wrong.value.param, wrong.value.code) == ("temprature", "unknown_field")


async def test_the_decision_is_in_the_raw_headers(client: openai.AsyncOpenAI) -> None:
    """Task, pool, k and cost of the decision can be read beside the answer."""
    raw = await client.chat.completions.with_raw_response.create(
        model="demo", messages=MESSAGES, max_tokens=4, extra_headers={"x-alpharoute-task": "mathematics"}
    )
    assert raw.headers["x-alpharoute-task"] == "mathematics"
    assert raw.headers["x-alpharoute-pool"] in ("vanilla", "draft")
    assert float(raw.headers["x-alpharoute-overhead-ms"]) > 0
    unmeasured = await client.responses.with_raw_response.create(model="demo", input="x " * 99, max_output_tokens=64)
    assert unmeasured.headers["x-alpharoute-decision"] in ("unmeasured", "short_output")


async def test_embeddings(simulated: str) -> None:
    """Both encodings; the client asks for base64 by itself."""
    async with openai.AsyncOpenAI(base_url=f"{simulated}/v1", api_key="none", max_retries=0) as client:
        packed = await client.embeddings.create(model="embedder", input=["a", "b"])
        plain = await client.embeddings.create(model="embedder", input=["a", "b"], encoding_format="float")
    assert [len(item.embedding) for item in packed.data] == [64, 64]
    assert packed.data[1].embedding == pytest.approx(plain.data[1].embedding, abs=1e-6)


async def test_aliases_and_adapters(simulated: str) -> None:
    """An alias is answered by the model it stands for, under that model's name; an adapter under its own."""
    async with openai.AsyncOpenAI(base_url=f"{simulated}/v1", api_key="none", max_retries=0) as client:
        listed = {model.id: model.model_extra or {} async for model in client.models.list()}
        aliased = await client.chat.completions.create(model="gpt-4", messages=MESSAGES, max_tokens=4)
        adapted = await client.chat.completions.create(model="legal", messages=MESSAGES, max_tokens=4)
        responded = await client.responses.create(model="gpt-4", input="hello", max_output_tokens=4)
    assert (aliased.model, responded.model, adapted.model) == ("demo", "demo", "legal")
    assert (listed["gpt-4"]["root"], listed["legal"]["parent"]) == ("demo", "demo")
