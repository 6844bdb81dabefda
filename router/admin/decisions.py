"""Decisions: found by request, task or replica, and explained one by one."""

from dataclasses import dataclass

from pydantic import Field

from policies.request import Request
from policies.steering_log import Alternative, Decision
from router.admin.routes import AnyRoute, Asked, Nothing, Said, Taken, reading
from router.errors import NotFound
from router.steering.decision_log import DecisionLog, Sought


class WhichDecisions(Taken):
    """Which decisions; what is unset asks for all."""

    request_id: str | None = None
    """Of this request; a request that was tried again has several."""
    task: str | None = None
    """The task."""
    pool: str | None = None
    """The pool chosen."""
    replica: str | None = None
    """The replica chosen."""
    reason: str | None = None
    """Why."""
    policy: int | None = Field(default=None, ge=0)
    """The version that decided."""
    limit: int = Field(default=100, ge=1, le=1000)
    """At most so many."""

    @property
    def sought(self) -> Sought:
        """The same as the log takes it."""
        return Sought(self.request_id, self.task, self.pool, self.replica, self.reason, self.policy)


class WhichRequest(Taken):
    """A request by its id."""

    request_id: str = Field(min_length=1, max_length=128)
    """As the answer's x-request-id has it."""


@dataclass(frozen=True, slots=True)
class DecisionLine:
    """One decision in short; times per token in ms, as predicted and, where the engine told, as measured."""

    request_id: str
    at_s: float
    router: str
    policy: int
    model: str
    task: str
    segment: str
    temperature: float
    pool: str
    replica: str
    k: int
    reason: str
    expected_ms_per_token: float
    vanilla_ms_per_token: float | None
    measured_ms_per_token: float | None
    status: str


@dataclass(frozen=True, slots=True)
class Decisions:
    """Newest first."""

    decisions: list[DecisionLine]


@dataclass(frozen=True, slots=True)
class Explained:
    """Everything that is kept of a decision, and the same in sentences."""

    decision: Decision
    sentences: list[str]


@dataclass(frozen=True, slots=True)
class DecisionRoutes:
    """What was decided, and why."""

    log: DecisionLog

    def routes(self) -> list[AnyRoute]:
        """Its part of the table."""
        return [
            reading("/decisions", Decisions, self.newest, WhichDecisions),
            reading("/decisions/explain", Explained, self.explain, WhichRequest),
            reading("/decisions/{request_id}", Explained, self.one, Nothing),
        ]

    async def newest(self, asked: Asked[WhichDecisions, Nothing]) -> Said:
        """Decisions that fit, newest first."""
        found = await self.log.search(asked.query.sought, asked.query.limit)
        return Said(Decisions([_line(one) for one in found]))

    async def explain(self, asked: Asked[WhichRequest, Nothing]) -> Said:
        """One decision explained: its features, every alternative's score, the reason, how it went."""
        return await self._explained(asked.query.request_id)

    async def one(self, asked: Asked[Nothing, Nothing]) -> Said:
        """The same by its place, for ids that a path can hold."""
        return await self._explained(asked.place["request_id"])

    async def _explained(self, request_id: str) -> Said:
        for one in await self.log.search(Sought(request_id=request_id), 1):
            return Said(Explained(one, sentences(one)))
        message = f"No decision about request {request_id[:128]!r} is kept: it is too old, or was not sampled."
        raise NotFound(message, param="request_id", code="unknown_decision")


