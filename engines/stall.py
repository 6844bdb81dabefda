"""Notices an engine that answers /metrics and no longer generates: it looks healthy, and every request to it hangs."""

import time
from collections.abc import Callable

import aiohttp

from engines.http import engine_session
from engines.vllm_completion import Completer
from engines.vllm_load import EngineLoad

TEST_SHARE = 0.5
"""Of the time an engine may stand still: what it then has to answer a test request."""


class StalledError(Exception):
    """An engine that generates nothing any more, not even the one token it was asked for."""

    def __init__(self, still_s: float) -> None:
        super().__init__(
            f"the engine hangs: nothing generated for {still_s:.0f} s, and a test request was not answered (stall_s)"
        )


class StillWatch:
    """For how long an engine's tokens, KV cache and batch have not changed.

    The KV cache counts because a long prompt fills it chunk by chunk before the first token is counted. What waits does
    not: requests go on arriving at an engine that hangs.
    """

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._clock_s = clock_s
        self._last: tuple[object, ...] = ()
        self._since_s = clock_s()

    @property
    def still_s(self) -> float:
        """Seconds since the last change."""
        return self._clock_s() - self._since_s

    def observe(self, load: EngineLoad) -> None:
        """Take note of what the engine says of itself now."""
        seen = (load.tokens, load.kv_usage, load.running)
        if seen != self._last:
            self._last = seen
            self.reset()

    def reset(self) -> None:
        """It showed otherwise that it works."""
        self._since_s = self._clock_s()


async def generates(url: str, api_key: str | None, model: str, limit_s: float) -> bool:
    """Whether the engine answers a request for one token within the limit; a refusal is an answer too.

    An idle engine stands still as well, and one whose first step hangs has not yet counted the request: asking tells.
    """
    async with engine_session(limit_s) as session:
        try:
            await Completer(session, url, api_key, model)("1, 2, 3", k=0, max_tokens=1, temperature=0.0)
        except TimeoutError:
            return False
        except (aiohttp.ClientError, LookupError, ValueError):
            return True
    return True
