"""What LiteLLM's client must be able to do with a router at argv[1]; run by an interpreter that has it."""

import asyncio
import json
import sys
from typing import Any

import litellm  # type: ignore[import-not-found]  # see the test: it lives in an environment of its own

URL = sys.argv[1]
MESSAGES = [{"role": "user", "content": "Write a SQL query: list the users with age above 40."}]
SCHEMA = {
    "type": "object",
    "properties": {"table": {"enum": ["users", "orders"]}},
    "required": ["table"],
    "additionalProperties": False,
}
OPENAI: dict[str, Any] = {"api_base": f"{URL}/v1", "api_key": "none", "model": "openai/demo", "num_retries": 0}
VLLM = OPENAI | {"model": "hosted_vllm/demo"}
ANTHROPIC = OPENAI | {"api_base": URL, "model": "anthropic/demo"}


def main() -> None:
    """All of it; an exception is the failure."""
    for provider in (OPENAI, VLLM, ANTHROPIC):
        whole = litellm.completion(**provider, messages=MESSAGES, max_tokens=12, temperature=0)
        stream = litellm.completion(**provider, messages=MESSAGES, max_tokens=12, temperature=0, stream=True)
        joined = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
        assert joined == whole.choices[0].message.content, (provider["model"], joined, whole)
    asyncio.run(asynchronous())
    assert litellm.responses(**OPENAI, input="Say something.", max_output_tokens=8).output
    if "--calls" in sys.argv:
        constrained()
    try:
        refused = litellm.completion(**OPENAI | {"model": "openai/gpt-x"}, messages=MESSAGES)
    except litellm.NotFoundError:
        refused = None
    assert refused is None, "an unknown model was answered"
    print("ok")


def constrained() -> None:
    """Tool calls and structured output."""
    tool = {"type": "function", "function": {"name": "search", "parameters": SCHEMA}}
    called = litellm.completion(**OPENAI, messages=MESSAGES, tools=[tool], tool_choice="required")
    assert json.loads(called.choices[0].message.tool_calls[0].function.arguments).keys() == {"table"}
    wanted = {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True}}
    formed = litellm.completion(**OPENAI, messages=MESSAGES, response_format=wanted)
    assert json.loads(formed.choices[0].message.content)["table"] in ("users", "orders")


async def asynchronous() -> None:
    """The async interface, streamed."""
    stream = await litellm.acompletion(**OPENAI, messages=MESSAGES, max_tokens=8, stream=True)
    assert "".join([chunk.choices[0].delta.content or "" async for chunk in stream])


if __name__ == "__main__":
    main()
