"""A request's way through the router, over real HTTP and simulator engines."""

from service import Service

CHAT = {"model": "demo", "messages": [{"role": "user", "content": "[task:sql_generation] hello"}], "max_tokens": 24}


async def test_a_chat_request_is_routed_and_says_how(service: Service) -> None:
    """The answer is the engine's, with the decision in headers."""
    async with service.session.post("/v1/chat/completions", json=CHAT) as answer:
        body = await answer.json()
        assert answer.status == 200, body
    assert body["choices"][0]["message"]["content"]
    said = {name.removeprefix("x-alpharoute-") for name in answer.headers if name.startswith("x-alpharoute-")}
    assert said == {"task", "pool", "replica", "k", "decision", "overhead-ms"}
