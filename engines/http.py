"""Connections to engines' HTTP servers."""

import aiohttp

KEEPALIVE_S = 4.0
"""Longest that an idle connection is kept: vLLM's server closes it after 5 s, and whoever then writes into it loses
a POST, which no client repeats by itself."""


def engine_session(total_s: float = 300.0) -> aiohttp.ClientSession:
    """A session whose requests may take `total_s` each; call it inside a running event loop, and close it."""
    return aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=total_s), connector=aiohttp.TCPConnector(keepalive_timeout=KEEPALIVE_S)
    )
