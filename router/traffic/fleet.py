"""The engines as this router sees them: what they announced, corrected by what it has in flight itself."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from engines.registry import Heartbeat, Sampling
from policies.choice import Choice
from policies.occupancy import Batch, Occupancy, Ticket, Usual
from policies.quick import quick
from policies.replica import Pool, Replica
from policies.request import Request
from router.state.marks import Mark
from router.state.store import Clock
from router.traffic.breaker import Breaker, Circuit, Tolerance


@quick
@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where an engine listens, the key it wants, and the breaker that hears how it answers."""

    url: str
    api_key: str | None
    breaker: Breaker = field(default_factory=Breaker)


@dataclass(frozen=True, slots=True)
class Suspect:
    """A replica that is due for a probe: its breaker is open, or it may hang."""

    name: str
    pool: str
    model: str
    endpoint: Endpoint


@dataclass(slots=True, eq=False)
class Flight:
    """One request on its way through a replica, whose breaker hears how it ends."""

    ticket: Ticket
    breaker: Breaker
    _entry: "_Entry"


@dataclass(slots=True, eq=False)
class _Entry:
    """`bare` is the replica as announced, `view` the same with its load, built when it is next asked for after anything
    changed."""

    heartbeat: Heartbeat
    occupancy: Occupancy
    breaker: Breaker
    bare: Replica
    missing_since_s: float | None = None
    beside: "list[_Entry]" = field(default_factory=list)
    view: Replica | None = None
    awake: Replica | None = None

    def beat(self, heartbeat: Heartbeat, now_s: float) -> None:
        """Take what the replica says of itself now."""
        self.heartbeat, self.bare, self.awake = heartbeat, _announced(heartbeat), None
        self.changed()
        self.occupancy.max_running = heartbeat.max_running
        self.occupancy.beat(heartbeat.running, heartbeat.waiting, heartbeat.kv_usage, now_s)

    def changed(self) -> None:
        """Its load is another, and so is what those beside it have beside them."""
        self.view = None
        for other in self.beside:
            other.view = None


UNSAID = Sampling()
"""How engines of which nothing is known sample: vLLM's way."""

ALL_MISSING_GRACES = 10
"""Graces for which replicas are kept that a model's last ones vanished with: engines seldom end all at once, a machine
too busy to announce them in time is common, and a connection tells which it is."""


