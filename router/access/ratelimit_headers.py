"""Limits told in headers, under OpenAI's names."""

import math
from collections.abc import Mapping

from router.access.quota import Room, What
from router.api.http import RawHeaders


def limit_headers(rooms: Mapping[What, Room]) -> RawHeaders:
    """A fresh list of x-ratelimit-{limit,remaining,reset}-{requests,tokens}; concurrency has no such header."""
    headers: RawHeaders = []
    for what, room in rooms.items():
        if what != "concurrent":
            said = {"limit": str(room.limit), "remaining": str(room.left), "reset": duration(room.reset_s)}
            headers += [(f"x-ratelimit-{name}-{what}".encode(), value.encode()) for name, value in said.items()]
    return headers


def duration(seconds: float) -> str:
    """A time as OpenAI writes it: 6m0s, 1s, 20ms."""
    if seconds < 1:
        return f"{math.ceil(seconds * 1000)}ms"
    whole = math.ceil(seconds)
    return f"{whole}s" if whole < 60 else f"{whole // 60}m{whole % 60}s"
