"""Everything that can go wrong with a request, and how it is said to the client.

RequestError                 an answer for the client, in OpenAI's error shape
├── BadRequest        400    the body or a header is not what the API takes; names the field
├── Unauthorized      401
├── NotFound          404    unknown route or model
├── MethodNotAllowed  405
├── RequestTimeout    408    the body did not arrive in time
├── TooLarge          413    the body is over `limits.body_bytes`, `body_fields` or `body_items`
├── Unsupported       415    the body is not JSON by its content type
├── Overloaded        429    the pool and the queue before it are full
├── Unexpected        500    a fault of the router's own
├── EngineUnreachable 502    every engine tried broke off before its first byte
│   ├── NotConnected  502    nothing listens there: the request was never sent
│   └── EngineTimeout 504    the engine took the request and said nothing for too long
├── NoEngine          503    no engine of this model is ready
└── DeadlineExceeded  504    the client's or the operator's time for the whole ran out
"""

from collections.abc import Mapping

import orjson


class RequestError(Exception):
    """Why a request is refused; `param` names the field, `code` is for machines, `headers` go with the answer."""

    status = 500
    kind = "internal_error"
    inside = False
    """Whether only the Admin API refuses so."""

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ):
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code
        self.headers = headers or {}

    def body(self) -> bytes:
        """The OpenAI error object as JSON."""
        error = {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}
        return orjson.dumps({"error": error})


class BadRequest(RequestError):
    """The body or a header is not what the API takes."""

    status = 400
    kind = "invalid_request_error"


class Unauthorized(RequestError):
    """The key is missing or wrong."""

    status = 401
    kind = "authentication_error"


class NotFound(RequestError):
    """There is no such route or model."""

    status = 404
    kind = "not_found_error"


class MethodNotAllowed(RequestError):
    """The route exists, with another method."""

    status = 405
    kind = "invalid_request_error"


class RequestTimeout(RequestError):
    """The body did not arrive within `limits.body_s`."""

    status = 408
    kind = "invalid_request_error"


class TooLarge(RequestError):
    """The body is over the limit."""

    status = 413
    kind = "invalid_request_error"


class Unsupported(RequestError):
    """The body's content type or encoding is not one that is read."""

    status = 415
    kind = "invalid_request_error"


class Unexpected(RequestError):
    """A fault of the router's own; the log has it."""


class Overloaded(RequestError):
    """The pool and the queue before it are full; `retry-after` says when to come back."""

    status = 429
    kind = "rate_limit_error"


class EngineUnreachable(RequestError):
    """Every engine that was tried broke off before its first byte.

    `repeatable`: the engine is certainly not working on the request (any more), so that another may be asked.
    """

    status = 502
    kind = "engine_error"
    repeatable = True


class NotConnected(EngineUnreachable):
    """Nothing listens there: the request was never sent."""


class EngineTimeout(EngineUnreachable):
    """The engine took the request and said nothing for too long: it may still be working on it."""

    status = 504
    repeatable = False


class DeadlineExceeded(RequestError):
    """The time for the whole answer ran out."""

    status = 504
    kind = "timeout_error"


class ClientDeadlineExceeded(DeadlineExceeded):
    """The client had asked for less time than the operator grants, and has had it: nobody's fault."""


class NoEngine(RequestError):
    """No engine that may answer this request is ready."""

    status = 503
    kind = "engine_error"


class SetupError(Exception):
    """The service cannot start as it is set up; the message says what to change."""
