"""What a version must reach to take the place of another: the scores on that one's card."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from classifiers.scoring import Score

LEAVE = 0.005
"""A score may fall by so much: what an unlucky feature more or less moves it by."""

_HIGHER_IS_BETTER = {"macro_f1_tasks": True, "macro_f1_with_other": True, "ece": False}


def card_of(folder: Path) -> Mapping[str, object]:
    """The card in the folder, of whatever format; empty where none can be read."""
    try:
        card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return card if isinstance(card, dict) else {}


def fallen(score: Score, card: Mapping[str, object]) -> Sequence[str]:
    """The scores that are worse than on the card of the version before, each with both figures; none for no card."""
    before = card.get("scores_on_sources_left_out")
    if not isinstance(before, Mapping):
        return ()
    now = asdict(score)
    return [
        f"{name} is {now[name]:.3f}, was {then:.3f}"
        for name, higher in _HIGHER_IS_BETTER.items()
        if isinstance(then := before.get(name), int | float) and _worse(now[name], float(then), higher=higher)
    ]


def _worse(now: float, then: float, *, higher: bool) -> bool:
    return (then - now if higher else now - then) > LEAVE
