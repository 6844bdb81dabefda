"""Where the console is, and where it finds the Admin API, by the settings."""

from dataclasses import dataclass

from router.config.settings import Settings
from router.console.gate import Told


@dataclass(frozen=True, slots=True)
class Place:
    """Where the console listens itself."""

    host: str
    port: int


def own_place(settings: Settings) -> Place | None:
    """Where the console listens itself: None where it is behind the API's port.

    Beside an admin port it is on the next one, for what is on the API's port everybody reaches.
    """
    admin, port = settings.admin, settings.console.port
    if port is None and admin.port is not None:
        port = admin.port + 1
    return None if port is None else Place(admin.host, port)


def told_by(settings: Settings) -> Told:
    """What the console needs of the settings: no secret of theirs reaches it."""
    auth = settings.auth
    return Told(settings.console.api_url or _api_url(settings), auth.session_s, auth.allow_anonymous)


def _api_url(settings: Settings) -> str:
    """The Admin API on this node."""
    admin, listen = settings.admin, settings.listen
    host, port = (listen.host, listen.port) if admin.port is None else (admin.host, admin.port)
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
