"""How long a prompt is, in characters, in each API's shape; what is no prompt is refused with its path.

Lengths are estimates: only text is counted, a token id as the four characters a token is on average, and of a list
longer than MAX_ITEMS the first ones stand for all. What is wrong further back the engine refuses.
"""

from collections.abc import Callable

from router.api.body import Body, wrong

TOKEN_CHARS = 4
MAX_ITEMS = 4096
"""Messages, parts or prompts that are looked at: megabytes of tiny ones took a second."""


def chat_chars(body: Body) -> int:
    """`messages` of a chat completion."""
    return _turns_chars("messages", body.get("messages"))


def completions_chars(body: Body) -> int:
    """`prompt` of a completion: text, token ids, or a list of either; or none where embeddings stand for it."""
    prompt = body.get("prompt")
    if prompt is None and body.get("prompt_embeds"):
        return 0
    return text_or_tokens_chars("prompt", prompt)


def messages_chars(body: Body) -> int:
    """`system` and `messages` of Anthropic's API."""
    system = body.get("system")
    return (0 if system is None else _content_chars("system", system)) + _turns_chars("messages", body.get("messages"))


def responses_chars(body: Body) -> int:
    """`instructions` and `input` of the Responses API: text, or a list of items, of which messages hold content."""
    instructions, given = body.get("instructions"), body.get("input")
    if instructions is not None and not isinstance(instructions, str):
        raise wrong("instructions", instructions, "a string")
    length = len(instructions or "")
    if isinstance(given, str):
        return length + len(given)
    if not isinstance(given, list) or not given:
        raise wrong("input", given, "a string or a list of at least one item")
    return length + _sum_chars(given, "input", _item_chars)


def text_or_tokens_chars(field: str, prompt: object) -> int:
    """Text, a list of token ids, or a list of these."""
    if isinstance(prompt, str):
        return len(prompt)
    first = prompt[:MAX_ITEMS] if isinstance(prompt, list) else []
    kinds = {type(part) for part in first}
    if isinstance(prompt, list) and kinds == {int}:
        return TOKEN_CHARS * len(prompt)
    if isinstance(prompt, list) and kinds == {str}:
        return _for_all(sum(map(len, first)), prompt)
    if isinstance(prompt, list) and kinds == {list} and all(type(token) is int for ids in first for token in ids[:64]):
        return _for_all(sum(TOKEN_CHARS * len(ids) for ids in first), prompt)
    raise wrong(field, prompt, "a string, a list of token ids, or a list of these")


def prompt_count(prompt: object) -> int:
    """Prompts in a completion's `prompt`."""
    return len(prompt) if isinstance(prompt, list) and prompt and isinstance(prompt[0], str | list) else 1


def _turns_chars(field: str, turns: object) -> int:
    if not isinstance(turns, list) or not turns:
        raise wrong(field, turns, "a list of at least one message")
    return _sum_chars(turns, field, _turn_chars)


def _sum_chars(items: list[object], field: str, chars: Callable[[object, str], int]) -> int:
    return _for_all(sum(chars(item, f"{field}[{i}]") for i, item in enumerate(items[:MAX_ITEMS])), items)


def _for_all(chars: int, items: list[object]) -> int:
    """The characters of all items, from those of the first."""
    return chars if len(items) <= MAX_ITEMS else chars * len(items) // MAX_ITEMS


def _turn_chars(turn: object, path: str) -> int:
    if not isinstance(turn, dict):
        raise wrong(path, turn, "an object with role and content")
    if not isinstance(turn.get("role"), str):
        raise wrong(f"{path}.role", turn.get("role"), "a string such as 'user'")
    content = turn.get("content")
    if content is None and turn["role"] == "assistant":
        return 0
    return _content_chars(f"{path}.content", content)


def _item_chars(item: object, path: str) -> int:
    """A message, or another item (a tool's call or its output), whose size says little of its tokens."""
    if not isinstance(item, dict):
        raise wrong(path, item, "an object such as a message")
    return _content_chars(f"{path}.content", item["content"]) if item.get("content") is not None else 0


def _content_chars(path: str, content: object) -> int:
    if isinstance(content, str):
        return len(content)
    if isinstance(content, list):
        return _sum_chars(content, path, _part_chars)
    raise wrong(path, content, "a string or a list of content parts")


def _part_chars(part: object, path: str) -> int:
    if isinstance(part, str):
        return len(part)
    if not isinstance(part, dict):
        raise wrong(path, part, "an object with a type")
    text = part.get("text")
    if text is not None and not isinstance(text, str):
        raise wrong(f"{path}.text", text, "a string")
    return len(text or "")