class Fleet:
    """Every engine replica known, by model; held as it is while the registry cannot be read."""

    def __init__(
        self, clock_s: Clock, grace_s: float, tolerance: Tolerance, sleepers: Collection[str] = frozenset()
    ) -> None:
        """`grace_s`: how long a replica that vanished from the registry is still tried; a wiped Redis loses nobody.

        `clock_s` only measures how long things last, so it must not be one that is set, back or forth; breakers go by
        it. `tolerance` is that of each replica's breaker, `sleepers` are the pools that may have no replica.
        """
        self._sleepers = sleepers
        self.clock_s = clock_s
        self._grace_s = grace_s
        self._tolerance = tolerance
        self._entries: dict[str, _Entry] = {}
        self._hardware: dict[_Entry, str | None] = {}
        self._usual: dict[str, Usual] = {}
        self.marks: Mapping[str, Mark] = {}
        """What operators say of replicas: nothing that a replica says of itself outweighs it."""

    def update(self, heartbeats: Sequence[Heartbeat], *, complete: bool = True) -> None:
        """Take over what the registry holds now; unless `complete`, others may be there that were not heard."""
        now_s = self.clock_s()
        # Words of pools that are no longer, or may no longer sleep, stay for weeks.
        heartbeats = [beat for beat in heartbeats if beat.state != "asleep" or beat.pool in self._sleepers]
        for heartbeat in heartbeats:
            entry = self._entries.get(heartbeat.replica)
            if entry is None or entry.heartbeat.url != heartbeat.url:
                usual = self._usual.setdefault(heartbeat.pool, Usual())
                occupancy, breaker = Occupancy(usual=usual, at_s=now_s), Breaker(self._tolerance)
                entry = _Entry(heartbeat, occupancy, breaker, _announced(heartbeat))
                self._entries[heartbeat.replica] = entry
                entry.beat(heartbeat, now_s)
            elif heartbeat.clock_s != entry.heartbeat.clock_s:
                entry.beat(heartbeat, now_s)
        if complete:
            self._forget_missing({heartbeat.replica for heartbeat in heartbeats}, now_s)
        self._group(now_s)

    def _group(self, now_s: float) -> None:
        """Tell engines on the same hardware of each other, where any came, went or moved."""
        hardware = {entry: entry.heartbeat.hardware for entry in self._entries.values()}
        if hardware == self._hardware:
            return
        self._hardware = hardware
        for entry, own in hardware.items():
            entry.occupancy.pause(now_s)
            entry.beside = [other for other, its in hardware.items() if own and its == own and other is not entry]
            entry.occupancy.beside = [other.occupancy for other in entry.beside]
            entry.view = None

    def _forget_missing(self, present: Collection[str], now_s: float) -> None:
        """Grace counts from when a replica is first missed: after an outage of Redis the registry fills up anew.

        What a sleeping pool was like is kept until it wakes, whether the registry lost it or not.
        """
        awake = [entry.heartbeat for entry in self._entries.values() if entry.heartbeat.state != "asleep"]
        heard, pools = {beat.model for beat in awake if beat.replica in present}, {beat.pool for beat in awake}
        for name, entry in list(self._entries.items()):
            grace_s = self._grace_s * (1 if entry.heartbeat.model in heard else ALL_MISSING_GRACES)
            if name in present or (entry.heartbeat.state == "asleep" and entry.heartbeat.pool not in pools):
                entry.missing_since_s = None
            elif entry.missing_since_s is None:
                entry.missing_since_s = now_s
            elif now_s - entry.missing_since_s > grace_s and not entry.occupancy.own:
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
        return any(_serves(entry.heartbeat, model) for entry in self._entries.values())

    def sampling(self, model: str) -> Sampling:
        """How the model's engines sample where a request does not say; vLLM's way where none is known."""
        known = (entry.heartbeat.sampling for entry in self._entries.values() if _serves(entry.heartbeat, model))
        return next(known, UNSAID)

    def replicas(self, model: str) -> list[Replica]:
        """A model's replicas as the policy sees them now, draining and failing ones marked."""
        return self._marked(_under(_viewed(entry), model) for entry in self._serving(model))

    def candidates(self, model: str) -> list[Replica]:
        """The same for whom a request may go to: where none is ready, those that only could not be connected to are.

        All of them at once may mean that this router was too busy to connect. Where it does not, a refused connection
        costs the client no more than a refusal would.
        """
        seen = self.replicas(model)
        if any(one.state == "ready" for one in seen):
            return seen
        return self._marked(_under(_viewed(entry, resort=True), model) for entry in self._serving(model))

    def _serving(self, model: str) -> list["_Entry"]:
        return [entry for entry in self._entries.values() if _serves(entry.heartbeat, model)]

    def _marked(self, replicas: Iterable[Replica]) -> list[Replica]:
        seen = list(replicas)
        return under_marks(seen, self.marks) if self.marks else seen

    def knows(self, pool: str) -> bool:
        """Whether anything is known of the pool, be it that it sleeps."""
        return any(entry.heartbeat.pool == pool for entry in self._entries.values())

    def asleep(self, model: str) -> list[Replica]:
        """What the model's sleeping pools would be if they were awake: one idle replica each."""
        if not self._sleepers:
            return []
        found: dict[str, _Entry] = {}
        for entry in self._entries.values():
            if entry.heartbeat.pool in self._sleepers and _serves(entry.heartbeat, model):
                known = found.setdefault(entry.heartbeat.pool, entry)
                if _later(entry.heartbeat, known.heartbeat):
                    found[entry.heartbeat.pool] = entry
        return [_under(_awake(entry), model) for entry in found.values() if entry.heartbeat.state == "asleep"]

    def endpoint(self, replica: str) -> Endpoint:
        """Where to send a request for the replica."""
        return _endpoint(self._entries[replica])

    def suspects(self) -> list[Suspect]:
        """Replicas that a probe should try now."""
        now_s = self.clock_s()
        return [
            Suspect(name, entry.heartbeat.pool, entry.heartbeat.model, _endpoint(entry))
            for name, entry in self._entries.items()
            if entry.breaker.due(now_s)
        ]

    def takes(self, pool: str) -> bool:
        """Whether a request for the pool's model may go there now, if there is room."""
        models = {entry.heartbeat.model for entry in self._entries.values() if entry.heartbeat.pool == pool}
        seen = (one for model in models for one in self.candidates(model))
        return any(one.state == "ready" and one.pool.name == pool for one in seen)

    def has_room(self, pool: str, concurrency: float) -> bool:
        """Whether one more request may go in."""
        return self.room(pool, concurrency) > 0

    def room(self, pool: str, concurrency: float) -> float:
        """How many more requests may go in: ready replicas hold as many as they run at a time, times `concurrency`.

        Where none is ready those count that only could not be connected to: see `candidates`.
        """
        entries = [entry for entry in self._entries.values() if entry.heartbeat.pool == pool]
        inside, places = _held(self._marked(map(_viewed, entries)))
        if not places:
            inside, places = _held(self._marked(_viewed(entry, resort=True) for entry in entries))
        return max(0.0, concurrency * places - inside)

    def begin(self, choice: Choice, request: Request) -> Flight:
        """A request goes out; its context grows to prompt and answer, so that half the answer is its mean."""
        entry = self._entries[choice.replica]
        context_tokens = request.prompt_tokens + choice.expected_output_tokens / 2
        ticket = entry.occupancy.enter(choice.k, request.prompt_tokens, context_tokens, self.clock_s())
        entry.changed()
        return Flight(ticket, entry.breaker, entry)

    def end(self, flight: Flight) -> Batch:
        """The request is over, however it ended; what its batch was like meanwhile."""
        flight._entry.changed()
        return flight._entry.occupancy.leave(flight.ticket, self.clock_s())

    def circuits(self) -> list[tuple[str, str, Circuit]]:
        """Pool, replica and breaker of every replica known."""
        now_s = self.clock_s()
        entries = self._entries.items()
        return [(entry.heartbeat.pool, name, entry.breaker.circuit(now_s)) for name, entry in entries]

    def states(self) -> list[tuple[str, str]]:
        """Pool and state of every replica: what it announced, or the mark for which a ready one gets no requests."""
        models = {beat.model for beat in self.heartbeats()} if self.marks else set()
        out = {one.name for model in models for one in self.replicas(model) if one.state == "draining"}
        return [
            (beat.pool, MARKED[self.marks[beat.replica].kind])
            if beat.state == "ready" and beat.replica in out and beat.replica in self.marks
            else (beat.pool, beat.state)
            for beat in self.heartbeats()
        ]


