"""What one router can know of a replica's batch: heartbeats, and its own requests since; averaged over each request's
life."""

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from policies.quick import quick
from policies.replica import Replica


@quick
@dataclass(frozen=True, slots=True)
class Ticket:
    """One request inside a replica: what it asked for, and the running sums at the moment it entered."""

    k: int
    context_tokens: float
    entered_s: float
    sums: tuple[float, ...]
    prefilled: float


@quick
@dataclass(frozen=True, slots=True)
class Batch:
    """The batch a request was in, averaged over its life and including itself (fields as in `Outcome`)."""

    mean_batch: float
    mean_k: float
    mean_max_k: float
    context_tokens: float
    prefill_tokens: float
    known: float = 1.0
    """The share of it that was ours."""

    mean_neighbours: float = 0.0
    """How many of the engines beside it were at work."""


@dataclass(slots=True)
class Usual:
    """Which k this router's requests to a pool have had lately: those of other routers are taken to be alike.

    With many routers a replica's batch holds few requests of each, or none; a batch of which nothing is known is not
    one that drafts nothing.
    """

    ks: dict[int, float] = field(default_factory=dict)
    context: float = 0.0
    total: float = 0.0

    def note(self, k: int, context_tokens: float) -> None:
        """One more request; the last `MEMORY` or so count."""
        keep = 1 - 1 / MEMORY
        for known in self.ks:
            self.ks[known] *= keep
        self.ks[k] = self.ks.get(k, 0.0) + 1
        self.context = self.context * keep + context_tokens
        self.total = self.total * keep + 1


MEMORY = 100.0


@quick
@dataclass(frozen=True, slots=True)
class Mix:
    """The requests of a batch by k, ours and what others' are taken to be."""

    ks: Mapping[int, float]
    mean_k: float
    max_k: int
    mean_context: float


