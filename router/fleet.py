"""The engines as this router sees them: what they announced, corrected by what it has in flight itself."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from engines.registry import Heartbeat
from policies.words import Pool, Replica
from router.store import Clock


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where an engine listens and the key it wants."""

    url: str
    api_key: str | None


@dataclass(frozen=True, slots=True)
class BatchSeen:
    """A replica's batch averaged over one request's life, that request included."""

    mean_batch: float
    mean_k: float
    mean_max_k: float
    mean_context_tokens: float


@dataclass(slots=True, eq=False)
class Flight:
    """One request on its way through a replica; `_start` holds the replica's running sums when it began."""

    k: int
    context_tokens: float
    _entry: "_Entry"
    _start: "_Sums"


@dataclass(slots=True)
class _Sums:
    """Integrals over time of the batch, its k and its context: their differences give means over any interval."""

    at_s: float = 0.0
    batch: float = 0.0
    total_k: float = 0.0
    max_k: float = 0.0
    context: float = 0.0


@dataclass(slots=True, eq=False)
class _Entry:
    heartbeat: Heartbeat
    pool: Pool
    missing_since_s: float | None = None
    own_when_seen: int = 0
    suspect: bool = False
    flights: list[Flight] = field(default_factory=list)
    sums: _Sums = field(default_factory=_Sums)
    view: Replica | None = None

    def others(self) -> int:
        """Requests that other routers have here, as of the last heartbeat."""
        return max(0, self.heartbeat.running + self.heartbeat.waiting - self.own_when_seen)

    def advance(self, now_s: float) -> None:
        """Bring the integrals up to now, before the batch changes."""
        sums, elapsed_s = self.sums, max(0.0, now_s - self.sums.at_s)
        batch = min(len(self.flights) + self.others(), self.heartbeat.max_running)
        sums.batch += elapsed_s * batch
        sums.total_k += elapsed_s * batch * _mean_k(self.flights)
        sums.max_k += elapsed_s * max((flight.k for flight in self.flights), default=0)
        sums.context += elapsed_s * _mean_context(self.flights)
        sums.at_s = now_s
        self.view = None


class Fleet:
    """Every engine replica known, by model; held as it is while the registry cannot be read."""

    def __init__(self, clock_s: Clock, grace_s: float) -> None:
        """`grace_s`: how long a replica that vanished from the registry is still tried; a wiped Redis loses nobody."""
        self._clock_s = clock_s
        self._grace_s = grace_s
        self._entries: dict[str, _Entry] = {}

    def update(self, heartbeats: Sequence[Heartbeat]) -> None:
        """Take over what the registry holds now."""
        now_s = self._clock_s()
        for heartbeat in heartbeats:
            entry = self._entries.get(heartbeat.replica)
            if entry is None or entry.heartbeat.url != heartbeat.url:
                entry = self._entries[heartbeat.replica] = _entry(heartbeat, now_s)
            elif heartbeat.clock_s != entry.heartbeat.clock_s:
                entry.advance(now_s)
                entry.own_when_seen = len(entry.flights)
                entry.suspect = False
                entry.pool = _pool(heartbeat)
            entry.heartbeat = heartbeat
        self._forget_missing({heartbeat.replica for heartbeat in heartbeats}, now_s)

    def _forget_missing(self, present: Collection[str], now_s: float) -> None:
        """Grace counts from when a replica is first missed: after an outage of Redis the registry fills up anew."""
        for name, entry in list(self._entries.items()):
            if name in present:
                entry.missing_since_s = None
            elif entry.missing_since_s is None:
                entry.missing_since_s = now_s
            elif now_s - entry.missing_since_s > self._grace_s and not entry.flights:
                del self._entries[name]

    def models(self) -> list[str]:
        """Served model names, sorted."""
        return sorted({entry.heartbeat.model for entry in self._entries.values()})

    def heartbeats(self) -> list[Heartbeat]:
        """The last heartbeat of every replica known, by pool and name."""
        beats = (entry.heartbeat for entry in self._entries.values())
        return sorted(beats, key=lambda beat: (beat.pool, beat.replica))

    def serves(self, model: str) -> bool:
        """Whether a replica of the model is known, in whatever state."""
        return any(entry.heartbeat.model == model for entry in self._entries.values())

    def replicas(self, model: str) -> list[Replica]:
        """A model's replicas as the policy sees them now, draining and failing ones marked."""
        return [entry.view or self._viewed(entry) for entry in self._entries.values() if entry.heartbeat.model == model]

    def endpoint(self, replica: str) -> Endpoint:
        """Where to send a request for the replica."""
        heartbeat = self._entries[replica].heartbeat
        return Endpoint(heartbeat.url, heartbeat.api_key)

    def begin(self, replica: str, k: int, context_tokens: float) -> Flight:
        """A request goes out."""
        entry, now_s = self._entries[replica], self._clock_s()
        entry.advance(now_s)
        sums = entry.sums
        start = _Sums(now_s, sums.batch, sums.total_k, sums.max_k, sums.context)
        flight = Flight(k, context_tokens, entry, start)
        entry.flights.append(flight)
        return flight

    def end(self, flight: Flight) -> BatchSeen:
        """The request is over, however it ended; what its batch was like meanwhile."""
        entry, now_s = flight._entry, self._clock_s()
        entry.advance(now_s)
        entry.flights.remove(flight)
        start, sums, life_s = flight._start, entry.sums, now_s - flight._start.at_s
        if life_s <= 0:
            return BatchSeen(1.0, flight.k, flight.k, flight.context_tokens)
        batch = (sums.batch - start.batch) / life_s
        mean_k = (sums.total_k - start.total_k) / life_s / batch if batch > 0 else float(flight.k)
        max_k, context = (sums.max_k - start.max_k) / life_s, (sums.context - start.context) / life_s
        return BatchSeen(max(1.0, batch), mean_k, max_k, context)

    def suspect(self, flight: Flight) -> None:
        """The engine broke off this request: leave it out until it announces itself again."""
        flight._entry.suspect = True
        flight._entry.view = None

    def _viewed(self, entry: _Entry) -> Replica:
        heartbeat, flights = entry.heartbeat, entry.flights
        total = len(flights) + entry.others()
        down = entry.suspect or heartbeat.state == "starting"
        entry.view = Replica(
            name=heartbeat.replica,
            pool=entry.pool,
            running=min(total, heartbeat.max_running),
            waiting=max(total - heartbeat.max_running, min(heartbeat.waiting, total), 0),
            kv_usage=heartbeat.kv_usage,
            max_running=heartbeat.max_running,
            mean_k=_mean_k(flights),
            max_k=max((flight.k for flight in flights), default=0),
            mean_context_tokens=_mean_context(flights),
            state="down" if down else "draining" if heartbeat.state == "draining" else "ready",
            sampled_speculation=heartbeat.sampled_speculation,
            probe=heartbeat.probe,
        )
        return entry.view


def _entry(heartbeat: Heartbeat, now_s: float) -> _Entry:
    return _Entry(heartbeat, _pool(heartbeat), sums=_Sums(at_s=now_s))


def _pool(beat: Heartbeat) -> Pool:
    return Pool(beat.pool, beat.model, beat.target, beat.drafter, beat.method, beat.k_max, beat.max_context_tokens)


def _mean_k(flights: Sequence[Flight]) -> float:
    return sum(flight.k for flight in flights) / len(flights) if flights else 0.0


def _mean_context(flights: Sequence[Flight]) -> float:
    return sum(flight.context_tokens for flight in flights) / len(flights) if flights else 0.0
