"""Wiring of the guard: what it knows of keys and use, kept in step for as long as it runs."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass, replace

from router.access.guard import App, Guard
from router.access.known_keys import KnownKeys
from router.access.listener import listening
from router.access.shared_keys import KeyStore
from router.access.usage import Usage, UsageStore
from router.config.auth import AdminSettings, AuthSettings
from router.observe.telemetry import Telemetry
from router.state.store import Clock


@dataclass(frozen=True, slots=True)
class DoorStores:
    """Where routers share keys and their use."""

    keys: KeyStore
    usage: UsageStore


@contextlib.asynccontextmanager
async def guarded(
    app: App,
    telemetry: Telemetry,
    auth: AuthSettings,
    admin: AdminSettings,
    stores: DoorStores,
    clock_s: Clock,
    name: str,
) -> AsyncIterator[Guard]:
    """An application behind its guard; where `admin.port` is set, that port is served too and the guard is the API's.

    Raises SetupError where the keys file is wrong, or the admin port taken.
    """
    keys, usage = KnownKeys(auth, stores.keys, clock_s), Usage(stores.usage, name, clock_s)
    guard = Guard(app, auth, keys, usage, telemetry, clock_s)
    async with contextlib.AsyncExitStack() as stack:
        if auth.needs_keys:
            await keys.refresh()
            await stack.enter_async_context(_running(keys.run()))
            await stack.enter_async_context(_running(usage.run()))
        if admin.port is not None:
            await stack.enter_async_context(listening(replace(guard, side="admin"), admin.host, admin.port))
            guard = replace(guard, side="public")
        yield guard
        await usage.exchange()


@contextlib.asynccontextmanager
async def _running(work: Coroutine[None, None, None]) -> AsyncIterator[None]:
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
