"""The classifier that the settings ask for, kept at the version in its folder."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

from classifiers.artefact import SHIPPED, ArtefactError
from classifiers.prompt import prompt_of
from classifiers.reloading import Reloading
from router.config.settings import ClassifierSettings
from router.errors import SetupError

logger = logging.getLogger("alpharoute.classifier")


def load_classifier(settings: ClassifierSettings) -> Reloading:
    """The trained model; raises SetupError where its artefact cannot be used."""
    try:
        classifier = Reloading(settings.artefact or SHIPPED, settings.min_confidence, settings.sha256)
    except ArtefactError as error:
        raise SetupError(f"classifier.artefact: {error}") from None
    classifier.classify(prompt_of("Warm up: the first prompt costs seven times the next."))
    return classifier


@contextlib.asynccontextmanager
async def kept_current(classifier: Reloading, every_s: float) -> AsyncIterator[None]:
    """Take up new versions as they appear, for as long as the context lasts."""
    keeping = asyncio.create_task(_keep_current(classifier, every_s))
    try:
        yield
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)


async def _keep_current(classifier: Reloading, every_s: float) -> None:
    """Look again and again; whatever is wrong with a new version is said once, and the one in use stays."""
    said = ""
    while True:
        await asyncio.sleep(every_s)
        try:
            if await asyncio.to_thread(classifier.refresh):
                logger.info("classifier %s is in use", classifier.version[:12])
            said = ""
        except Exception as error:
            why = str(error) if isinstance(error, ArtefactError) else f"{type(error).__name__}: {error}"
            if why != said:
                logger.warning("the classifier in use stays: %s", why)
            said = why
