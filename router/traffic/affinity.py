"""Which requests belong together: those of one session, or with one beginning, find their prefix where it was."""

from collections.abc import Mapping
from zlib import crc32

SESSION = "x-session-id"
SESSION_FIELDS = ("prompt_cache_key", "session_id", "user")
PREFIX_CHARS = 512
"""Of each text that is looked at: beginnings that agree so far are taken to be the same."""

PREFIX_TOKENS = 64
PREFIX_PARTS = 8
"""The same of token ids, and of content parts, where an image may stand before the text."""


def affinity(headers: Mapping[str, str], body: Mapping[str, object]) -> str | None:
    """A short name for the request's session, or for the beginning of its prompt; None where it has neither.

    The header comes first, then the body's own fields for it. Every router finds the same name.
    """
    named = headers.get(SESSION) or next((body[field] for field in SESSION_FIELDS if body.get(field)), None)
    text = named if isinstance(named, str) else _beginning(body)
    return f"{body.get('model')}:{crc32(text.encode('utf-8', 'replace')):08x}" if text else None


def _beginning(body: Mapping[str, object]) -> str:
    """The system prompt and the first words of the user: a conversation keeps both while it grows."""
    texts = [_text(body.get(field)) for field in ("system", "instructions", "prompt", "input")]
    messages = body.get("messages")
    for message in messages[:8] if isinstance(messages, list) else ():
        if isinstance(message, dict):
            texts.append(_text(message.get("content")))
            if message.get("role") == "user":
                break
    return "\0".join(text for text in texts if text)


def _text(content: object) -> str:
    if isinstance(content, str):
        return content[:PREFIX_CHARS]
    if isinstance(content, list) and content:
        first = content[0]
        if isinstance(first, int):
            return repr(content[:PREFIX_TOKENS])[:PREFIX_CHARS]
        if isinstance(first, dict):
            texts = (part.get("text") for part in content[:PREFIX_PARTS] if isinstance(part, dict))
            first = next((text for text in texts if isinstance(text, str)), "")
        return _text(first)
    return ""