WHY = {
    "fastest": "It had the lowest predicted time per token.",
    "cheapest": "It was predicted to take the least of a replica's time, fast enough and without a queue.",
    "held": "Another choice looked better, but not by enough to give up the habit of its traffic class.",
    "rule": "A rule of the policy says so.",
    "requested": "The client asked for it, by the header x-alpharoute-speculation.",
    "kill_switch": "The kill switch sends everything to vanilla.",
    "observe_only": "The policy only observes.",
    "short_output": "So short an answer is not worth speculating.",
    "kv_pressure": "The KV cache is nearly full.",
    "long_context": "The context is longer than the drafter takes.",
    "several_answers": "Several answers at once carry no metrics.",
    "unmeasured": "This API says nothing of what was accepted, and too little is known of requests like it.",
    "tools": "The policy's safeguard for tools says so.",
    "grammar": "The policy's safeguard for constrained output says so.",
    "sampling_unsafe": "Speculation was found to corrupt sampled output on this engine.",
    "guard": "The never-slower guard keeps its task off speculation for a while.",
    "explore": "It was tried on purpose, to learn.",
    "drift_probe": "It was tried on purpose, because acceptance has just changed.",
    "hold_out": "It was sent to vanilla on purpose, to measure what speculation gains.",
    "window": "The hours of the policy say so.",
    "baseline": "A rule other than the adaptive one decides.",
    "undecided": "The policy failed to decide, a fault of this software; the router's log says where.",
}
"""Reasons in a sentence."""


def sentences(one: Decision) -> list[str]:
    """A decision as a person would tell it."""
    asked = one.request
    said = [
        f"A request for {asked.model} was taken for {asked.task} ({_labelled(asked)}), segment "
        f"{asked.segment}, temperature {asked.temperature:g}, about {asked.prompt_tokens} prompt tokens and "
        f"{one.expected_output_tokens:.0f} tokens of answer expected.",
        f"It went to {one.replica} in pool {one.pool} with k = {one.k}. {WHY.get(one.reason, one.reason)}",
        _predicted(one),
    ]
    if (one.best_pool, one.best_k) != (one.pool, one.k) and one.best_pool:
        said.append(f"By the scores alone it would have been pool {one.best_pool} with k = {one.best_k}.")
    said += [text for alternative in one.alternatives if (text := _blocked(alternative))]
    return [*said, _went(one)]


def _labelled(asked: Request) -> str:
    """Who said so: only of a task that its client named is nothing else likely, and no doubt of it."""
    if asked.confidence == 1.0 and not asked.likely:
        return "named by its client"
    return f"confidence {asked.confidence:.0%}"


def _predicted(one: Decision) -> str:
    text = f"Predicted: {one.tpot_ms:.2f} ms per token"
    if one.vanilla_tpot_ms is None:
        return f"{text}; no vanilla engine could be compared."
    return f"{text}, {one.vanilla_tpot_ms:.2f} on the best vanilla engine."


def _blocked(alternative: Alternative) -> str:
    if alternative.blocked is None:
        return ""
    name = alternative.engine.name
    if alternative.low > alternative.high:
        return f"{name} was not allowed ({alternative.blocked})."
    return f"{name} was allowed k from {alternative.low} to {alternative.high} ({alternative.blocked})."


def _went(one: Decision) -> str:
    end = one.ending
    if end.status != "finished":
        return "The client left before the end." if end.status == "aborted" else "The engine failed it."
    if not end.tpot_ms:
        return "It finished; the engine told nothing of its times."
    accepted = f", {end.accepted} of {end.drafted} drafts accepted" if end.drafted else ""
    return f"Measured: {end.tpot_ms:.2f} ms per token over {end.output_tokens} tokens{accepted}."


def _line(one: Decision) -> DecisionLine:
    asked = one.request
    return DecisionLine(
        request_id=one.request_id,
        at_s=one.at_s,
        router=one.router,
        policy=one.policy,
        model=asked.model,
        task=asked.task,
        segment=asked.segment,
        temperature=asked.temperature,
        pool=one.pool,
        replica=one.replica,
        k=one.k,
        reason=one.reason,
        expected_ms_per_token=one.tpot_ms,
        vanilla_ms_per_token=one.vanilla_tpot_ms,
        measured_ms_per_token=one.ending.tpot_ms or None,
        status=one.ending.status,
    )
