"""One engine in virtual time: continuous batching in lockstep, advanced only when somebody joins or leaves."""

import heapq
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.policy.answer import Answer
from bench.policy.calibration import Costs


@dataclass(slots=True)
class Job:
    """One request inside an engine; `steps` verify steps still to run when it starts.

    `answer` is what remains of it where the engine sets k, `marked_at` the progress at which that was so; `drafted` are
    the drafts asked for in the `ran` steps before.
    """

    index: int
    k: int
    steps: float
    prefill_s: float
    kv_tokens: float
    arrived_s: float
    answer: Answer | None = None
    started_s: float = 0.0
    ends_at: float = 0.0
    marked_at: float = 0.0
    drafted: float = 0.0
    ran: float = 0.0


@dataclass(slots=True)
class Engine:
    """Between events the batch is constant, so progress (in steps) is linear in time with the step time of that
    batch.

    `schedule` has a k per batch size, as vLLM's dynamic schedule does: the whole batch drafts that many from its next
    step on, whatever its requests asked for. Empty: every request keeps its own.
    """

    costs: Costs
    max_running: int
    schedule: Sequence[int] = ()
    slow: float = 1.0
    at_s: float = 0.0
    progress: float = 0.0
    step_s: float = 1.0
    kv_tokens: float = 0.0
    drafts: int = 0
    version: int = 0
    busy_s: float = 0.0
    active: list[tuple[float, int, Job]] = field(default_factory=list)
    ks: Counter[int] = field(default_factory=Counter)
    queue: deque[Job] = field(default_factory=deque)

    def offer(self, job: Job, now_s: float, noise: float) -> None:
        """A request arrives: it starts, or waits for a free place."""
        self._advance(now_s)
        if len(self.active) < self.max_running:
            self._start(job, now_s)
        else:
            self.queue.append(job)
        self._settle(noise)

    def finish(self, now_s: float, noise: float) -> Job:
        """The next request ends; the head of the queue takes its place."""
        self._advance(now_s)
        _, _, job = heapq.heappop(self.active)
        self.drafts -= job.k
        self.kv_tokens -= job.kv_tokens
        self.ks[job.k] -= 1
        job.ran += self.progress - job.marked_at
        job.drafted += job.k * (self.progress - job.marked_at)
        if self.queue:
            self._start(self.queue.popleft(), now_s)
        self._settle(noise)
        return job

    def next_end_s(self) -> float | None:
        """When the next request ends if nothing joins; None when idle."""
        if not self.active:
            return None
        return self.at_s + max(0.0, self.active[0][0] - self.progress) * self.step_s

    def _advance(self, now_s: float) -> None:
        if now_s > self.at_s:
            self.progress += (now_s - self.at_s) / self.step_s
            self.busy_s += now_s - self.at_s if self.active else 0.0
            self.at_s = now_s

    def _start(self, job: Job, now_s: float) -> None:
        # A prefill holds up the whole batch, as a step of its own.
        self.at_s = max(self.at_s, now_s) + job.prefill_s
        self.busy_s += job.prefill_s
        job.started_s, job.ends_at, job.marked_at = self.at_s, self.progress + job.steps, self.progress
        heapq.heappush(self.active, (job.ends_at, job.index, job))
        self.drafts += job.k
        self.kv_tokens += job.kv_tokens
        self.ks[job.k] += 1

    def _settle(self, noise: float) -> None:
        if self.schedule and self.active:
            k = self.schedule[min(len(self.active), len(self.schedule)) - 1]
            if any(job.k != k for _, _, job in self.active):
                self._draft(k)
        widest = max((k for k, count in self.ks.items() if count > 0), default=0)
        batch = len(self.active)
        self.step_s = self.costs.step_s(batch, self.drafts, widest, self.kv_tokens) * noise * self.slow
        self.version += 1

    def _draft(self, k: int) -> None:
        """The whole batch drafts k from now on; the share of a step that has passed counts for whoever is in it."""
        for _, _, job in self.active:
            assert job.answer is not None
            steps = int(self.progress - job.marked_at + 1e-9)
            job.answer.go_on(steps, job.k)
            job.ran += steps
            job.drafted += job.k * steps
            job.k, job.marked_at = k, job.marked_at + steps
            job.ends_at = max(self.progress, job.marked_at + job.answer.steps_left(k))
        self.active = [(job.ends_at, job.index, job) for _, _, job in self.active]
        heapq.heapify(self.active)
        self.ks, self.drafts = Counter({k: len(self.active)}), k * len(self.active)