MARKED = {"drain": "drained", "cordon": "cordoned"}


def under_marks(replicas: Sequence[Replica], marks: Mapping[str, Mark]) -> list[Replica]:
    """A model's replicas as marks leave them: drained ones take nothing, cordoned ones only where no other can."""
    kinds = {one.name: marks[one.name].kind for one in replicas if one.name in marks and one.state == "ready"}
    spare = any(one.state == "ready" and one.name not in kinds for one in replicas)
    out = {name for name, kind in kinds.items() if spare or kind == "drain"}
    return [replace(one, state="draining") if one.name in out else one for one in replicas]


def _later(one: Heartbeat, other: Heartbeat) -> bool:
    """Whether one says more of its pool than the other: any replica than one that sleeps, a later one than an older."""
    return (one.state != "asleep", one.clock_s) > (other.state != "asleep", other.clock_s)


def _awake(entry: _Entry) -> Replica:
    if entry.awake is None:
        entry.awake = replace(entry.bare, state="ready")
    return entry.awake


def _serves(beat: Heartbeat, model: str) -> bool:
    return beat.model == model or model in beat.loras


def _under(replica: Replica, model: str) -> Replica:
    """The replica as the server of a model; a LoRA adapter is another target, with its own acceptance."""
    pool = replica.pool
    if pool.model == model:
        return replica
    return replace(replica, pool=replace(pool, model=model, target=f"{pool.target}+{model}"))


def _held(replicas: Iterable[Replica]) -> tuple[int, int]:
    """Requests inside the ready ones, and how many these run at a time."""
    inside, places = 0, 0
    for seen in replicas:
        if seen.state == "ready":
            inside, places = inside + seen.running + seen.waiting, places + seen.max_running
    return inside, places


def _viewed(entry: _Entry, *, resort: bool = False) -> Replica:
    """The replica with its load; down while its breaker is open, or (`resort`) open for more than a connection."""
    if entry.view is None:
        entry.view = entry.occupancy.seen(entry.bare)
    taken = entry.breaker.well or (resort and entry.breaker.unconnected)
    return entry.view if taken else replace(entry.view, state="down")


def _endpoint(entry: _Entry) -> Endpoint:
    return Endpoint(entry.heartbeat.url, entry.heartbeat.api_key, entry.breaker)


def _announced(beat: Heartbeat) -> Replica:
    return Replica(
        name=beat.replica,
        pool=Pool(
            beat.pool, beat.model, beat.target_id, beat.drafter_id, beat.method, beat.k_max, beat.max_context_tokens
        ),
        max_running=beat.max_running,
        state="down" if beat.state == "starting" else beat.state,
        sampled_speculation=beat.sampled_speculation,
        probe=beat.probe,
    )
