"""`python -m bench.overhead.served SETTINGS`: the router alone in a process, over engines by URL, state in memory."""

import contextlib
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import uvicorn

from engines.ports import free_port
from engines.registry import Heartbeat
from router.access.door import DoorStores, guarded
from router.access.guard import Guard
from router.access.shared_keys import MemoryKeyStore
from router.access.usage import MemoryUsageStore
from router.collecting import search_seldom
from router.config.load import load_settings
from router.config.settings import Settings
from router.service import Application, running_ingress
from router.state.store import MemoryRegistry, MemoryStore
from router.tasks import load_classifier

FOREVER_S = 1e9


async def _registry(settings: Settings) -> MemoryRegistry:
    registry = MemoryRegistry(time.monotonic)
    for pool in settings.pools:
        beat = Heartbeat(
            replica=f"{pool.name}-1",
            pool=pool.name,
            model=pool.model,
            target=pool.target,
            drafter=pool.drafter,
            method=pool.method,
            k_max=pool.k_max,
            url=pool.urls[0],
            clock_s=time.time(),
        )
        await registry.announce(beat, FOREVER_S)
    return registry


@contextlib.asynccontextmanager
async def _running(settings: Settings) -> AsyncIterator[Guard]:
    classifier = load_classifier(settings.classifier)
    stores, auth = DoorStores(MemoryKeyStore(), MemoryUsageStore()), settings.auth
    async with (
        running_ingress(settings, MemoryStore(), await _registry(settings), classifier) as ingress,
        guarded(ingress, ingress.recorder.telemetry, auth, settings.admin, stores, time.time, "alone") as guard,
    ):
        yield guard


def main() -> None:
    """Serve on a free loopback port, which is printed, until terminated."""
    settings, port = load_settings(Path(sys.argv[1])), free_port()
    config = uvicorn.Config(
        Application(_running(settings)), port=port, log_level="warning", access_log=False, ws="none"
    )
    search_seldom()  # as the deployment does
    print(f"http://127.0.0.1:{port}", flush=True)
    uvicorn.Server(config).run()


if __name__ == "__main__":
    main()
