"""Reads that are asked at the same moment, in one round trip: most of what a command costs a router is the trip."""

import asyncio
from typing import Any, Final

from router.state.redis_client import AsyncRedis

Command = tuple[str, ...]


class Together:
    """Sends what is asked within one turn of the event loop as one pipeline; who asked first adds nothing to the wait.

    A trip takes a router some 0.4 ms of its CPU, each further command in it 0.04 ms.
    """

    def __init__(self, redis: AsyncRedis) -> None:
        self._redis: Final = redis
        self._asked: list[tuple[tuple[Command, ...], asyncio.Future[list[Any]]]] = []
        self._sending: set[asyncio.Task[None]] = set()

    async def ask(self, *commands: Command) -> list[Any]:
        """The answers in order; raises what Redis says to one of these commands, or why there was no answer."""
        loop = asyncio.get_running_loop()
        if not self._asked:
            task = loop.create_task(self._send())
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)
        answers: asyncio.Future[list[Any]] = loop.create_future()
        self._asked.append((commands, answers))
        return await answers

    async def _send(self) -> None:
        asked, self._asked = self._asked, []
        try:
            async with self._redis.pipeline(transaction=False) as pipe:
                for commands, _ in asked:
                    for command in commands:
                        pipe.execute_command(*command)
                found = await pipe.execute(raise_on_error=False)
        except BaseException as error:
            for _, answers in asked:
                _settle(answers, [error])
            if not isinstance(error, Exception):
                raise
            return
        for commands, answers in asked:
            own, found = found[: len(commands)], found[len(commands) :]
            _settle(answers, own)


def _settle(answers: asyncio.Future[list[Any]], found: list[Any]) -> None:
    if answers.done():
        return  # who asked was cancelled
    failed = next((one for one in found if isinstance(one, BaseException)), None)
    if isinstance(failed, asyncio.CancelledError):
        answers.cancel()
    elif failed is not None:
        answers.set_exception(failed)
    else:
        answers.set_result(found)
