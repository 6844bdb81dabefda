"""The classifier that the settings ask for, kept at the version in its folder."""

import asyncio
import logging

from classifiers.artefact import SHIPPED, ArtefactError
from classifiers.prompt import prompt_of
from classifiers.reloading import Reloading
from router.errors import SetupError
from router.settings import ClassifierSettings

logger = logging.getLogger("alpharoute.classifier")


def load_classifier(settings: ClassifierSettings) -> Reloading:
    """The trained model; raises SetupError where its artefact cannot be used."""
    try:
        classifier = Reloading(settings.artefact or SHIPPED, settings.min_confidence)
    except ArtefactError as error:
        raise SetupError(f"classifier.artefact: {error}") from None
    classifier.classify(prompt_of("Warm up: the first prompt costs seven times the next."))
    return classifier


async def keep_current(classifier: Reloading, every_s: float) -> None:
    """Take up new versions as they appear, until cancelled; one that cannot be used is said and left."""
    while True:
        await asyncio.sleep(every_s)
        try:
            if await asyncio.to_thread(classifier.refresh):
                logger.info("classifier %s is in use", classifier.version[:12])
        except ArtefactError as error:
            logger.warning("the classifier in use stays: %s", error)
