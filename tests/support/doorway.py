"""A guard over a small application that tells what reached it, behind a real HTTP server."""

import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import orjson
from service import http_server

from router.access.door import DoorStores, guarded
from router.access.guard import Guard
from router.access.key_file import KeyDocument
from router.access.keys import Key, KeyLimits, hash_of, new_key
from router.access.shared_keys import KeyStore, MemoryKeyStore
from router.access.usage import MemoryUsageStore, UsageStore
from router.api.http import Receive, Scope, Send, header_map, respond
from router.config.auth import AdminSettings, AuthSettings
from router.observe.telemetry import Telemetry
from router.roles import Role
from router.service import Application
from router.traffic import metering

USED = 30
"""Tokens that a request to the application takes, unless it says otherwise."""


@dataclass
class Echo:
    """An application that tells which request reached it, and reports tokens as an engine does."""

    scopes: list[Scope] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with the path and the headers; `x-used: none` reports no tokens, `x-fails` refuses."""
        self.scopes.append(scope)
        headers = header_map(scope)
        while (await receive()).get("more_body"):
            pass
        if headers.get("x-used") != "none":
            metering.report({"usage": {"prompt_tokens": 10, "completion_tokens": USED - 10}})
        body = orjson.dumps({"path": scope["path"], "headers": headers})
        await respond(send, 400 if "x-fails" in headers else 200, body)


@dataclass
class Doorway:
    """The running guard, where it is, and what is behind it."""

    url: str
    session: aiohttp.ClientSession
    guard: Guard
    app: Echo
    keys: dict[str, str]
    admin_url: str = ""

    def bearer(self, name: str) -> dict[str, str]:
        """The header of one of the keys."""
        return {"authorization": f"Bearer {self.keys[name]}"}


def key_of(secret: str, name: str, role: Role = Role.CLIENT, **facts: object) -> Key:
    """A stored key; `facts` are its further fields."""
    return Key.model_validate({"id": name, "hash": hash_of(secret), "role": role, **facts})


def written(file: Path, keys: Iterable[Key]) -> Path:
    """These keys as a keys file."""
    file.write_bytes(orjson.dumps(KeyDocument(keys=tuple(keys)).model_dump(mode="json", exclude_defaults=True)))
    return file


@contextlib.asynccontextmanager
async def doorway(
    folder: Path,
    keys: Iterable[Key] | None = None,
    *,
    auth: dict[str, object] | None = None,
    admin: AdminSettings | None = None,
    store: KeyStore | None = None,
    usage: UsageStore | None = None,
    clock_s: Callable[[], float] = time.time,
    name: str = "r1",
    limits: KeyLimits | None = None,
) -> AsyncIterator[Doorway]:
    """A guard with a key of each role (limits are the client's), and `keys` beside them."""
    secrets = {role.value: new_key() for role in Role}
    stored = [key_of(secret, role, Role(role)) for role, secret in secrets.items()]
    stored[0] = stored[0].model_copy(update={"limits": limits or KeyLimits()})
    file = written(folder / "keys.json", [*stored, *(keys or ())])
    settings = AuthSettings.model_validate({"keys_file": file, "refresh_s": 0.01, **(auth or {})})
    app, telemetry, guards = Echo(), Telemetry(), []

    @contextlib.asynccontextmanager
    async def running() -> AsyncIterator[Guard]:
        stores = DoorStores(store or MemoryKeyStore(), usage or MemoryUsageStore())
        async with guarded(app, telemetry, settings, admin or AdminSettings(), stores, clock_s, name) as guard:
            guards.append(guard)
            yield guard

    async with http_server(Application(running())) as url, aiohttp.ClientSession(url) as session:
        admin_url = f"http://127.0.0.1:{admin.port}" if admin is not None else ""
        yield Doorway(url, session, guards[0], app, secrets, admin_url)
