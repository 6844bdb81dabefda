"""Sending to a client that may stop reading."""

import asyncio
import math

from router.api.http import Connected, Message, Send


class PatientSend:
    """A Send, as a context manager, that takes a client for gone which takes nothing.

    A message may wait for `silence_s`, and not beyond `until_s` on the loop's clock unless it was begun after it, as
    the one is that tells of a deadline. One timer watches the whole answer: one for each message would cost as much as
    sending it.
    """

    __slots__ = ("_client", "_loop", "_send", "_silence_s", "_since_s", "_timer", "_until_s")

    def __init__(self, send: Send, client: Connected, until_s: float, silence_s: float) -> None:
        self._send, self._client, self._until_s, self._silence_s = send, client, until_s, silence_s
        self._since_s = math.inf

    async def __call__(self, message: Message) -> None:
        """Send one message."""
        self._since_s = self._loop.time()
        await self._send(message)
        self._since_s = math.inf

    def __enter__(self) -> Send:
        self._loop = asyncio.get_running_loop()
        self._watch()
        return self

    def _watch(self) -> None:
        """Give up a message that has waited too long; else look again when this one, or one begun now, will have."""
        now_s = self._loop.time()
        begun_s = min(self._since_s, now_s)
        by_s = begun_s + self._silence_s
        if begun_s < self._until_s:
            by_s = min(by_s, self._until_s)
        if now_s >= by_s:
            self._client.leave()
        else:
            self._timer = self._loop.call_at(by_s, self._watch)

    def __exit__(self, *failure: object) -> None:
        self._timer.cancel()
