"""One policy through one workload in virtual time: routers with their own copies of the state, engines in lockstep."""

import heapq
import time
from dataclasses import dataclass, field

import numpy as np

from bench.policy.calibration import Calibration, costs
from bench.policy.cluster import MODEL, Entrant, replicas_of
from bench.policy.engine import Engine, Job
from bench.policy.oracle import PLAIN, TrueKnowledge, Truth
from bench.policy.result import Result, empty
from bench.policy.scenario import Scenario
from bench.policy.schedule import best_schedule
from bench.policy.workload import BUCKETS, Workload
from policies.choice import Choice
from policies.explore import EXPLORED, excess_s
from policies.knowledge import Knowledge
from policies.occupancy import Occupancy, Ticket, Usual
from policies.outcome import Outcome
from policies.policy import POLICIES, Policy
from policies.records import EMPTY, Delta, Record, apply, merge
from policies.replica import Pool, Replica
from policies.request import Request

EPOCH_S = 1.7e9
"""Virtual time starts at a Unix time like today's, as records and windows expect."""

TEMPERATURE = {"0": 0.0, "low": 0.5, "high": 1.0}


@dataclass(slots=True)
class _Router:
    knowledge: Knowledge
    seen: list[Occupancy]
    shown: list[Replica | None]
    pending: dict[str, list[Delta]] = field(default_factory=dict)
    flush_at_s: float = 0.0
    refresh_at_s: float = 0.0
    beat_at_s: float = 0.0


@dataclass(frozen=True, slots=True)
class _Flight:
    router: int
    engine: int
    ticket: Ticket
    request: Request
    choice: Choice
    arrived_s: float


def simulate(
    entrant: Entrant, scenario: Scenario, calibration: Calibration, workload: Workload, truth: Truth, seed: int
) -> Result:
    """Run one entrant; the same seed gives the same result."""
    return _Run(entrant, scenario, calibration, workload, truth, seed).go()


