"""The real OpenAI client against the router: sync, async, streams, tools, structured output, errors, raw headers."""

import asyncio
from collections.abc import AsyncIterator

import openai
import pytest
import pytest_asyncio
from openai.types.chat import ChatCompletionMessageParam, ChatCompletionToolParam
from openai.types.shared_params import ResponseFormatJSONSchema
from service import DRAFT, VANILLA, Service, running_service, settings_with, simulator

pytestmark = pytest.mark.asyncio(loop_scope="module")
MESSAGES: list[ChatCompletionMessageParam] = [{"role": "user", "content": "[task:sql_generation] join two tables"}]
SEARCH: ChatCompletionToolParam = {
    "type": "function",
    "function": {"name": "search", "parameters": {"type": "object", "properties": {"input": {"type": "string"}}}},
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service() -> AsyncIterator[Service]:
    """One router for all clients."""
    engines = {"vanilla-1": simulator(VANILLA), "draft-1": simulator(DRAFT)}
    async with running_service(settings_with(), engines) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(service: Service) -> AsyncIterator[openai.AsyncOpenAI]:
    """The async client, which never tries twice."""
    async with openai.AsyncOpenAI(base_url=f"{service.url}/v1", api_key="none", max_retries=0) as made:
        yield made


async def test_a_chat_and_a_completion(client: openai.AsyncOpenAI) -> None:
    """Whole answers parse into the client's models."""
    chat = await client.chat.completions.create(model="demo", messages=MESSAGES, max_tokens=8)
    assert chat.choices[0].message.content
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


async def test_the_sync_client(service: Service) -> None:
    """From a thread, as scripts use it."""

    def ask() -> str:
        with openai.OpenAI(base_url=f"{service.url}/v1", api_key="none", max_retries=0) as client:
            stream = client.chat.completions.create(model="demo", messages=MESSAGES, max_tokens=8, stream=True)
            return "".join(chunk.choices[0].delta.content or "" for chunk in stream)

    assert await asyncio.to_thread(ask)


async def test_tool_calls(client: openai.AsyncOpenAI) -> None:
    """A call arrives whole and streamed, with its arguments."""
    whole = await client.chat.completions.create(
        model="demo", messages=MESSAGES, tools=[SEARCH], tool_choice="required", temperature=0
    )
    assert whole.choices[0].message.tool_calls
    async with client.chat.completions.stream(
        model="demo", messages=MESSAGES, tools=[SEARCH], tool_choice="required", temperature=0
    ) as stream:
        final = await stream.get_final_completion()
    calls = final.choices[0].message.tool_calls
    assert calls
    assert calls[0].function.name == "search"
    assert calls[0].function.arguments.startswith('{"input":"')


async def test_structured_output_passes(client: openai.AsyncOpenAI) -> None:
    """A schema is the engine's business."""
    schema: dict[str, object] = {"type": "object", "properties": {"x": {"type": "integer"}}}
    wanted: ResponseFormatJSONSchema = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
    answer = await client.chat.completions.create(model="demo", messages=MESSAGES, max_tokens=8, response_format=wanted)
    assert answer.choices[0].message.content


async def test_models(client: openai.AsyncOpenAI) -> None:
    """The list holds what is served."""
    assert [model.id async for model in client.models.list()] == ["demo"]


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
