"""One HTTP request of a command to a running service: straight to it on this machine, and its key to nobody else."""

import urllib.request
from http.client import HTTPResponse
from typing import Any
from urllib.parse import urlsplit

from router.access.exposure import is_loopback


class _Staying(urllib.request.HTTPRedirectHandler):
    """A redirect is an error: the key in the request is for the address that was given."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        """Follow none."""


def open_url(asked: urllib.request.Request | str, timeout_s: float) -> HTTPResponse:
    """Ask, through the environment's proxy only where the address is not this machine's.

    Raises what urllib does: HTTPError for an answer that is no success, OSError and ValueError.
    """
    address = asked if isinstance(asked, str) else asked.full_url
    here = is_loopback(urlsplit(address).hostname or "")
    proxy = urllib.request.ProxyHandler({} if here else None)
    answer: HTTPResponse = urllib.request.build_opener(_Staying, proxy).open(asked, timeout=timeout_s)
    return answer
