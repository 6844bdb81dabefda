"""The router that real clients are pointed at: in front of the simulator, and of real vLLM where it may run."""

import asyncio
import contextlib
import threading
from collections.abc import Iterator

import pytest
from service import DRAFT, VANILLA, running_service, settings_with, simulator

from engines.pool import PoolSettings

EMBEDDER = PoolSettings(name="embedder", model="embedder", engine="simulator")
ALIASES = {"gpt-4": "demo"}


@contextlib.contextmanager
def served() -> Iterator[str]:
    """A router in a thread of its own, so that synchronous clients may block this one."""
    loop = asyncio.new_event_loop()
    started, stop = threading.Event(), asyncio.Event()
    urls: list[str] = []

    async def serve() -> None:
        engines = {
            "vanilla-1": simulator(VANILLA, loras=("legal",)),
            "draft-1": simulator(DRAFT, loras=("legal",)),
            "embedder-1": simulator(EMBEDDER),
        }
        loras = {"loras": {"legal": "org/legal"}}
        pools = [VANILLA.model_copy(update=loras), DRAFT.model_copy(update=loras), EMBEDDER]
        async with running_service(settings_with(pools, models={"aliases": ALIASES}), engines) as service:
            urls.append(service.url)
            started.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        assert started.wait(20), "the router did not start"
        yield urls[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(20)
        loop.close()


@pytest.fixture(scope="session")
def simulated() -> Iterator[str]:
    """Base URL of a router over simulated engines."""
    with served() as url:
        yield url


@pytest.fixture(
    params=["simulator", pytest.param("vllm", marks=[pytest.mark.ray, pytest.mark.vllm, pytest.mark.timeout(600)])]
)
def url(request: pytest.FixtureRequest) -> str:
    """Base URL of a router: what a client may rely upon, it may rely upon in front of either."""
    if request.param == "simulator":
        simulated: str = request.getfixturevalue("simulated")
        return simulated
    service: str = request.getfixturevalue("vllm_service").url
    return service
