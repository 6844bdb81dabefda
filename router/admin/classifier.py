"""Which classifier names tasks: the versions there are, choosing one for all routers, and going back."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import Field

from classifiers.artefact import ArtefactError
from classifiers.reloading import Reloading
from classifiers.versions import Version, with_sha256
from policies.event import Event
from router.admin.errors import Changed, Conflict
from router.admin.routes import AnyRoute, Asked, Nothing, Said, Sentence, Taken, changing, reading
from router.errors import NotFound
from router.state.choices import Chosen
from router.state.store import Clock, Store
from router.tasks import Kept

FORMER_KEPT = 20
PROVENANCE = ("data", "recipe", "libraries", "note")


class Choice(Taken):
    """Which version is to be used."""

    sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{8,64}$")
    """Its SHA-256 or at least eight digits of the beginning; none: what the settings name."""
    why: Sentence = ""
    """One sentence for whoever asks later."""


class WhyBack(Taken):
    """Why the version before is taken again."""

    why: Sentence = ""
    """One sentence for whoever asks later."""


@dataclass(frozen=True, slots=True)
class ClassifierView:
    """The classifier in use; `version` is the SHA-256 of its weights, None for one that has none.

    `card` says what it was trained on and how it was scored. `taken_up`: whether this request brought a new version.
    `chosen` is what operators chose, None where they never did; `problem` why that is not in use in this router.
    """

    router: str
    version: str | None
    tasks: tuple[str, ...]
    card: Mapping[str, object]
    taken_up: bool = False
    chosen: Chosen | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class VersionView:
    """A version on this router's node: whether it is in use, where it comes from, and how it was scored.

    `provenance` holds the hash and counts of its data, its recipe, the versions of the libraries and the note.
    """

    sha256: str | None
    in_use: bool
    folder: str
    provenance: Mapping[str, object]
    scores: Mapping[str, float]
    problem: str | None


@dataclass(frozen=True, slots=True)
class VersionsView:
    """Every version, as this router's node has it, and what operators chose."""

    router: str
    version: str | None
    chosen: Chosen | None
    problem: str
    versions: list[VersionView]


@dataclass(frozen=True, slots=True)
class ClassifierRoutes:
    """The classifier of this router; all routers follow what operators choose, each from its own node's folders."""

    router: str
    kept: Kept
    store: Store
    clock_s: Clock

    def routes(self) -> list[AnyRoute]:
        """Its part of the table."""
        return [
            reading("/classifier", ClassifierView, self.view, Nothing),
            reading("/classifier/versions", VersionsView, self.versions, Nothing),
            changing("POST", "/classifier/reload", ClassifierView, self.reload, Nothing, 409),
            changing("POST", "/classifier/activate", ClassifierView, self.activate, Choice, 409, 412),
            changing("POST", "/classifier/rollback", ClassifierView, self.rollback, WhyBack, 409, 412),
        ]

    async def view(self, asked: Asked[Nothing, Nothing]) -> Said:
        """The version in use, and how it was scored."""
        return Said(self._view())

    async def versions(self, asked: Asked[Nothing, Nothing]) -> Said:
        """Every version there is to choose from, with its provenance."""
        found, kept = await asyncio.to_thread(self.kept.versions), self.kept
        in_use = kept.reloading.version if kept.reloading else None
        rows = [_row(one, in_use) for one in found]
        return Said(VersionsView(self.router, in_use, kept.chosen, kept.problem, rows))

    async def reload(self, asked: Asked[Nothing, Nothing]) -> Said:
        """Look at its folder now; the other routers do within classifier.refresh_s."""
        classifier = self._check_reloads()
        try:
            taken_up = await asyncio.to_thread(classifier.refresh)
        except ArtefactError as error:
            raise Conflict(f"The classifier in use stays: {error}", code="unusable_classifier") from None
        return Said(self._view(taken_up))

    async def activate(self, asked: Asked[Nothing, Choice]) -> Said:
        """Use a version in all routers, without a restart; they follow within two seconds."""
        self._check_reloads()
        sha256 = asked.body.sha256 and await self._whole(asked.body.sha256)
        now = await self.kept.choices.read()
        before = now.sha256 if now else None
        former = (now.former if now else ()) if before == sha256 else (before, *(now.former if now else ()))
        what = f"chose {sha256[:12]}" if sha256 else "chose what the settings name"
        return await self._choose(asked.who, asked.body.why, what, now, sha256, former)

    async def rollback(self, asked: Asked[Nothing, WhyBack]) -> Said:
        """Use the version before again, in all routers."""
        self._check_reloads()
        now = await self.kept.choices.read()
        if now is None or not now.former:
            raise Conflict("There is no version before this one: none was chosen yet.", code="wrong_state")
        back, *former = now.former
        what = f"went back to {back[:12] if back else 'what the settings name'}"
        return await self._choose(asked.who, asked.body.why, what, now, back, tuple(former))

    async def _choose(
        self, who: str, why: str, what: str, now: Chosen | None, sha256: str | None, former: tuple[str | None, ...]
    ) -> Said:
        try:
            # Tried here first: what this router cannot use, the others are not told to.
            await asyncio.to_thread(self.kept.check, sha256)
        except ArtefactError as error:
            raise Conflict(f"The classifier in use stays: {error}.", code="unusable_classifier") from None
        chosen = Chosen((now.number if now else 0) + 1, sha256, who, self.clock_s(), why, former[:FORMER_KEPT])
        if not await self.kept.choices.put(chosen):
            raise Changed("Another operator chose a classifier meanwhile: look again.", code="choice_changed")
        taken_up = await self.kept.look()
        detail = f"{who} {what}" + (f": {why}" if why else "")
        await self.store.emit([Event("classifier_chosen", sha256[:12] if sha256 else "settings", chosen.at_s, detail)])
        return Said(self._view(taken_up))

    async def _whole(self, start: str) -> str:
        """The SHA-256 that begins so, among the versions there are."""
        found = await asyncio.to_thread(self.kept.versions)
        fitting = with_sha256(found, start)
        if len(fitting) == 1:
            return fitting[0]
        known = ", ".join(sha256[:12] for sha256 in with_sha256(found, ""))
        message = f"{len(fitting)} classifiers begin with {start!r}; there are {known}."
        raise NotFound(message, param="sha256", code="unknown_classifier")

    def _check_reloads(self) -> Reloading:
        if self.kept.reloading is None:
            raise Conflict("This classifier comes from no folder: there is nothing to load.", code="wrong_state")
        return self.kept.reloading

    def _view(self, taken_up: bool = False) -> ClassifierView:
        kept, found = self.kept, self.kept.reloading
        version, card = (found.version, found.card) if found else (None, {})
        return ClassifierView(self.router, version, kept.classifier.tasks, card, taken_up, kept.chosen, kept.problem)


def _row(one: Version, in_use: str | None) -> VersionView:
    provenance = {name: one.card[name] for name in PROVENANCE if name in one.card}
    told = one.card.get("scores_on_sources_left_out")
    scores = {name: float(value) for name, value in (told.items() if isinstance(told, dict) else ()) if _number(value)}
    is_it = one.sha256 is not None and one.sha256 == in_use
    return VersionView(one.sha256, is_it, str(one.folder), provenance, scores, one.problem)


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
