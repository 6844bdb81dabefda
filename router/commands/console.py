"""`alpharoute console`: the console by itself, where its operators are, for a service that runs elsewhere."""

import asyncio
import signal
from typing import Annotated

import typer

from router.commands.client import UNUSABLE, complain, tell
from router.config.check import SERVICE_URL
from router.config.settings import Settings
from router.console.place import Place
from router.errors import SetupError
from router.roles import CONSOLE

LOCAL, PORT = "127.0.0.1", 8100


def console(
    url: Annotated[
        str, typer.Option("--url", envvar=SERVICE_URL, help="The service, or its admin port.")
    ] = "http://127.0.0.1:8000",
    host: Annotated[str, typer.Option(help="Address to listen on; another one only behind TLS.")] = LOCAL,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = PORT,
) -> None:
    """Show the console of a service in this machine's browser, for one that has none, or none that is reached.

    Whoever opens it signs in with a key of the service.
    """
    if not url.startswith(("http://", "https://")):
        raise typer.BadParameter(f"--url must begin with http:// or https://, got {url!r}")
    try:
        asyncio.run(_serve(url.rstrip("/"), Place(host, port)))
    except SetupError as error:
        complain(str(error))
        raise typer.Exit(UNUSABLE) from None


async def _serve(url: str, place: Place) -> None:
    """Until an interrupt."""
    # NiceGUI takes a second to load, which no other command is to wait for.
    from router.console.application import running_console
    from router.console.gate import Told
    from router.console.listening import listening

    ended, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    told = Told(url, Settings.model_fields["auth"].get_default().session_s)
    async with running_console(told) as gate, listening(gate, place, "Choose another with --port."):
        tell(f"http://{place.host}:{place.port}{CONSOLE} shows {url}; Ctrl-C ends it.")
        await ended.wait()
