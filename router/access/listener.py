"""A port of the router's own, beside the one that Ray Serve and HAProxy give it: for the console and the admin API.

HAProxy has one address for a whole application, and what it passes on says nothing of the port it came in by that a
client could not forge. So each router replica listens itself; replicas on one node share the port (SO_REUSEPORT).
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from router.access.guard import App
from router.errors import SetupError

MOST_HEAD_BYTES = 64 * 1024
FINISH_S = 1.0
ACCEPTED_AT_ONCE = 128


@contextlib.asynccontextmanager
async def listening(app: App, host: str, port: int) -> AsyncIterator[int]:
    """Serve the application on a port for as long as the context lasts; yields the port.

    The parser is h11, which unlike httptools bounds a request's head. Raises SetupError where the port is not free.
    """
    config = uvicorn.Config(
        app,
        lifespan="off",
        log_config=None,
        log_level="critical",
        access_log=False,
        ws="none",
        proxy_headers=False,
        h11_max_incomplete_event_size=MOST_HEAD_BYTES,
    )
    config.load()
    state, loop = ServerState(), asyncio.get_running_loop()

    def protocol() -> H11Protocol:
        return H11Protocol(config=config, server_state=state, app_state={}, _loop=loop)

    server = await loop.create_server(protocol, sock=_bound(host, port), backlog=ACCEPTED_AT_ONCE)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()
        for connection in list(state.connections):
            connection.shutdown()
        if state.tasks:
            await asyncio.wait(set(state.tasks), timeout=FINISH_S)
        for connection in list(state.connections):
            connection.transport.abort()


def _bound(host: str, port: int) -> socket.socket:
    """A socket on the address, which other routers of this user may share."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind((host, port))
        listener.listen(ACCEPTED_AT_ONCE)
    except OSError as error:
        listener.close()
        why = os.strerror(error.errno) if error.errno else str(error)
        raise SetupError(
            f"admin.port: cannot use {host}:{port} ({why}). Choose another with ALPHAROUTE_ADMIN__PORT."
        ) from None
    listener.setblocking(False)
    return listener
