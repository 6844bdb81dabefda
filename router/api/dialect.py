"""How each API words an error: in an answer, and inside a stream that has begun and cannot go on."""

from typing import Protocol

import orjson

from router.errors import RequestError


class Dialect(Protocol):
    """One API's error objects."""

    def refusal(self, error: RequestError) -> bytes:
        """The body of an answer that refuses a request."""

    def reworded(self, status: int, message: str) -> bytes:
        """The body for an engine's error that came in another API's shape or in none."""

    def is_error(self, said: object) -> bool:
        """Whether an engine's decoded body is this API's error object already."""

    def event(self, error: RequestError) -> bytes:
        """The last event of a stream that broke off, which clients raise."""


class OpenAI:
    """`{"error": {message, type, param, code}}`."""

    def refusal(self, error: RequestError) -> bytes:
        """See Dialect."""
        return error.body()

    def reworded(self, status: int, message: str) -> bytes:
        """See Dialect."""
        return orjson.dumps({"error": {"message": message, "type": "engine_error", "param": None, "code": status}})

    def is_error(self, said: object) -> bool:
        """See Dialect."""
        return _said(said) is not None

    def event(self, error: RequestError) -> bytes:
        """See Dialect."""
        return b"data: " + error.body() + b"\n\n"


class Responses(OpenAI):
    """The same with named, typed events; `error` beside the event's own fields makes OpenAI's clients raise."""

    def event(self, error: RequestError) -> bytes:
        """See Dialect."""
        event = {
            "type": "error",
            "code": error.code,
            "message": error.message,
            "param": error.param,
            "sequence_number": 0,
            **orjson.loads(error.body()),
        }
        return b"event: error\ndata: " + orjson.dumps(event) + b"\n\n"


_ANTHROPIC_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}


class Anthropic:
    """`{"type": "error", "error": {type, message}}`, with `param` and `code` beside them."""

    def refusal(self, error: RequestError) -> bytes:
        """See Dialect."""
        return self._object(error.status, error.message, error.param, error.code)

    def reworded(self, status: int, message: str) -> bytes:
        """See Dialect."""
        return self._object(status, message, None, None)

    def is_error(self, said: object) -> bool:
        """See Dialect."""
        return isinstance(said, dict) and said.get("type") == "error" and _said(said) is not None

    def event(self, error: RequestError) -> bytes:
        """See Dialect."""
        return b"event: error\ndata: " + self.refusal(error) + b"\n\n"

    def _object(self, status: int, message: str, param: str | None, code: str | None) -> bytes:
        kind = _ANTHROPIC_TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")
        error = {"type": kind, "message": message, "param": param, "code": code}
        return orjson.dumps({"type": "error", "error": error})


def _said(body: object) -> str | None:
    """The message of an error object; None where the body is none."""
    error = body.get("error") if isinstance(body, dict) else None
    message = error.get("message") if isinstance(error, dict) else None
    return message if isinstance(message, str) else None


OPENAI, RESPONSES, ANTHROPIC = OpenAI(), Responses(), Anthropic()
