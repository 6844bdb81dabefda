"""A whole guarded router with a key of each role, for tests of what operators may and do."""

import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from doorway import key_of, written
from service import DRAFT, VANILLA, Service, http_server, running_service, settings_with, simulator

from router.access.door import DoorStores, guarded
from router.access.guard import Guard
from router.access.keys import new_key
from router.access.usage import MemoryUsageStore
from router.admin.wiring import AdminStores
from router.config.auth import AdminSettings
from router.roles import Role
from router.service import Application


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, decoded; an empty body is an empty object."""

    status: int
    body: Any
    headers: dict[str, str]

    @property
    def code(self) -> str:
        """The error's code, empty where it is none."""
        error = self.body.get("error") if isinstance(self.body, dict) else None
        return str(error["code"]) if isinstance(error, dict) else ""


@dataclass
class Office:
    """The service behind its guard; `session` goes through it."""

    url: str
    session: aiohttp.ClientSession
    service: Service
    keys: dict[str, str]

    async def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        role: str = "operator",
        *,
        key: str | None = None,
        **headers: str,
    ) -> Reply:
        """One request under /admin/v1 with the key of a role ("": none)."""
        secret = self.keys.get(role, "") if key is None else key
        named = {**headers, **({"authorization": f"Bearer {secret}"} if secret else {})}
        async with self.session.request(method, f"/admin/v1{path}", json=body, headers=named) as got:
            raw = await got.read()
            return Reply(got.status, await got.json() if raw else {}, {k.lower(): v for k, v in got.headers.items()})


@contextlib.asynccontextmanager
async def office(folder: Path, shared: AdminStores | None = None, names: Sequence[str] = ()) -> AsyncIterator[Office]:
    """A router over two simulated engines with `names` as further operators, each under the name."""
    shared = shared or AdminStores()
    secrets = {name: new_key() for name in (*Role, *names)}
    stored = [
        key_of(secret, name, Role(name) if name in list(Role) else Role.OPERATOR) for name, secret in secrets.items()
    ]
    auth = {"keys_file": written(folder / "keys.json", stored), "redis_keys": True, "refresh_s": 0.02}
    settings = settings_with(auth=auth)
    engines = {"vanilla-1": simulator(VANILLA), "draft-1": simulator(DRAFT)}
    stores = DoorStores(shared.keys, MemoryUsageStore())
    async with running_service(settings, engines, shared=shared) as service:

        @contextlib.asynccontextmanager
        async def running() -> AsyncIterator[Guard]:
            telemetry = service.ingress.recorder.telemetry
            async with guarded(
                service.ingress, telemetry, settings.auth, AdminSettings(), stores, time.time, "r1"
            ) as guard:
                yield guard

        async with http_server(Application(running())) as url, aiohttp.ClientSession(url) as session:
            yield Office(url, session, service, {str(name): secret for name, secret in secrets.items()})
