"""How a request went."""

from dataclasses import dataclass

from policies.choice import Choice
from policies.quick import quick
from policies.request import Request

MAX_QUEUE_SHARE = 0.1


@quick
@dataclass(frozen=True, slots=True)
class Outcome:
    """How one request went, told to the policy when it ends.

    `drafted[i]` and `accepted[i]` are per verify step that drafted (empty: none did). `told` is False where the
    engine said nothing of its steps: then the answer's time and length count, its acceptance and step time do not.
    `mean_batch`, `mean_k` and `mean_max_k` describe the replica's batch over the request's life, this request included:
    requests, drafts per request and step, largest k. `context_tokens` is the mean context per request of that batch,
    `prefill_tokens` the prompt tokens of the requests that joined it meanwhile, `mean_neighbours` how many engines on
    the same hardware were at work (see `policies.occupancy`).
    `known` is the share of that batch that was the router's own: which k the rest had it can only suppose.
    `queue_s` is the wait for a place in the batch: what waited long says little of the batch that it ended up in.
    `finished` is False for an aborted or failed request: it is counted, its numbers are not used.
    """

    request: Request
    choice: Choice
    output_tokens: int = 0
    generation_s: float = 0.0
    ttft_s: float = 0.0
    drafted: tuple[int, ...] = ()
    accepted: tuple[int, ...] = ()
    mean_batch: float = 1.0
    mean_k: float = 0.0
    mean_max_k: float = 0.0
    context_tokens: float = 0.0
    prefill_tokens: float = 0.0
    finished: bool = True
    queue_s: float = 0.0
    known: float = 1.0
    mean_neighbours: float = 0.0
    told: bool = True

    @property
    def queued(self) -> bool:
        """True where the wait was a good part of the answer's life: averages over that life are not the batch's."""
        return self.queue_s > MAX_QUEUE_SHARE * self.generation_s

    @property
    def timed(self) -> bool:
        """True where its time is that of the batch it was in, and one that an engine can have taken."""
        return self.finished and not self.queued and 1e-6 < self.generation_s < 86_400
