"""A router's local copy of the shared records, and what is derived from them, cached until they change."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from policies import cost, estimator, inheritance
from policies.cells import load_of
from policies.choice import Choice, Habit, Load
from policies.cost import Probe, StepModel
from policies.document import Document, TaskEntry
from policies.estimator import Curve
from policies.evidence import HALF_LIFE_S
from policies.families import Family, Shift
from policies.formulas import expit, logit
from policies.keys import Key, decode_key
from policies.priors import FADE, OUTPUT_TOKENS, acceptance_prior
from policies.quick import quick
from policies.records import EMPTY, Delta, Record, apply, decay, flaw
from policies.replica import Pool, Replica, StepTime
from policies.request import Bucket, Request, Shape, bucket_of
from policies.task import OTHER

REFIT_S = 0.5
MAX_SLOTS = 20_000
GONE_S = 3600.0
"""A replica that no decision looked at for so long is gone: its step times no longer tell of its pool's."""
LENGTH_WEIGHT = 4.0

TOLD = "+told"
"""Field of an acceptance record that counts its answers, forgotten at an alarm only."""

LEAST_KNOWN = 0.01

Leaf = tuple[str, str, str, str, Bucket, Shape]
TrafficClass = tuple[str, str, str, Bucket, Shape]


@dataclass(slots=True)
class _CurveSlot:
    key: str
    record: Record
    shift: Shift
    curve: Curve


@dataclass(slots=True)
class _ModelSlot:
    keys: tuple[str, ...]
    pool: str
    points: tuple[StepTime, ...]
    probe: Probe
    model: StepModel
    built_s: float
    asked_s: float


@quick
@dataclass(frozen=True, slots=True)
class _LoadSlot:
    replica: Replica
    model: StepModel
    harm: float
    load: Load


