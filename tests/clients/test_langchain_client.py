"""LangChain's OpenAI models against the router."""

from typing import Literal

import pytest
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel, SecretStr

PROMPT = "Write a SQL query: list the users with age above 40."

# vLLM makes calls only with a parser for its model's own format, and the demo model, left to fill a JSON schema, pads
# it with blanks to the end of its context.
SIMULATED = pytest.mark.parametrize("url", ["simulator"], indirect=True)


class Answer(BaseModel):
    """The table that a query reads."""

    table: Literal["users", "orders"]


@pytest.fixture
def model(url: str) -> ChatOpenAI:
    """A chat model behind the router."""
    return ChatOpenAI(model="demo", base_url=f"{url}/v1", api_key=SecretStr("none"), temperature=0, max_retries=0)


def test_whole_and_streamed(model: ChatOpenAI) -> None:
    """A stream joined is the whole answer, and usage is counted."""
    whole = model.invoke(PROMPT, max_tokens=12)
    assert "".join(str(chunk.content) for chunk in model.stream(PROMPT, max_tokens=12)) == whole.content
    assert whole.usage_metadata is not None
    assert whole.usage_metadata["output_tokens"] <= 12


async def test_async(model: ChatOpenAI) -> None:
    """Batches and streams of the async interface."""
    first, second = await model.abatch([PROMPT, PROMPT], max_tokens=8)
    assert first.content == second.content
    assert "".join([str(chunk.content) async for chunk in model.astream(PROMPT, max_tokens=8)]) == first.content


@SIMULATED
def test_tool_calls(model: ChatOpenAI) -> None:
    """A bound tool is called with arguments that fit."""
    answer = model.bind_tools([Answer], tool_choice="required").invoke(PROMPT)
    assert [call["name"] for call in answer.tool_calls] == ["Answer"]
    assert answer.tool_calls[0]["args"]["table"] in ("users", "orders")


@SIMULATED
@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_structured_output(model: ChatOpenAI, method: Literal["json_schema", "function_calling"]) -> None:
    """By schema and by a forced call."""
    assert isinstance(model.with_structured_output(Answer, method=method).invoke(PROMPT), Answer)


def test_the_responses_api(url: str) -> None:
    """The same model by the newer API."""
    model = ChatOpenAI(
        model="demo", base_url=f"{url}/v1", api_key=SecretStr("none"), use_responses_api=True, max_retries=0
    )
    assert model.invoke(PROMPT, max_tokens=12).text


def test_embeddings(simulated: str) -> None:
    """Texts, tokenised by the client or not."""
    embedder = OpenAIEmbeddings(
        model="embedder", base_url=f"{simulated}/v1", api_key=SecretStr("none"), check_embedding_ctx_length=False
    )
    assert [len(vector) for vector in embedder.embed_documents(["a", "b"])] == [64, 64]
