"""Which method suits a target: a decision tree over what is at hand, and what was measured of each branch."""

from collections.abc import Iterator
from dataclasses import dataclass

from policies.formulas import best_k

ALPHAS = (0.5, 0.7, 0.8, 0.9)
LARGEST_K = 8


@dataclass(frozen=True, slots=True)
class Situation:
    """What is at hand: layers for multi-token prediction in the target, a small model of its family, the will to train
    a head, outputs that repeat their prompts or each other (edits, summaries with quotes, forms)."""

    mtp_layers: int = 0
    sibling: bool = False
    training: bool = False
    repetitive: bool = False


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A method worth trying, best first; `measured` is what it gained where somebody measured it."""

    method: str
    why: str
    measured: str


NGRAM = (
    "Llama-3.1-8B on an H100 (public): 2.44x at one request on code edits, 1.14-1.30x on chat, summaries and maths; "
    ".72-.86x at 128 requests"
)
EAGLE = (
    "Llama-3.1-8B on an H100 (public, k = 4): 1.77-1.95x at one request, 1.30-1.42x at 64, .92-1.15x at 256; "
    "a draft takes 2.1 ms where a target step takes 7.1"
)
DRAFT = (
    "this project's demo pair, k = 4: 2.61 tokens per step over all tasks, 1.01-4.61 by task "
    "(docs/choosing-a-drafter.md); what that saves depends on what a draft costs"
)


def suggestions(at_hand: Situation) -> Iterator[Suggestion]:
    """The branches of the tree that hold, best first; the last needs nothing."""
    if at_hand.repetitive:
        yield Suggestion("ngram", "outputs repeat what was read: looking it up costs no memory and no model", NGRAM)
        yield Suggestion("suffix", "the same over earlier outputs too; needs arctic-inference", "not measured here")
    if at_hand.mtp_layers:
        layers = f"the target brings {at_hand.mtp_layers} layer(s) for it: trained with it, never stale"
        yield Suggestion("mtp", layers, "not measured here: no such checkpoint fits a CPU")
    if at_hand.training:
        yield Suggestion("eagle3", "a head trained on the target's own outputs accepts most per cost", EAGLE)
        yield Suggestion(
            "medusa", "cheaper to train, drafts in one pass, accepts less; vLLM 0.33 drops it", "path only"
        )
    if at_hand.sibling:
        yield Suggestion("draft_model", "a small model of the same family exists: no training", DRAFT)
    if not at_hand.repetitive:
        why = "costs no memory: a speculative pool of it beside the others loses nothing on tasks it does not suit"
        yield Suggestion("ngram", why, NGRAM)


@dataclass(frozen=True, slots=True)
class Payoff:
    """At a per-token acceptance α: the best k at low load and its speed-up (k = 0: none pays)."""

    alpha: float
    k: int
    speedup: float


def payoffs(cost: float) -> tuple[Payoff, ...]:
    """What a drafter of relative step cost `cost` gains where steps are bound by memory: one request at a time."""
    found = ((alpha, best_k([alpha**i for i in range(1, LARGEST_K + 1)], cost)) for alpha in ALPHAS)
    return tuple(Payoff(alpha, best.k, best.speedup) for alpha, best in found)
