"""What the demo pair can of the API beyond chat, on real vLLM: guided decoding, tools, tokens, and what is refused."""

import re

import aiohttp
import pytest
from deployed import Deployed

pytestmark = [pytest.mark.vllm, pytest.mark.ray]

PROMPT = "Write a SQL query: names of all users"
CHAT = {"model": "demo", "messages": [{"role": "user", "content": PROMPT}], "max_tokens": 40, "temperature": 0}
SCHEMA = {
    "type": "object",
    "properties": {"n": {"enum": [1, 2, 3]}, "ok": {"type": "boolean"}},
    "required": ["n", "ok"],
    "additionalProperties": False,
}
ADD = {"type": "function", "function": {"name": "add", "parameters": SCHEMA}}


async def _posted(
    session: aiohttp.ClientSession, path: str, body: dict[str, object], speculation: str = "auto"
) -> tuple[int, dict[str, object]]:
    """Status and decoded answer."""
    headers = {"x-alpharoute-speculation": speculation}
    async with session.post(path, json=body, headers=headers) as got:
        return got.status, await got.json()


async def _said(session: aiohttp.ClientSession, speculation: str, **fields: object) -> str:
    """The content of a chat's answer."""
    status, answer = await _posted(session, "/v1/chat/completions", {**CHAT, **fields}, speculation)
    assert status == 200, answer
    choices = answer["choices"]
    assert isinstance(choices, list)
    return str(choices[0]["message"]["content"])


@pytest.mark.parametrize("speculation", ["off", "on"])
async def test_guided_decoding_holds_with_and_without_speculation(vllm_service: Deployed, speculation: str) -> None:
    """A choice and a pattern: what comes back is what was asked for, whatever the drafter proposed."""
    async with aiohttp.ClientSession(vllm_service.url) as session:
        colour = await _said(session, speculation, structured_outputs={"choice": ["red", "green"]})
        assert colour in ("red", "green")
        number = await _said(session, speculation, structured_outputs={"regex": "[0-9]{3}-[0-9]{2}"})
        assert re.fullmatch("[0-9]{3}-[0-9]{2}", number)


async def test_tools_tokens_and_embeddings_are_answered_or_refused_in_words(vllm_service: Deployed) -> None:
    """Tools it may not call change nothing, those it would have to call without a parser are the engine's own 400;
    tokens go there and back; a model that generates has no embeddings."""
    async with aiohttp.ClientSession(vllm_service.url) as session:
        plain = await _said(session, "off")
        assert await _said(session, "off", tools=[ADD], tool_choice="none") == plain
        status, refused = await _posted(session, "/v1/chat/completions", {**CHAT, "tools": [ADD]})
        error = refused["error"]
        assert isinstance(error, dict)
        assert (status, "--tool-call-parser" in error["message"]) == (400, True), error
        status, tokens = await _posted(session, "/tokenize", {"model": "demo", "prompt": PROMPT})
        assert (status, tokens["count"]) == (200, len(str(tokens["tokens"]).split(","))), tokens
        status, text = await _posted(session, "/detokenize", {"model": "demo", "tokens": tokens["tokens"]})
        assert status == 200
        assert PROMPT in str(text["prompt"])
        status, refused = await _posted(session, "/v1/embeddings", {"model": "demo", "input": "hello"})
        error = refused["error"]
        assert isinstance(error, dict)
        assert (status, error["code"]) == (404, "route_not_served")