class _Run:
    """The event loop: arrivals in order, the engines' next ends in a heap, state traffic when its time has come."""

    def __init__(
        self,
        entrant: Entrant,
        scenario: Scenario,
        calibration: Calibration,
        workload: Workload,
        truth: Truth,
        seed: int,
    ) -> None:
        self.entrant, self.scenario, self.workload = entrant, scenario, workload
        self.policy: Policy = POLICIES[entrant.policy]
        self.replicas = replicas_of(scenario, calibration, entrant.cluster, seed)
        self.engines = [self._engine(replica.pool, calibration, truth) for replica in self.replicas]
        self.drafting = next(
            (r.pool for r in self.replicas if r.pool.drafter == next(iter(calibration.drafters))), None
        )
        self.changes = bool(scenario.phases)
        self.prefill_s = calibration.prefill_per_token_ms / 1e3
        self.rng = np.random.default_rng([seed, 7])
        self.noise = np.exp(calibration.step.noise * self.rng.standard_normal(4096)).tolist()
        self.noise_at = 0
        self.store: dict[str, Record] = {}
        self.changed: dict[str, int] = {}
        self.told: set[tuple[str, str]] = set()
        self.tick = 0
        self.routers = [self._router(truth, calibration) for _ in range(scenario.routers)]
        self.read_at = [0] * scenario.routers
        self.ends: list[tuple[float, int, int]] = []
        self.flights: dict[int, _Flight] = {}
        self.result = empty(scenario.requests)
        self.spent_s, self.served_s = 0.0, 0.0
        self.uniforms = self.rng.random(scenario.requests).tolist()
        self.slow_at = [(round(p.at * scenario.requests), p.slow_replica) for p in scenario.phases if p.slow_replica]

    def _engine(self, pool: Pool, calibration: Calibration, truth: Truth) -> Engine:
        table = best_schedule(calibration, pool.drafter, truth) if self.entrant.scheduled and pool.drafter else ()
        return Engine(costs(calibration, pool.drafter), calibration.max_running, table)

    def _router(self, truth: Truth, calibration: Calibration) -> _Router:
        knowledge: Knowledge
        if self.entrant.oracle:
            knowledge = TrueKnowledge(
                document=PLAIN,
                truth=truth,
                calibration=calibration,
                hindsight=self.entrant.hindsight,
                labelled=self.entrant.labelled,
            )
        elif self.entrant.told:
            knowledge = TrueKnowledge(
                document=self.entrant.document, truth=truth, calibration=calibration, told=self.entrant.told
            )
        else:
            knowledge = Knowledge(document=self.entrant.document_in(self.scenario))
        usual: dict[str, Usual] = {}
        seen = [Occupancy(r.max_running, usual.setdefault(r.pool.name, Usual())) for r in self.replicas]
        return _Router(knowledge, seen, [None] * len(self.replicas))

    def go(self) -> Result:
        """Until every request has ended."""
        started = time.perf_counter()
        for index, at_s in enumerate(self.workload.arrival_s.tolist()):
            self._end_until(at_s)
            for slow_index, factor in self.slow_at:
                if slow_index == index:
                    self.engines[-1].slow = factor
            self._arrive(index, at_s)
        self._end_until(float("inf"))
        self.result.excess = self.spent_s / max(self.served_s, 1e-9)
        self.result.busy_s = sum(engine.busy_s for engine in self.engines)
        self.result.wall_s = time.perf_counter() - started
        for router in self.routers:
            for reason, count in router.knowledge.ignored.items():
                self.result.ignored[reason] = self.result.ignored.get(reason, 0) + count
        return self.result

    def _arrive(self, index: int, at_s: float) -> None:
        which = index % len(self.routers)
        router = self.routers[which]
        self._sync(which, at_s)
        request, now_s = self._request(index), EPOCH_S + at_s
        knowledge = router.knowledge
        if isinstance(knowledge, TrueKnowledge):
            knowledge.current = index
        replicas = [self._shown(router, i) for i in range(len(self.replicas))]
        before = time.thread_time()
        choice = self.policy.decide(request, replicas, knowledge, now_s, self.uniforms[index])
        self.result.decision_s[index] = time.thread_time() - before
        knowledge.commit(request, choice)
        if self.drafting is not None and self.changes and not self.entrant.oracle:
            self.result.believed[index] = knowledge.curve(request, self.drafting, now_s).expected[1] - 1
        self._send(index, which, request, choice, at_s)

    def _request(self, index: int) -> Request:
        w = self.workload
        likely = w.likely[index] if w.likely else ()
        return Request(
            MODEL,
            w.tasks[int(w.label[index])],
            likely[0][1] if likely else 1.0,
            likely=likely,
            temperature=TEMPERATURE[BUCKETS[int(w.bucket[index])]],
            prompt_tokens=int(w.prompt_tokens[index]),
        )

    def _send(self, index: int, which: int, request: Request, choice: Choice, at_s: float) -> None:
        at = next(i for i, r in enumerate(self.replicas) if r.name == choice.replica)
        w, prompt = self.workload, int(self.workload.prompt_tokens[index])
        drafter = choice.engine.pool.drafter
        steps = w.run(drafter, index, choice.k).steps if drafter and choice.k else int(w.output_tokens[index]) - 1
        kv = prompt + int(w.output_tokens[index]) / 2
        job = Job(index, choice.k, float(max(1, steps)), prompt * self.prefill_s, kv, at_s)
        if drafter and self.engines[at].schedule:
            job.answer = w.answer(drafter, index)
        router = self.routers[which]
        ticket = router.seen[at].enter(choice.k, prompt, kv, EPOCH_S + at_s)
        router.shown[at] = None
        self.flights[index] = _Flight(which, at, ticket, request, choice, at_s)
        r = self.result
        r.k[index], r.speculative[index], r.best_k[index] = choice.k, choice.k > 0, choice.best_k
        r.explored[index] = choice.reason in EXPLORED
        if r.explored[index]:
            self.spent_s += max(0.0, excess_s(choice)) * float(w.output_tokens[index])
        self.served_s += choice.u_s * float(w.output_tokens[index])
        self.engines[at].offer(job, at_s, self._next_noise())
        self._plan(at)

    def _plan(self, at: int) -> None:
        ends_s = self.engines[at].next_end_s()
        if ends_s is not None:
            heapq.heappush(self.ends, (ends_s, at, self.engines[at].version))

    def _end_until(self, at_s: float) -> None:
        while self.ends and self.ends[0][0] <= at_s:
            ends_s, at, version = heapq.heappop(self.ends)
            if version != self.engines[at].version:
                continue
            job = self.engines[at].finish(ends_s, self._next_noise())
            self._plan(at)
            self._ended(job, ends_s)

    def _ended(self, job: Job, at_s: float) -> None:
        flight = self.flights.pop(job.index)
        router = self.routers[flight.router]
        self._sync(flight.router, at_s)
        tokens = int(self.workload.output_tokens[job.index])
        generation_s, ttft_s = at_s - job.started_s, job.started_s - job.arrived_s
        r = self.result
        r.seconds_per_token[job.index] = (at_s - job.arrived_s) / tokens
        r.ended_s[job.index] = at_s
        r.tpot_s[job.index], r.ttft_s[job.index] = generation_s / (tokens - 1), ttft_s
        batch = router.seen[flight.engine].leave(flight.ticket, EPOCH_S + at_s)
        router.shown[flight.engine] = None
        if self.entrant.scheduled:  # what such an engine drafts is not the router's to learn from
            r.k[job.index] = round(job.drafted / max(job.ran, 1.0))
            return
        choice = flight.choice
        drafter = choice.engine.pool.drafter
        run = self.workload.run(drafter, job.index, job.k) if drafter and job.k else None
        outcome = Outcome(
            flight.request,
            choice,
            tokens,
            generation_s,
            ttft_s,
            run.drafted if run else (),
            run.accepted if run else (),
            batch.mean_batch,
            batch.mean_k,
            batch.mean_max_k,
            batch.context_tokens,
            batch.prefill_tokens,
            not bool(self.workload.aborted[job.index]),
            max(0.0, ttft_s - job.prefill_s),
            batch.known,
        )
        if not self.entrant.oracle:
            self._learn(router, outcome, EPOCH_S + at_s)

    def _learn(self, router: _Router, outcome: Outcome, now_s: float) -> None:
        lesson = self.policy.learn(outcome, router.knowledge, now_s)
        router.knowledge.absorb(lesson.deltas, now_s)
        for event in lesson.events:  # as the shared log takes them: what several routers noticed, once
            if not event.once or (event.kind, event.once) not in self.told:
                self.told.add((event.kind, event.once))
                self.result.events.append(event)
        for delta in lesson.deltas:
            queue = router.pending.setdefault(delta.key, [])
            merged = merge(queue[-1], delta) if queue else None
            if merged is not None:
                queue[-1] = merged
            else:
                queue.append(delta)

    def _sync(self, which: int, at_s: float) -> None:
        """Heartbeats, flushes and refreshes whose time has come."""
        router, scenario = self.routers[which], self.scenario
        now_s = EPOCH_S + at_s
        if at_s >= router.beat_at_s:
            router.beat_at_s = at_s + scenario.heartbeat_s
            for i, engine in enumerate(self.engines):
                router.seen[i].beat(len(engine.active), len(engine.queue), 0.0, now_s)
                router.shown[i] = None
        if at_s >= router.flush_at_s:
            router.flush_at_s = at_s + scenario.flush_s
            self._flush(router, now_s)
        if at_s >= router.refresh_at_s:
            router.refresh_at_s = at_s + scenario.refresh_s
            self._flush(router, now_s)
            self._refresh(which, now_s)

    def _flush(self, router: _Router, now_s: float) -> None:
        for key, deltas in router.pending.items():
            record = self.store.get(key, EMPTY)
            for delta in deltas:
                record = apply(record, delta, now_s)
                self.result.deltas += 1
            self.store[key] = record
            self.tick += 1
            self.changed[key] = self.tick
        router.pending.clear()

    def _refresh(self, which: int, now_s: float) -> None:
        if self.entrant.oracle:
            return
        news = {key: self.store[key] for key, tick in self.changed.items() if tick > self.read_at[which]}
        self.read_at[which] = self.tick
        self.routers[which].knowledge.install(news, now_s)

    def _shown(self, router: _Router, at: int) -> Replica:
        found = router.shown[at]
        if found is None:
            found = router.shown[at] = router.seen[at].seen(self.replicas[at])
        return found

    def _next_noise(self) -> float:
        self.noise_at = (self.noise_at + 1) % len(self.noise)
        value: float = self.noise[self.noise_at]
        return value
