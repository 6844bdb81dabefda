"""One engine in virtual time: continuous batching in lockstep, advanced only when somebody joins or leaves."""

import heapq
from collections import Counter, deque
from dataclasses import dataclass, field

from bench.policy.calibration import Costs


@dataclass(slots=True)
class Job:
    """One request inside an engine; `steps` verify steps still to run when it starts."""

    index: int
    k: int
    steps: float
    prefill_s: float
    kv_tokens: float
    arrived_s: float
    started_s: float = 0.0
    ends_at: float = 0.0


@dataclass(slots=True)
class Engine:
    """Between events the batch is constant, so progress (in steps) is linear in time with the step time of that
    batch."""

    costs: Costs
    max_running: int
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
        job.started_s, job.ends_at = self.at_s, self.progress + job.steps
        heapq.heappush(self.active, (job.ends_at, job.index, job))
        self.drafts += job.k
        self.kv_tokens += job.kv_tokens
        self.ks[job.k] += 1

    def _settle(self, noise: float) -> None:
        widest = max((k for k, count in self.ks.items() if count > 0), default=0)
        batch = len(self.active)
        self.step_s = self.costs.step_s(batch, self.drafts, widest, self.kv_tokens) * noise * self.slow
        self.version += 1
