"""Which requests belong together."""

from router.traffic.affinity import affinity

SYSTEM = {"role": "system", "content": "You answer in SQL."}


def chat(*texts: str, **more: object) -> dict[str, object]:
    """A chat whose user and assistant take turns after one system prompt."""
    roles = ("user", "assistant")
    turns = [{"role": roles[i % 2], "content": text} for i, text in enumerate(texts)]
    return {"model": "m", "messages": [SYSTEM, *turns], **more}


def test_a_conversation_keeps_its_name_while_it_grows() -> None:
    """And another one has another."""
    first = affinity({}, chat("List the users."))
    assert first is not None
    assert affinity({}, chat("List the users.", "SELECT 1", "And the orders?")) == first
    assert affinity({}, chat("List the orders.")) != first


def test_a_session_named_by_the_client_wins_over_its_text() -> None:
    """The header over the body's fields; each model for itself."""
    header = affinity({"x-session-id": "s1"}, chat("a", user="u"))
    assert affinity({"x-session-id": "s1"}, chat("b", user="v")) == header
    assert affinity({}, chat("a", user="u")) == affinity({}, chat("b", user="u"))
    assert affinity({}, chat("a", prompt_cache_key="k", user="u")) == affinity({}, chat("b", prompt_cache_key="k"))
    assert affinity({"x-session-id": "s1"}, {**chat("a"), "model": "n"}) != header


def test_completions_and_parts_have_beginnings_too() -> None:
    """Text, token ids and content parts; a prompt without any text has no name."""
    assert affinity({}, {"model": "m", "prompt": "abc"}) == affinity({}, {"model": "m", "prompt": ["abc"]})
    assert affinity({}, {"model": "m", "prompt": [1, 2, 3]}) != affinity({}, {"model": "m", "prompt": [1, 2, 4]})
    parts = {"model": "m", "messages": [{"role": "user", "content": [{"type": "text", "text": "abc"}]}]}
    assert affinity({}, parts) == affinity({}, {"model": "m", "messages": [{"role": "user", "content": "abc"}]})
    assert affinity({}, {"model": "m", "messages": []}) is None