@dataclass(slots=True)
class Knowledge:
    """Records as last read or merged, caches over them, and this router's own habits.

    `install` takes what was read from the store, `absorb` applies a delta of our own at once, before it was flushed.
    `ignored` counts everything that was not believed, by reason.
    """

    document: Document = field(default_factory=Document)
    records: dict[str, Record] = field(default_factory=dict)
    habits: dict[TrafficClass, Habit] = field(default_factory=dict)
    ignored: Counter[str] = field(default_factory=Counter)
    _curves: dict[tuple[Leaf, int], _CurveSlot] = field(default_factory=dict)
    _models: dict[str, _ModelSlot] = field(default_factory=dict)
    _loads: dict[str, _LoadSlot] = field(default_factory=dict)
    _families: dict[tuple[str, str], Family] = field(default_factory=dict)
    _keys: dict[str, Key] = field(default_factory=dict)
    _changed: dict[str, None] = field(default_factory=dict)
    _own: dict[str, float] = field(default_factory=dict)
    """Answers that this router taught an acceptance record since it was last read."""
    _others: dict[str, float] = field(default_factory=dict)
    """Answers that other routers taught it between the last two times that it was read."""

    def adopt(self, document: Document) -> None:
        """Go by another document; beliefs that rest on its priors are formed anew."""
        self.document = document
        self._curves.clear()
        for family in self._families.values():
            family.renew()

    def install(self, records: Mapping[str, Record], now_s: float) -> None:
        """Replace records by what the store holds; ones that cannot be believed are ignored and counted."""
        for key, record in records.items():
            why = flaw(record, now_s)
            if why is None:
                self._heard(key, record)
                self._replace(key, record)
            else:
                self.ignored[f"record_{why}"] += 1

    def absorb(self, deltas: Iterable[Delta], now_s: float) -> None:
        """Apply our own deltas to the local copy."""
        for delta in deltas:
            self._replace(delta.key, apply(self.records.get(delta.key, EMPTY), delta, now_s))
            if TOLD in delta.add:
                self._own[delta.key] = self._own.get(delta.key, 0.0) + delta.add[TOLD]
        self._refit(now_s)

    def forget(self, keys: Iterable[str]) -> None:
        """Drop records that the store no longer holds: nobody added to them for so long that they expired."""
        for key in keys:
            self._replace(key, EMPTY)
            for held in (self.records, self._keys, self._own, self._others):
                held.pop(key, None)

    def record(self, key: str) -> Record:
        """The record of a key, empty where nothing is known."""
        return self.records.get(key, EMPTY)

    def curve(self, request: Request, pool: Pool, now_s: float) -> Curve:
        """The belief about this request's acceptance by the pool's drafter."""
        return self._slot(request, pool, now_s).curve

    def acceptance_key(self, request: Request, pool: Pool, now_s: float) -> str:
        """The record key of this request's acceptance by the pool's drafter."""
        return self._slot(request, pool, now_s).key

    def beside(self, key: str, known: float) -> float:
        """How many answers other routers hold against the same belief, supposed before they have heard of each other.

        `known` is the share of the traffic that is this router's own.
        """
        supposed = (self._own.get(key, 0.0) + 1) * (1 / max(known, LEAST_KNOWN) - 1)
        return min(supposed, self._others.get(key, supposed))

    def _heard(self, key: str, record: Record) -> None:
        """Count what others taught a record since it was last read."""
        if TOLD not in record.fields:
            return
        if key in self.records:
            before = self.records[key]
            counted = before.fields.get(TOLD, 0.0) if before.epoch == record.epoch else 0.0
            self._others[key] = max(0.0, record.fields[TOLD] - counted)
        self._own.pop(key, None)

    def step_model(self, replica: Replica, now_s: float) -> StepModel:
        """The fitted step time of a replica; refitted off the request path, by `absorb`."""
        slot = self._models.get(replica.name)
        if slot is None or slot.points is not replica.probe:
            slot = self._new_model(replica, slot, now_s)
        slot.asked_s = now_s
        return slot.model

    def load(self, replica: Replica, harm: float, now_s: float) -> Load:
        """What the replica's batch makes of one more request; kept while replica and model are the same objects."""
        slot, model = self._loads.get(replica.name), self.step_model(replica, now_s)
        if slot is None or slot.replica is not replica or slot.model is not model or slot.harm != harm:
            if len(self._loads) > MAX_SLOTS:
                self._loads.clear()
            slot = _LoadSlot(replica, model, harm, load_of(replica, model, harm, replica.pool.k_max))
            self._loads[replica.name] = slot
        return slot.load

    def _new_model(self, replica: Replica, old: _ModelSlot | None, now_s: float) -> _ModelSlot:
        if old is not None and old.points == replica.probe:
            old.points = replica.probe
            return old
        for name in [name for name, other in self._models.items() if now_s - other.asked_s > GONE_S]:
            del self._models[name]
        keys, probe = cost.record_keys(replica.pool.name, replica.name), cost.solve_probe(replica.probe)
        pool = replica.pool.name
        slot = _ModelSlot(keys, pool, replica.probe, probe, self._fit(keys, pool, probe), now_s, now_s)
        self._models[replica.name] = slot
        return slot

    def _fit(self, keys: tuple[str, ...], pool: str, probe: Probe) -> StepModel:
        siblings = [s for s in self._models.values() if s.pool == pool and s.keys != keys]
        sums = [cost.total([self.record(key).fields for key in sibling.keys]) for sibling in siblings]
        return cost.fit([self.record(key).fields for key in keys], probe, sums)

    def _refit(self, now_s: float) -> None:
        """Refit one replica whose records changed, the longest waiting; each at most every `REFIT_S`."""
        for name in self._changed:
            slot = self._models.get(name)
            if slot is None or not 0 <= now_s - slot.built_s < REFIT_S:
                del self._changed[name]
                if slot is not None:
                    slot.model, slot.built_s = self._fit(slot.keys, slot.pool, slot.probe), now_s
                return

    def output_tokens(self, request: Request) -> float:
        """Expected answer length: the task's decayed mean, within the request's own limit."""
        fields = self.record(task_key(request)).fields
        mean = (fields.get("tokens", 0.0) + LENGTH_WEIGHT * OUTPUT_TOKENS) / (fields.get("done", 0.0) + LENGTH_WEIGHT)
        return min(mean, request.max_tokens) if request.max_tokens is not None else mean

    def commit(self, request: Request, choice: Choice) -> None:
        """Remember a choice that was acted on; decisions made for explanation or comparison are not committed."""
        if choice.reason in HABITUAL:
            if len(self.habits) > MAX_SLOTS:
                self.habits.clear()
            self.habits[traffic_class(request)] = Habit(choice.pool, choice.k)

    def _slot(self, request: Request, pool: Pool, now_s: float) -> _CurveSlot:
        leaf = leaf_of(request, pool)
        slot = self._curves.get((leaf, pool.k_max))
        if slot is None:
            return self._new_slot(leaf, pool, now_s)
        record, shift = self.records.get(slot.key, EMPTY), self._shift(pool, now_s)
        if record is not slot.record or shift is not slot.shift:
            slot.curve, slot.record, slot.shift = self._curve(leaf, pool, record, shift, now_s), record, shift
        return slot

    def _new_slot(self, leaf: Leaf, pool: Pool, now_s: float) -> _CurveSlot:
        if len(self._curves) > MAX_SLOTS:
            self._curves.clear()
        key = Key(*leaf).encode()
        record, shift = self.records.get(key, EMPTY), self._shift(pool, now_s)
        curve = self._curve(leaf, pool, record, shift, now_s)
        slot = self._curves[leaf, pool.k_max] = _CurveSlot(key, record, shift, curve)
        return slot

    def mix_tokens(self, pool: Pool, now_s: float) -> tuple[float, ...]:
        """E(k) of a drafter over all its traffic: what a rule that does not know tasks goes by."""
        pooled = Record(self._family(pool).of_all(now_s))
        prior = task_prior(OTHER, pool, self.document.tasks.get(OTHER))
        return estimator.curve(prior, pooled, estimator.NOTHING, pool.lookup).expected

    def _family(self, pool: Pool) -> Family:
        found = self._families.get((pool.target, pool.drafter_id))
        return found or self._families.setdefault((pool.target, pool.drafter_id), Family())

    def _shift(self, pool: Pool, now_s: float) -> Shift:
        return self._family(pool).moved(now_s, lambda name: self._prior(name, pool, now_s)[0])

    def _curve(self, leaf: Leaf, pool: Pool, record: Record, shift: Shift, now_s: float) -> Curve:
        """Own record over siblings over the task's prior moved by how the drafter's other tasks differ from theirs."""
        family, task = self._family(pool), leaf[2]
        moved = shift.without(task)
        own = self._prior(task, pool, now_s)
        prior = tuple(expit(logit(p) + (0.0 if pool.lookup and i else moved)) for i, p in enumerate(own))
        siblings = family.others(task, record, pool.k_max, now_s)
        keep = decay(now_s - record.at_s, HALF_LIFE_S) if record.at_s else 1.0
        return estimator.curve(
            prior,
            record,
            estimator.positions(siblings, pool.k_max),
            pool.lookup,
            shift.kappa,
            keep,
            shift.design,
            shift.unsure(task),
            estimator.coverage_of(siblings, shift.covered),
        )

    def _prior(self, task: str, pool: Pool, now_s: float) -> tuple[float, ...]:
        own = task_prior(task, pool, self.document.tasks.get(task))
        before = self.predecessor((pool.target, pool.drafter_id), now_s)
        if before is None:
            return own
        return inheritance.inherited(own, self._families[before].of_task(task, now_s), pool.lookup)

    def predecessor(self, pair: inheritance.Pair, now_s: float) -> inheritance.Pair | None:
        """The same target and drafter at earlier revisions, of which there is evidence."""
        return inheritance.predecessor(pair, self._families, self.records, now_s)

    def met(self, pair: inheritance.Pair, now_s: float) -> bool:
        """Whether a target and drafter at these revisions have taught anything yet."""
        return inheritance.earliness(pair, self._families, self.records, now_s) > 0

    def watched(self, request: Request, pool: Pool, now_s: float) -> bool:
        """Whether this traffic class goes by what another revision showed, for want of evidence of its own."""
        seen = self.record(self.acceptance_key(request, pool, now_s)).fields.get("e1", 0.0)
        if seen >= inheritance.WATCHED_EXPOSURES:
            return False
        return self.predecessor((pool.target, pool.drafter_id), now_s) is not None

    def _replace(self, key: str, record: Record) -> None:
        if key.startswith("acc:"):
            found = self._keys.get(key)
            if found is None:
                try:
                    found = self._keys[key] = decode_key(key)
                except ValueError:
                    self.ignored["record_key"] += 1
                    return
            self._families.setdefault((found.target, found.drafter), Family()).replace(found, record)
        elif key.startswith("step:"):
            try:
                self._changed[cost.replica_of(key)] = None
            except ValueError:
                self.ignored["record_key"] += 1
                return
        self.records[key] = record


HABITUAL = frozenset({"fastest", "held"})
"""Reasons that say what a traffic class prefers; explored, ruled and held-out choices do not."""


def task_prior(task: str, pool: Pool, entry: TaskEntry | None) -> tuple[float, ...]:
    """Prior h of a task: the operator's figure where the document has one, else ours."""
    if entry is None or entry.acceptance is None:
        return acceptance_prior(task, pool.lookup, pool.k_max)
    first = entry.acceptance
    then = acceptance_prior(task, pool.lookup, pool.k_max)
    return (first, *then[1:]) if pool.lookup else tuple(first * FADE**i for i in range(pool.k_max))


def task_key(request: Request) -> str:
    """The record of a task's answers: lengths, aborts and hold-out sums."""
    return f"task:{request.model}|{request.task}|{request.segment}"


def leaf_of(request: Request, pool: Pool) -> Leaf:
    """The parts of the acceptance key of a request in a pool."""
    bucket = bucket_of(request.temperature)
    return (pool.target, pool.drafter_id, request.task, request.segment, bucket, request.shape)


def traffic_class(request: Request) -> TrafficClass:
    """What shares one habit."""
    return (request.model, request.task, request.segment, bucket_of(request.temperature), request.shape)
