"""`python -m bench.soak.engine PORT LOG MODEL [DRAFTER]`: a simulated engine that writes down which requests it served.

The lines survive its death: `begin ID`, then `served ID` when the last byte of a good answer has gone out, or
`ended ID` for every other end; an engine that is killed writes neither.
"""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

import uvloop

from engines.simulator.engine import SimulatedEngine
from engines.simulator.server import SimulatorServer
from engines.simulator.settings import SimulatorSettings

TIME_SCALE = 4.0
PLACES = 32

Message = MutableMapping[str, Any]
App = Callable[[Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]]


class Witness:
    """Writes the life of every request that generates, one line per event in one write."""

    def __init__(self, app: App, log: Path) -> None:
        self._app = app
        self._file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    async def __call__(self, scope: Message, receive: Any, send: Callable[[Message], Awaitable[None]]) -> None:
        """One request."""
        name = next((value.decode() for key, value in scope.get("headers", ()) if key == b"x-request-id"), None)
        if name is None or not scope["path"].startswith("/v1/") or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        status, complete = 0, False

        async def told(message: Message) -> None:
            nonlocal status, complete
            await send(message)
            status = message.get("status", status)
            complete = message["type"] == "http.response.body" and not message.get("more_body", False)

        self._write("begin", name)
        try:
            await self._app(scope, receive, told)
        finally:
            self._write("served" if complete and status == 200 else "ended", name)

    def _write(self, event: str, name: str) -> None:
        os.write(self._file, f"{event} {name}\n".encode())


class WitnessedServer(SimulatorServer):
    """A simulator with a witness in front."""

    def __init__(self, engine: SimulatedEngine, log: Path) -> None:
        super().__init__(engine, on_exit=os._exit)
        self._app: Any = Witness(self._app, log)


async def _serve(port: int, log: Path, model: str, drafter: str | None) -> None:
    settings = SimulatorSettings(
        model=model,
        method="draft_model" if drafter else None,
        drafter=drafter,
        calibration="cpu-demo",
        time_scale=TIME_SCALE,
        max_num_seqs=PLACES,
    )
    await WitnessedServer(SimulatedEngine(settings), log).start("127.0.0.1", port)
    print("listening", flush=True)
    await asyncio.Event().wait()


def main() -> None:
    """Serve until killed."""
    port, log, model, *drafter = sys.argv[1:]
    uvloop.run(_serve(int(port), Path(log), model, drafter[0] if drafter else None))


if __name__ == "__main__":
    main()
