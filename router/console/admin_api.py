"""The Admin API as the console asks it: with the key of whoever is signed in, and once for all of their tabs."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson

from router.roles import Role

Body = dict[str, Any]
"""A decoded answer; docs/admin-api.md has the shapes."""

FRESH_S = 0.8
"""How long an answer serves further tabs of the same key: they poll every few seconds."""

ANSWER_S = 5.0
LONG_ANSWER_S = 60.0
"""Longest waits: for what is read or steered, and for a dry run."""

MOST_KEPT = 256


class ApiAway(Exception):
    """No router answers."""


class ApiRefused(Exception):
    """The Admin API said no; `body` is its error."""

    def __init__(self, status: int, body: Body) -> None:
        self.status = status
        self.body = body
        self.code: str = body.get("code") or ""
        super().__init__(body.get("message") or f"The Admin API answered {status}.")


@dataclass(frozen=True, slots=True)
class Answer:
    """A decoded body and its ETag, empty where it has none."""

    body: Body
    etag: str = ""


@dataclass(slots=True)
class _Kept:
    until_s: float
    answer: asyncio.Task[Answer]


@dataclass(slots=True)
class AdminApi:
    """A client; `session` has the routers' URL as base."""

    session: aiohttp.ClientSession
    _kept: dict[tuple[str, ...], _Kept] = field(default_factory=dict)

    async def get(self, path: str, key: str, params: Mapping[str, str] | None = None) -> Answer:
        """What is at a path under /admin/v1; raises ApiRefused, ApiAway.

        Several askers within `FRESH_S` share one request.
        """
        name, now_s = (key, path, *(f"{k}={v}" for k, v in (params or {}).items())), time.monotonic()
        kept = self._kept.get(name)
        if kept is None or kept.until_s < now_s:
            if len(self._kept) >= MOST_KEPT:
                self._kept = {k: one for k, one in self._kept.items() if one.until_s >= now_s}
            asking = asyncio.create_task(self.send("GET", path, key, params=params))
            kept = self._kept[name] = _Kept(now_s + FRESH_S, asking)
        return await asyncio.shield(kept.answer)

    async def send(
        self,
        method: str,
        path: str,
        key: str,
        body: Body | None = None,
        *,
        params: Mapping[str, str] | None = None,
        if_match: str = "",
        limit_s: float = ANSWER_S,
    ) -> Answer:
        """One request of its own; raises ApiRefused, ApiAway. What was kept for reading is forgotten by a change."""
        if method != "GET":
            self._kept.clear()
        return await self._ask(method, f"/admin/v1{path}", key, body, params, if_match, limit_s)

    async def ready(self) -> Body:
        """What /ready says, whether it is ready or not; raises ApiAway."""
        name = ("", "/ready")
        kept, now_s = self._kept.get(name), time.monotonic()
        if kept is None or kept.until_s < now_s:
            asking = asyncio.create_task(self._ask("GET", "/ready", "", None, None, "", ANSWER_S, refuses=False))
            kept = self._kept[name] = _Kept(now_s + FRESH_S, asking)
        body = (await asyncio.shield(kept.answer)).body
        if "redis" not in body:
            raise ApiAway("what answers is no router")  # a proxy before none, with a page of its own
        return body

    async def role_of(self, key: str) -> Role | None:
        """What a key (empty for none) may do here; None where it is no operator's. Raises ApiAway."""
        try:
            await self.send("GET", "/policies/status", key)
        except ApiRefused as refused:
            if refused.status in (401, 403):
                return None
            raise ApiAway(str(refused)) from None
        try:
            await self.send("GET", "/keys", key)
        except ApiRefused as refused:
            return Role.OPERATOR if refused.status in (401, 403) else Role.ADMIN
        return Role.ADMIN

    async def _ask(
        self,
        method: str,
        path: str,
        key: str,
        body: Body | None,
        params: Mapping[str, str] | None,
        if_match: str,
        limit_s: float,
        *,
        refuses: bool = True,
    ) -> Answer:
        headers = {"content-type": "application/json"} if body is not None else {}
        if key:
            headers["authorization"] = f"Bearer {key}"
        if if_match:
            headers["if-match"] = if_match
        data = orjson.dumps(body) if body is not None else None
        limit = aiohttp.ClientTimeout(total=limit_s)
        try:
            async with self.session.request(
                method, path, data=data, params=params, headers=headers, timeout=limit, allow_redirects=False
            ) as got:
                raw = await got.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ApiAway(f"{type(error).__name__}") from None
        if got.status >= 400 and refuses:
            raise _refused(got.status, raw)
        return Answer(_decoded(raw), got.headers.get("etag", ""))


def _refused(status: int, raw: bytes) -> ApiRefused | ApiAway:
    error = _decoded(raw).get("error")
    if isinstance(error, dict):
        return ApiRefused(status, error)
    # Not the router's words: a proxy in front of it that has nobody to pass this to.
    return ApiAway(f"HTTP {status}") if status >= 500 else ApiRefused(status, {})


def _decoded(raw: bytes) -> Body:
    try:
        body = orjson.loads(raw) if raw else {}
    except orjson.JSONDecodeError:
        return {}
    return body if isinstance(body, dict) else {}
