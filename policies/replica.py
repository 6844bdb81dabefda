"""Pools and their replicas, with their load now."""

from dataclasses import dataclass
from typing import Literal

from policies.quick import quick

State = Literal["ready", "draining", "down", "asleep"]


@dataclass(frozen=True, slots=True)
class StepTime:
    """One measured point of a replica's step time: `batch` requests, each with `k` drafts."""

    batch: int
    k: int
    step_ms: float


LOOKUP_METHODS = frozenset({"ngram", "ngram_gpu", "suffix"})


@dataclass(frozen=True, slots=True)
class Pool:
    """Replicas with the same target and drafter; `k_max` = 0 is a vanilla pool. `target` and `drafter` carry their
    revision."""

    name: str
    model: str
    target: str
    drafter: str | None = None
    method: str | None = None
    k_max: int = 0
    max_context_tokens: int | None = None

    @property
    def drafter_id(self) -> str:
        """What acceptance is kept by: the drafter, or the method where nothing is loaded (n-gram).

        An ensemble's drafts are not its drafter's alone: it has a name of its own.
        """
        if self.drafter and self.method == "ensemble":
            return f"{self.drafter}+ensemble"
        return self.drafter or self.method or "none"

    @property
    def lookup(self) -> bool:
        """True where drafts are looked up in texts: to find a match is one thing, that it lasts another."""
        return self.method in LOOKUP_METHODS or (self.method == "ensemble" and not self.drafter)


@quick
@dataclass(frozen=True, slots=True)
class Replica:
    """One engine and its load now: `mean_k` over its running requests, `max_k` the largest of them, `kv_usage` 0–1.

    `k_shares[k]` is what one more request at k would owe of the batch's drafting passes, in passes (see
    `policies.occupancy`); empty where the k of the running requests are not known.

    `own` is the share of its requests that are of the router that asks. `neighbours` counts the other engines at work
    on the hardware it shares, `neighbours_running` their requests.
    `sampled_speculation` is False where speculation corrupts sampled output: it gets k = 0 above temperature 0.
    """

    name: str
    pool: Pool
    running: int = 0
    waiting: int = 0
    kv_usage: float = 0.0
    max_running: int = 256
    mean_k: float = 0.0
    max_k: int = 0
    k_shares: tuple[float, ...] = ()
    mean_context_tokens: float = 0.0
    state: State = "ready"
    sampled_speculation: bool = True
    probe: tuple[StepTime, ...] = ()
    own: float = 1.0
    neighbours: int = 0
    neighbours_running: int = 0
