"""What the Admin API refuses beside what every route refuses: more of `router.errors`' tree.

RequestError
└── AdminError                 only under /admin; may carry more than a message
    ├── Conflict          409  the state of things does not allow it; says what is possible
    ├── Changed           412  somebody else changed it meanwhile; carries what is there now
    ├── Invalid           422  the policy is wrong; carries every problem
    ├── VersionNeeded     428  a change must name the version it was made on
    └── Unavailable       503  the store cannot be reached
"""

from collections.abc import Mapping

from pydantic_core import to_json

from router.errors import RequestError


class AdminError(RequestError):
    """Only the Admin API refuses so."""

    inside = True
    details: Mapping[str, object] = {}

    def body(self) -> bytes:
        """The error object, with what else there is to know."""
        error = {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}
        return as_json({"error": {**error, **self.details}})

    def carrying(self, **details: object) -> "AdminError":
        """The same error with more fields in its object."""
        self.details = details
        return self


class Conflict(AdminError):
    """The state of things does not allow it."""

    status = 409
    kind = "conflict_error"


class Changed(AdminError):
    """Somebody else changed it first; `current` is what is there now, `changes` lead from it to yours."""

    status = 412
    kind = "conflict_error"


class Invalid(AdminError):
    """The policy document is wrong; `problems` has every problem."""

    status = 422
    kind = "invalid_request_error"


class VersionNeeded(AdminError):
    """The change names no version that it was made on."""

    status = 428
    kind = "invalid_request_error"


class Unavailable(AdminError):
    """The store cannot be reached: what is held can be read, nothing can be changed."""

    status = 503
    kind = "service_unavailable_error"


def as_json(said: object) -> bytes:
    """Anything that the API says as JSON; what operators typed may hold integers that orjson refuses, or no number."""
    return to_json(said, inf_nan_mode="null")
