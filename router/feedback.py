"""Explicitly labelled prompts kept as training data for the classifier, where the settings allow it."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Mapping

from classifiers.feedback import Feedback, opted_out
from classifiers.label import Label
from classifiers.prompt import read_prompt
from router.config.settings import ClassifierSettings
from router.errors import SetupError

logger = logging.getLogger("alpharoute.feedback")

FLUSH_S = 1.0


class FeedbackKeeper:
    """Takes the labels that clients gave; without a file it keeps nothing."""

    def __init__(self, file: Feedback | None = None) -> None:
        """Keep in the file, if there is one."""
        self._file = file

    def offer(self, body: object, headers: Mapping[str, str], label: Label) -> None:
        """Remember the prompt of a request under its client's label, unless the client opted out; never waits."""
        if self._file is not None and not opted_out(headers):
            self._file.keep(read_prompt(body), label)


@contextlib.asynccontextmanager
async def kept_feedback(settings: ClassifierSettings, every_s: float = FLUSH_S) -> AsyncIterator[FeedbackKeeper]:
    """A keeper whose file is written from a thread for as long as the context lasts, and at its end.

    Raises SetupError where the file cannot be written; later failures are logged once and requests go on.
    """
    if settings.feedback is None:
        yield FeedbackKeeper()
        return
    try:
        file = Feedback(settings.feedback, settings.feedback_bytes)
    except OSError as error:
        raise SetupError(f"classifier.feedback: {str(settings.feedback)!r} cannot be written: {error}") from None
    writing = asyncio.create_task(_write(file, every_s))
    try:
        yield FeedbackKeeper(file)
    finally:
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
        with contextlib.suppress(OSError):
            await asyncio.to_thread(file.flush)


async def _write(file: Feedback, every_s: float) -> None:
    said = ""
    while True:
        await asyncio.sleep(every_s)
        try:
            await asyncio.to_thread(file.flush)
            said = ""
        except OSError as error:
            if str(error) != said:
                logger.warning("feedback for the classifier is not kept: %s", error)
            said = str(error)
