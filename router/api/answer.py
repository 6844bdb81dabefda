"""Whole answers of engines: what they say of their request, and how a long one goes out.

A key's holder can ask for prompts' log-probabilities, 45 MB in one answer: to read it takes half a second, to look it
through for counts of tokens a tenth, and every stream of the router would stand still meanwhile. A thread is no help,
for orjson holds the interpreter.
"""

from collections.abc import Iterator, Mapping

import orjson

from router.api.body import ON_THE_LOOP_BYTES

# vLLM's last members but for what was asked of a chat's prompt, which stands between them.
_USAGE, _METRICS = b'"usage":', b'"metrics":'
_BEFORE_A_NAME = b",{ \t\r\n"


def account(body: bytes, long_bytes: int = ON_THE_LOOP_BYTES) -> Mapping[str, object]:
    """An answer with its `usage` and `metrics`: of a longer one the members from these on, if they stand near its end.

    Nothing where they do not, or where it is no JSON object.
    """
    try:
        said = orjson.loads(body if len(body) <= long_bytes else _end(body[-long_bytes:]))
    except orjson.JSONDecodeError:
        return {}
    return said if isinstance(said, dict) else {}


def _end(tail: bytes) -> bytes:
    """The members from `usage` or `metrics` on, whichever comes first, as an object; no JSON where there are none.

    These are of the outermost object, or they would close more braces than the one; and no text holds such a name
    with its quotes, for there they are escaped.
    """
    at = min(tail.rfind(_USAGE), tail.rfind(_METRICS))
    return b"{" + tail[at:] if at > 0 and tail[at - 1] in _BEFORE_A_NAME else b""


def portions(body: bytes, long_bytes: int = ON_THE_LOOP_BYTES) -> Iterator[bytes]:
    """The body in parts, cut behind commas where it has some, so that no count in it is read as a shorter one."""
    at = 0
    while len(body) - at > long_bytes:
        cut = body.rfind(b",", at, at + long_bytes) + 1 or at + long_bytes
        yield body[at:cut]
        at = cut
    yield body[at:]
