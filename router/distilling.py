"""Prompts of the tasks that fell, kept as the beginning of a distillation set where the settings allow it."""

import asyncio
import contextlib
import json
import logging
import random
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import orjson

from classifiers.feedback import opted_out
from classifiers.line_file import LineFile
from policies.drift import fallen
from policies.knowledge import Knowledge
from policies.request import Request
from router.config.distillation import DistillationSettings
from router.errors import SetupError

logger = logging.getLogger("alpharoute.distillation")

FLUSH_S = 1.0
MAX_WAITING_BYTES = 16 * 1024 * 1024
"""Of requests that wait for the next flush, as their clients sent them."""

FIELDS = ("messages", "prompt", "tools")
"""What is kept of a request's body: with these a target can be asked again."""


class PromptKeeper:
    """Takes prompts of the tasks wanted, a share of them; without a file it keeps nothing."""

    def __init__(self, file: LineFile | None = None, share: float = 0.0, draw: Callable[[], float] = random.random):
        """`share` of what is offered is kept; `draw` gives numbers from 0 to 1."""
        self.wanted: frozenset[str] = frozenset()
        """The tasks to keep now."""
        self._file = file
        self._share = share
        self._draw = draw
        self._waiting: list[tuple[Request, bytes]] = []
        self._waiting_bytes = 0
        self._turn = threading.Lock()

    def offer(self, raw: bytes, headers: Mapping[str, str], request: Request) -> None:
        """Remember a request's body until the next flush, unless its client opted out; never waits, reads nothing."""
        if self._file is None or request.task not in self.wanted:
            return
        if opted_out(headers) or self._draw() >= self._share:
            return
        with self._turn:
            if self._waiting_bytes + len(raw) <= MAX_WAITING_BYTES:
                self._waiting.append((request, raw))
                self._waiting_bytes += len(raw)

    def flush(self) -> None:
        """Write what waits; raises OSError, and what was taken to be written is lost. For a thread: bodies are long."""
        with self._turn:
            taken, self._waiting, self._waiting_bytes = self._waiting, [], 0
        lines = b"".join(_line(request, orjson.loads(raw)) for request, raw in taken)
        if lines and self._file is not None:
            self._file.append(lines)


def _line(request: Request, body: Mapping[str, Any]) -> bytes:
    """What is kept of a body; nothing where its prompt is token ids, which mean nothing to another tokenizer."""
    kept = {name: body[name] for name in FIELDS if name in body}
    if "messages" not in kept and not isinstance(kept.get("prompt"), str):
        return b""
    return json.dumps({"task": request.task, "model": request.model, **kept}).encode() + b"\n"


@contextlib.asynccontextmanager
async def kept_prompts(
    settings: DistillationSettings,
    knowledge: Knowledge,
    every_s: float = FLUSH_S,
    clock_s: Callable[[], float] = time.time,
) -> AsyncIterator[PromptKeeper]:
    """A keeper whose file is written from a thread for as long as the context lasts, and at its end.

    It wants the tasks of the settings, or those that drifted lately. Raises SetupError where the file cannot be
    written; later failures are logged once and requests go on.
    """
    if settings.prompts is None:
        yield PromptKeeper()
        return
    try:
        file = LineFile(settings.prompts, settings.prompts_bytes)
    except OSError as error:
        raise SetupError(f"distillation.prompts: {str(settings.prompts)!r} cannot be written: {error}") from None
    keeper = PromptKeeper(file, settings.share)
    writing = asyncio.create_task(_write(keeper, settings, knowledge, every_s, clock_s))
    try:
        yield keeper
    finally:
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
        with contextlib.suppress(OSError):
            await asyncio.to_thread(keeper.flush)


async def _write(
    keeper: PromptKeeper,
    settings: DistillationSettings,
    knowledge: Knowledge,
    every_s: float,
    clock_s: Callable[[], float],
) -> None:
    said = ""
    while True:
        keeper.wanted = settings.tasks or fallen(knowledge.records, clock_s() - settings.fell_within_s)
        await asyncio.sleep(every_s)
        try:
            await asyncio.to_thread(keeper.flush)
            said = ""
        except OSError as error:
            if str(error) != said:
                logger.warning("prompts for a distillation set are not kept: %s", error)
            said = str(error)