@dataclass(slots=True)
class Occupancy:
    """One replica as one router sees it; `inside` counts the running and the waiting, of whom `max_running` run.

    Heartbeats tell how many requests are there; which k they have is known for our own only: `own` counts these by k,
    `mine` all of them. `usual` is shared by the replicas of a pool, `beside` are the engines on the same hardware.
    """

    max_running: int = 256
    usual: Usual = field(default_factory=Usual)
    inside: float = 0.0
    kv_usage: float = 0.0
    own: Counter[int] = field(default_factory=Counter)
    mine: int = 0
    drafts: float = 0.0
    context: float = 0.0
    prefilled: float = 0.0
    standing: deque[float] = field(default_factory=deque)
    at_s: float = 0.0
    sums: list[float] = field(default_factory=lambda: [0.0] * 6)
    beside: "list[Occupancy]" = field(default_factory=list)

    def beat(self, running: int, waiting: int, kv_usage: float, now_s: float) -> None:
        """Take what the replica says of itself; it knows of other routers' requests."""
        self._advance(now_s)
        self.inside, self.kv_usage = float(max(running, 0) + max(waiting, 0)), kv_usage
        self._admit()

    def enter(self, k: int, prompt_tokens: float, context_tokens: float, now_s: float) -> Ticket:
        """A request of ours starts there; other routers' prefills are taken to be as frequent as ours."""
        self._advance(now_s)
        self.inside += 1
        self.standing.append(prompt_tokens * self.inside / (self.mine + 1))
        self._admit()
        self.own[k] += 1
        self.mine += 1
        self.usual.note(k, context_tokens)
        self.drafts += k
        self.context += context_tokens
        return Ticket(k, context_tokens, now_s, tuple(self.sums), self.prefilled)

    def leave(self, ticket: Ticket, now_s: float) -> Batch:
        """A request of ours ends there: the batch it was in."""
        self._advance(now_s)
        batch = self._batch(ticket, now_s)
        self.inside = max(0.0, self.inside - 1)
        self._admit()
        self.own[ticket.k] -= 1
        if self.own[ticket.k] <= 0:
            del self.own[ticket.k]
        self.mine -= 1
        self.drafts -= ticket.k
        self.context -= ticket.context_tokens
        return batch

    def seen(self, replica: Replica) -> Replica:
        """The replica with its load now."""
        mine = self.mine
        inside = round(max(self.inside, mine))
        mix = self._mix()
        return replace(
            replica,
            running=min(inside, self.max_running),
            waiting=max(0, inside - self.max_running),
            kv_usage=self.kv_usage,
            mean_k=mix.mean_k,
            max_k=mix.max_k,
            k_shares=k_shares(mix.ks, replica.pool.k_max),
            mean_context_tokens=mix.mean_context,
            own=mine / inside if inside else 1.0,
            neighbours=self._neighbours(),
            neighbours_running=sum([other._running() for other in self.beside]),
        )

    def _running(self) -> int:
        return min(round(max(self.inside, self.mine)), self.max_running)

    def _neighbours(self) -> int:
        return sum([other._running() > 0 for other in self.beside])

    def _known(self) -> float:
        """The share of the batch that is ours, and therefore known."""
        mine = self.mine
        return mine / max(self.inside, mine) if mine else 0.0

    def _mix(self) -> Mix:
        mine, usual = self.mine, self.usual
        others = max(0.0, self.inside - mine)
        if not usual.total or others < 0.5:
            ks: Mapping[int, float] = self.own
            return Mix(ks, self.drafts / mine, max(ks), self.context / mine) if mine else Mix(ks, 0.0, 0, 0.0)
        each = others / usual.total
        ks = {k: count * each for k, count in usual.ks.items()}
        for k, count in self.own.items():
            ks[k] = ks.get(k, 0.0) + count
        total = others + mine
        drafts = sum(k * count for k, count in ks.items())
        return Mix(ks, drafts / total, largest(ks), (self.context + usual.context * each) / total)

    def _admit(self) -> None:
        """Prefill whoever has a place: a queue that grows would otherwise pass for prefills that made steps cheap."""
        waiting = max(0.0, self.inside - self.max_running)
        while len(self.standing) > waiting:
            self.prefilled += self.standing.popleft()

    def _advance(self, now_s: float) -> None:
        """Something changes here now: what was true until now is added up, here and beside."""
        self.pause(now_s)
        for other in self.beside:
            other.pause(now_s)

    def pause(self, now_s: float) -> None:
        """Add up what was true until now."""
        elapsed = now_s - self.at_s
        self.at_s = now_s
        if elapsed <= 0:
            return
        mix = self._mix()
        batch = min(max(self.inside, self.mine, 1), self.max_running)
        values = (batch, mix.mean_k, mix.max_k, mix.mean_context, self._known(), self._neighbours())
        for i, value in enumerate(values):
            self.sums[i] += value * elapsed

    def _batch(self, ticket: Ticket, now_s: float) -> Batch:
        elapsed = now_s - ticket.entered_s
        if elapsed <= 0:
            return Batch(max(1.0, min(self.inside, self.max_running)), ticket.k, ticket.k, ticket.context_tokens, 0.0)
        means = [(now - then) / elapsed for now, then in zip(self.sums, ticket.sums, strict=True)]
        joined = self.prefilled - ticket.prefilled
        return Batch(max(1.0, means[0]), means[1], max(means[2], means[1]), means[3], joined, means[4], means[5])


def largest(ks: Mapping[int, float]) -> int:
    """The largest k that more likely than not somebody has; counts below one are expectations."""
    above = 0.0
    for k in sorted(ks, reverse=True):
        above += ks[k]
        if above >= 0.5:
            return k
    return 0


def k_shares(ks: Mapping[int, float], k_max: int) -> tuple[float, ...]:
    """Σ_{j≤k} 1 / (1 + n_j), k = 0 … k_max, n_j the running requests with k ≥ j.

    A batch drafts as often as its largest k. Charging that to whoever raises it lets everyone else ride for free, so
    a large k once chosen stays; the Shapley value of the maximum shares pass j among all who use it (the airport
    game).
    """
    shares, above = [0.0], sum(count for k, count in ks.items() if k > 0)
    for j in range(1, k_max + 1):
        shares.append(shares[-1] + 1 / (1 + above))
        above -= ks.get(j, 0)
    return tuple(shares)
