"""The router's own headers: what a client may ask with them and what every answer says in them."""

from collections.abc import Collection, Mapping
from random import getrandbits

from policies.choice import Choice
from router.api.deadline import TIMEOUT
from router.api.http import RawHeaders
from router.api.request import SPECULATION, Speculation
from router.errors import BadRequest

SEGMENT = "x-alpharoute-segment"
SPECULATE = "x-alpharoute-speculation"

ANSWER_HEADERS = {
    "x-request-id": "The request's id: the client's own, or a new one.",
    "x-alpharoute-task": "The task the request was taken for.",
    "x-alpharoute-pool": "The pool that answers.",
    "x-alpharoute-replica": "The replica that answers.",
    "x-alpharoute-k": "Drafts asked per verify step; 0 is vanilla.",
    "x-alpharoute-decision": "Why, in a word.",
    "x-alpharoute-capped": "What the policy's caps changed of the request, where they did.",
    "x-alpharoute-overhead-ms": "The router's own time before the request went out.",
}
"""What every routed answer says in its head, with what it means."""

REQUEST_ID = "x-request-id"
CAPPED = "x-alpharoute-capped"
MAX_ID_CHARS = 128

# Headers of the client that the engine gets too; everything else (keys, cookies) stays here.
PASSED_ON = ("traceparent", "tracestate", REQUEST_ID, "x-correlation-id", TIMEOUT)
MAX_PASSED_CHARS = 512


def speculation(headers: Mapping[str, str]) -> Speculation:
    """Whether the client wants speculation: `x-alpharoute-speculation: auto|on|off`."""
    wanted = headers.get(SPECULATE, "auto").strip().lower()
    for allowed in SPECULATION:
        if wanted == allowed:
            return allowed
    raise BadRequest(
        f"{SPECULATE} must be one of {', '.join(SPECULATION)}, got {wanted[:32]!r}.",
        param=SPECULATE,
        code="invalid_value",
    )


def request_id(headers: Mapping[str, str]) -> str:
    """The id the client gave the request, or a new one where it gave none that is plain and short."""
    given = headers.get(REQUEST_ID, "")
    return given if _is_plain(given) and len(given) <= MAX_ID_CHARS else f"{getrandbits(128):032x}"


def segment(headers: Mapping[str, str], allowed: Collection[str]) -> str:
    """The client's segment: `x-alpharoute-segment`, one of those the operator named."""
    named = headers.get(SEGMENT, "default").strip()
    if named not in allowed:
        names = ", ".join(sorted(allowed))
        raise BadRequest(
            f"{SEGMENT} must be one of {names}, got {named[:32]!r}.", param=SEGMENT, code="unknown_segment"
        )
    return named


def passed_on(headers: Mapping[str, str]) -> dict[str, str]:
    """The client's headers that are the engine's business too; one that is no plain short text is left out."""
    return {name: headers[name] for name in PASSED_ON if _is_plain(headers.get(name, ""))}


def chosen(pool: str, replica: str) -> RawHeaders:
    """A fresh list of the headers that tell who answers a request about which nothing else was decided."""
    return [(b"x-alpharoute-pool", pool.encode()), (b"x-alpharoute-replica", replica.encode("latin-1", "replace"))]


def _is_plain(value: str) -> bool:
    return 0 < len(value) <= MAX_PASSED_CHARS and value.isascii() and value.isprintable()


def decided(task: str, choice: Choice, overhead_s: float) -> RawHeaders:
    """A fresh list of the headers that tell what was decided."""
    said = {
        "task": task,
        "pool": choice.pool,
        "replica": choice.replica,
        "k": str(choice.k),
        "decision": str(choice.reason),
        "overhead-ms": f"{overhead_s * 1000:.2f}",
    }
    return [(f"x-alpharoute-{name}".encode(), value.encode("latin-1", "replace")) for name, value in said.items()]
