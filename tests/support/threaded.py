"""A whole router in a thread of its own, so that synchronous clients and commands may block this one."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from service import DRAFT, VANILLA, Service, running_service, settings_with, simulator

Found = TypeVar("Found")


@dataclass
class Threaded:
    """The service and its loop."""

    service: Service
    loop: asyncio.AbstractEventLoop

    @property
    def url(self) -> str:
        """Its base URL."""
        return self.service.url

    def run(self, work: Coroutine[Any, Any, Found]) -> Found:
        """Do something where the service runs."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(20)

    def ask(self, task: str, **headers: str) -> str:
        """One chat of a task; its request id."""
        body = {"model": "demo", "max_tokens": 24, "messages": [{"role": "user", "content": f"[task:{task}] hello"}]}

        async def one() -> str:
            path, named = "/v1/chat/completions", {"x-alpharoute-task": task, **headers}
            async with self.service.session.post(path, json=body, headers=named) as answer:
                assert answer.status == 200, await answer.text()
                await answer.read()
                return answer.headers["x-request-id"]

        return self.run(one())


@contextlib.contextmanager
def threaded(make: Callable[[], contextlib.AbstractAsyncContextManager[Service]] | None = None) -> Iterator[Threaded]:
    """A router over a vanilla and a speculative engine, unless another is given."""
    loop = asyncio.new_event_loop()
    started, stop = threading.Event(), asyncio.Event()
    running: list[Service] = []

    async def serve() -> None:
        engines = {"vanilla-1": simulator(VANILLA), "draft-1": simulator(DRAFT)}
        async with make() if make is not None else running_service(settings_with(), engines) as service:
            running.append(service)
            started.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        assert started.wait(20), "the router did not start"
        yield Threaded(running[0], loop)
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(20)
        loop.close()
