"""What is said at the door, before a request is read: more of `router.errors`' tree.

RequestError
├── Unauthorized      401    no key, or not one that is known; from router.errors
├── Forbidden         403    the key's role or segments do not reach so far
├── RateLimited       429    a limit of the key is full; says when to come back
├── HeadersTooLarge   431    more or longer headers than are read
└── KeysUnknown       503    this router has not been able to read the keys yet
"""

import math

from router.access.keys import Key
from router.access.ratelimit_headers import duration
from router.access.usage import Refused
from router.errors import RequestError, Unauthorized
from router.roles import Role

REALM = 'Bearer realm="alpharoute"'


class Forbidden(RequestError):
    """The key is known, and may not do this."""

    status = 403
    kind = "permission_error"


class RateLimited(RequestError):
    """A limit of the key is full."""

    status = 429
    kind = "rate_limit_error"


class HeadersTooLarge(RequestError):
    """More or longer headers than are read."""

    status = 431
    kind = "invalid_request_error"


class KeysUnknown(RequestError):
    """The keys could not be read yet: this one may be a good one."""

    status = 503
    kind = "service_unavailable_error"


def no_key(presented: bool) -> Unauthorized:
    """The 401 for a key that is missing, or is not known, or whose time is over; which of these is not said."""
    if not presented:
        message = "An API key is needed: send it as 'Authorization: Bearer KEY' or as 'x-api-key: KEY'."
        return Unauthorized(message, code="missing_api_key", headers={"www-authenticate": REALM})
    challenge = f'{REALM}, error="invalid_token"'
    return Unauthorized("This API key is not valid.", code="invalid_api_key", headers={"www-authenticate": challenge})


def not_your_role(key: Key, needed: Role) -> Forbidden:
    """The 403 for a role that does not reach so far."""
    challenge = f'{REALM}, error="insufficient_scope", scope="{needed}"'
    message = f"This needs a key with the role {needed.value!r}; yours has {key.role.value!r}."
    return Forbidden(message, code="insufficient_role", headers={"www-authenticate": challenge})


def limit_reached(refused: Refused) -> RateLimited:
    """The 429 that says which limit it is and how long to wait."""
    room = refused.rooms[refused.what]
    unit = "at a time" if refused.what == "concurrent" else "per minute"
    what = "requests" if refused.what == "concurrent" else refused.what
    message = (
        f"Rate limit reached: this key may use {room.limit} {what} {unit}. Please try again in {duration(room.wait_s)}."
    )
    headers = {"retry-after": str(max(1, math.ceil(room.wait_s - 0.01)))}
    return RateLimited(message, code="rate_limit_exceeded", headers=headers)
