"""The classifier that the settings ask for, or that operators chose, kept at the version in its folder."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

from classifiers.artefact import SHIPPED, ArtefactError, load
from classifiers.label import Classifier
from classifiers.prompt import prompt_of
from classifiers.reloading import Reloading
from classifiers.versions import Version, versions_in
from router.config.settings import ClassifierSettings
from router.errors import SetupError
from router.state.choices import Choices, Chosen
from router.state.store import StoreError

logger = logging.getLogger("alpharoute.classifier")

LOOK_S = 1.0
"""How often a router looks which version operators chose."""


def load_classifier(settings: ClassifierSettings) -> Reloading:
    """The trained model; raises SetupError where its artefact cannot be used."""
    try:
        classifier = Reloading(settings.artefact or SHIPPED, settings.min_confidence, settings.sha256)
    except ArtefactError as error:
        raise SetupError(f"classifier.artefact: {error}") from None
    classifier.classify(prompt_of("Warm up: the first prompt costs seven times the next."))
    return classifier


@dataclass(slots=True)
class Kept:
    """A classifier and the choice of operators that it follows; one that comes from no folder follows nothing."""

    classifier: Classifier
    settings: ClassifierSettings
    choices: Choices
    chosen: Chosen | None = None
    """The choice that was last read."""
    problem: str = ""
    """Why the choice is not in use here."""

    @property
    def reloading(self) -> Reloading | None:
        """The classifier, where it comes from a folder."""
        return self.classifier if isinstance(self.classifier, Reloading) else None

    def versions(self) -> list[Version]:
        """What there is to choose from on this node; reads folders."""
        return versions_in(self.settings.artefact, self.settings.versions)

    async def look(self, again: bool = True) -> bool:
        """Follow the choice of operators; whether another version is in use now. `again`: also where it failed before.

        What Redis lost is given back. Raises StoreError, and ArtefactError where the choice cannot be used here.
        """
        found = await self.choices.read()
        if found is None and self.chosen is not None:
            await self.choices.put(replace(self.chosen, number=1))
        if found is None or (found == self.chosen and not (self.problem and again)):
            return False
        self.chosen, self.problem = found, ""
        try:
            return await asyncio.to_thread(self.use, found.sha256)
        except ArtefactError as error:
            self.problem = str(error)
            raise

    def check(self, sha256: str | None) -> None:
        """Raise ArtefactError where the version could not be used here."""
        load(*self._place_of(sha256))

    def use(self, sha256: str | None) -> bool:
        """Classify with a version from now on, None being the one that the settings name; whether it is another one.

        Raises ArtefactError.
        """
        place = self._place_of(sha256)
        return self.reloading is not None and self.reloading.follow(*place)

    def _place_of(self, sha256: str | None) -> tuple[Path, str | None]:
        pin = self.settings.sha256
        if sha256 is None:
            return self.settings.artefact or SHIPPED, pin
        if pin not in (None, sha256):
            raise ArtefactError(f"the setting classifier.sha256 allows {pin!r} alone")
        return self._folder_of(sha256), sha256

    def _folder_of(self, sha256: str) -> Path:
        folders = [one.folder for one in self.versions() if one.sha256 == sha256]
        if not folders:
            shelf = repr(str(self.settings.versions)) if self.settings.versions else "not set"
            raise ArtefactError(f"no classifier on this node has SHA-256 {sha256!r}; classifier.versions is {shelf}")
        return folders[0]


@contextlib.asynccontextmanager
async def kept_current(classifier: Classifier, settings: ClassifierSettings, choices: Choices) -> AsyncIterator[Kept]:
    """Follow operators' choice and take up new versions as they appear, for as long as the context lasts."""
    kept = Kept(classifier, settings, choices)
    if kept.reloading is None:
        yield kept
        return
    said = await _look(kept, kept.reloading, again=True, said="")
    keeping = asyncio.create_task(_keep_current(kept, kept.reloading, said))
    try:
        yield kept
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)


async def _keep_current(kept: Kept, classifier: Reloading, said: str) -> None:
    every_s, now_s = kept.settings.refresh_s, asyncio.get_running_loop().time
    due_s = now_s() + every_s
    task = asyncio.current_task()
    # redis-py may swallow a cancellation while it connects: the count of requests for it is what holds.
    while task is not None and not task.cancelling():
        await asyncio.sleep(min(LOOK_S, every_s))
        if due := now_s() >= due_s:
            due_s = now_s() + every_s
        said = await _look(kept, classifier, again=due, said=said)


async def _look(kept: Kept, classifier: Reloading, *, again: bool, said: str) -> str:
    """Look once, `again` at the folder too; whatever is wrong is said once, and the version in use stays."""
    try:
        taken = await kept.look(again)
        if again:
            taken |= await asyncio.to_thread(classifier.refresh)
    except StoreError:
        return said  # that Redis is away is said elsewhere
    except Exception as error:
        why = str(error) if isinstance(error, ArtefactError) else f"{type(error).__name__}: {error}"
        if why != said:
            logger.warning("the classifier in use stays: %s", why)
        return why
    if taken:
        logger.info("classifier %s is in use", classifier.version[:12])
    return "" if again else said
