"""How many drafts a verify step accepts: a survival curve, tilted by prompt and by stretch of the output.

Real acceptance runs in streaks and differs between prompts of one task. Both are tilts of the survival curve S(i), the
probability that the first i drafts are all accepted: S'(i) = S(i)·(1 + x·w_i) with E[x] = 0, so the mean over x is S(i)
at every position, and w_i bounded so that S' stays a survival curve (non-increasing, within 0…1) for every x.
"""

from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from operator import mul
from random import Random

from engines.simulator.calibration import TaskProfile

HARD_SHARE = 0.25
"""Share of verify steps in a hard stretch. A hard step has x = -1, an easy one x = HARD_SHARE / (1 - HARD_SHARE)."""

EASY_TILT = HARD_SHARE / (1 - HARD_SHARE)

PROMPT_SKEW = 4.0
"""Prompts have x = 1/(1 + PROMPT_SKEW) - Beta(1, PROMPT_SKEW): most a little above the mean, a few far below it."""

PROMPT_TILT_MAX = 1 / (1 + PROMPT_SKEW)

STREAK_ROOM = 0.6
"""Of the room log(1/h_i) that a tilt may take at each position, the share left to streaks; prompts get the rest."""


@dataclass(frozen=True, slots=True)
class TiltedCurves:
    """Survival S(1…k_max) of one task at one temperature, and the weights of its two tilts."""

    survival: tuple[float, ...]
    streak: tuple[float, ...]
    prompt: tuple[float, ...]

    def tilted(self, streak_x: float, prompt_x: float) -> tuple[float, ...]:
        """S'(1…k_max) of a prompt in a stretch."""
        return tuple(
            s * (1 + streak_x * v) * (1 + prompt_x * w)
            for s, v, w in zip(self.survival, self.streak, self.prompt, strict=True)
        )


@lru_cache(maxsize=1024)
def tilted_curves(profile: TaskProfile, temperature: float, k_max: int, scale: float = 1.0) -> TiltedCurves:
    """The curves of `profile` at `temperature`; `scale` multiplies every h_i, for drift on demand."""
    h = tuple(profile.h_at(position, temperature, scale) for position in range(1, k_max + 1))
    return TiltedCurves(
        survival=tuple(accumulate(h, mul)),
        streak=_weights(h, profile.streak, EASY_TILT, STREAK_ROOM),
        prompt=_weights(h, profile.prompt_spread, PROMPT_TILT_MAX, 1 - STREAK_ROOM),
    )


def _weights(h: tuple[float, ...], strength: float, largest_x: float, room: float) -> tuple[float, ...]:
    """w_i = 1 - (1 - strength)^i, held back to where 1 + largest_x·w_i grows no faster than h_i^(-room)."""
    weights: list[float] = []
    before = 0.0
    for position, h_i in enumerate(h, start=1):
        wanted = 1 - (1 - strength) ** position
        allowed = ((1 + largest_x * before) * h_i**-room - 1) / largest_x if h_i else wanted
        before = min(wanted, allowed)
        weights.append(before)
    return tuple(weights)


class Luck:
    """The acceptance of one request, step by step: a two-state Markov chain over its verify steps."""

    __slots__ = ("_curves", "_hard", "_leave_easy", "_leave_hard", "_proposal_rate", "_random")

    def __init__(self, profile: TaskProfile, curves: TiltedCurves, random: Random) -> None:
        prompt_x = PROMPT_TILT_MAX - random.betavariate(1, PROMPT_SKEW)
        self._curves = (curves.tilted(EASY_TILT, prompt_x), curves.tilted(-1.0, prompt_x))
        self._hard = random.random() < HARD_SHARE
        self._leave_hard = 1 / profile.streak_steps
        self._leave_easy = min(1.0, EASY_TILT / profile.streak_steps)
        self._proposal_rate = profile.proposal_rate
        self._random = random.random

    def proposes(self) -> bool:
        """Whether the drafter has anything to propose in this step."""
        return self._proposal_rate >= 1 or self._random() < self._proposal_rate

    def accepted(self, k: int) -> int:
        """Drafts accepted of `k`; one uniform decides, so a larger k accepts at least as many with the same luck."""
        survival = self._curves[self._hard]
        uniform, accepted = self._random(), 0
        while accepted < k and uniform < survival[accepted]:
            accepted += 1
        self._hard ^= self._random() < (self._leave_hard if self._hard else self._leave_easy)
        return accepted
