"""What a request may do before anything is scored: switches, rules, windows and safeguards reduced to a range of k."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from zoneinfo import ZoneInfo

from policies.choice import Reason
from policies.document import Document
from policies.quick import quick
from policies.replica import Replica
from policies.request import Request
from policies.rules import Hours, Mode, Objective, Rule, Then, When

ANY_K = 32


@quick
@dataclass(frozen=True, slots=True)
class Terms:
    """Allowed k in speculative pools (`k_max` = 0: vanilla only), whether vanilla is allowed, pools (None: all), why,
    and what is minimised where that is not the document's objective."""

    k_min: int = 1
    k_max: int = ANY_K
    vanilla: bool = True
    pools: frozenset[str] | None = None
    reason: Reason | None = None
    objective: Objective | None = None

    @property
    def open(self) -> bool:
        """Whether the scores still decide between vanilla and drafts: rules and hours may narrow that, and leave it."""
        return self.reason in NARROWING and self.vanilla and self.k_max > 0


NARROWING = frozenset({None, Reason.RULE, Reason.WINDOW})
"""Reasons of terms that may be no more than a cap on k or a choice of pools."""


FREE = Terms()


@quick
@dataclass(frozen=True, slots=True)
class Moment:
    """What rules may ask beside the request: the time, the length expected of its answer, and the share of the places
    taken in the engines that may serve it."""

    now_s: float
    output_tokens: float = 0.0
    load: float = 0.0


def load_of(replicas: Sequence[Replica]) -> float:
    """Share of the places taken in the replicas that are ready."""
    ready = [replica for replica in replicas if replica.state == "ready"]
    return sum(r.running + r.waiting for r in ready) / max(1, sum(r.max_running for r in ready))


def terms(
    request: Request,
    document: Document,
    expected_output_tokens: float,
    now_s: float,
    replicas: Sequence[Replica] = (),
) -> Terms:
    """The terms of a request; the last word is the kill switch, then the client's own wish, then safeguards, then
    rules. `replicas` are those that may serve it."""
    if document.kill_switch:
        return _vanilla(FREE, Reason.KILL_SWITCH)
    load = load_of(replicas) if document.asks_load else 0.0
    moment = Moment(now_s, expected_output_tokens, load)
    ruled = _windows(_rules(_task(FREE, request, document), request, document, moment), request, document, now_s)
    ruled = _wished(_safe(ruled, request, document, expected_output_tokens), request)
    return replace(ruled, objective=objective_of(request, document, moment)) if document.has_aims else ruled


def _vanilla(found: Terms, reason: Reason) -> Terms:
    return replace(found, k_min=0, k_max=0, vanilla=True, reason=reason)


def _mode(found: Terms, mode: Mode | None, reason: Reason) -> Terms:
    if mode == "vanilla":
        return _vanilla(found, reason)
    return replace(found, vanilla=False, reason=reason) if mode == "speculative" else found


def _task(found: Terms, request: Request, document: Document) -> Terms:
    entry = document.tasks.get(request.task)
    if entry is None:
        return found
    pools = frozenset(entry.pools) if entry.pools is not None else None
    return _mode(replace(found, k_min=entry.k.min, k_max=entry.k.max, pools=pools), entry.mode, Reason.RULE)


def _rules(found: Terms, request: Request, document: Document, moment: Moment) -> Terms:
    for rule in document.rules:
        if applies(rule.when, request, moment):
            found = _then(found, rule.then)
    return found


def _then(found: Terms, then: Then) -> Terms:
    if then.k is not None:
        found = replace(found, k_min=then.k.min, k_max=then.k.max, reason=Reason.RULE)
        found = replace(found, vanilla=True) if then.k.max == 0 else found
    if then.pools is not None:
        found = replace(found, pools=frozenset(then.pools), reason=Reason.RULE)
    if then.wanted in ("auto", "speculative") and found.k_max == 0 and then.k is None:
        found = replace(found, k_min=1, k_max=ANY_K)  # an earlier word had ruled it out
    if then.wanted == "auto":
        found = replace(found, vanilla=True)
    return _mode(found, then.wanted, Reason.RULE)


def objective_of(request: Request, document: Document, moment: Moment) -> Objective:
    """What is minimised for a request: by the last rule that says so, by its segment, by the document."""
    found = document.objectives.get(request.segment, document.objective)
    for rule in document.rules:
        if rule.then.objective is not None and applies(rule.when, request, moment):
            found = rule.then.objective
    return found


@quick
@dataclass(frozen=True, slots=True)
class Asked:
    """What rules change beside the choice of an engine: the place in the queue, and caps on how text is sampled."""

    priority: int | None = None
    temperature_max: float | None = None
    top_p_max: float | None = None

    @property
    def caps(self) -> bool:
        """Whether the request itself may change."""
        return self.temperature_max is not None or self.top_p_max is not None


def asked_of(request: Request, document: Document, moment: Moment) -> Asked:
    """The same for a request; later rules win."""
    found = Asked()
    for rule in document.rules:
        if applies(rule.when, request, moment):
            found = _more(found, rule)
    return found


def _more(found: Asked, rule: Rule) -> Asked:
    then = rule.then
    return Asked(
        found.priority if then.priority is None else then.priority,
        found.temperature_max if then.temperature_max is None else then.temperature_max,
        found.top_p_max if then.top_p_max is None else then.top_p_max,
    )


def applies(when: When, request: Request, moment: Moment) -> bool:
    """True where every condition that is set holds for the request."""
    checks = (
        when.model is None or request.model in when.model,
        when.task is None or request.task in when.task,
        when.segment is None or request.segment in when.segment,
        when.temperature_above is None or request.temperature > when.temperature_above,
        when.temperature_at_most is None or request.temperature <= when.temperature_at_most,
        when.prompt_tokens_above is None or request.prompt_tokens > when.prompt_tokens_above,
        when.prompt_tokens_at_most is None or request.prompt_tokens <= when.prompt_tokens_at_most,
        when.output_tokens_above is None or moment.output_tokens > when.output_tokens_above,
        when.output_tokens_at_most is None or moment.output_tokens <= when.output_tokens_at_most,
        when.max_tokens_below is None or (request.max_tokens or ANY_TOKENS) < when.max_tokens_below,
        when.tools is None or request.tools == when.tools,
        when.grammar is None or request.grammar == when.grammar,
        when.confidence_below is None or request.confidence < when.confidence_below,
        when.headers is None or _has_headers(request, when),
        when.load_above is None or moment.load > when.load_above,
        when.load_at_most is None or moment.load <= when.load_at_most,
        when.hours is None or open_at(when.hours, moment.now_s),
    )
    return all(checks)


def _has_headers(request: Request, when: When) -> bool:
    sent = dict(request.headers)
    wanted = ((name.lower(), values) for name, values in (when.headers or {}).items())
    return all(name in sent and (not values or sent[name] in values) for name, values in wanted)


ANY_TOKENS = 1 << 30


def _windows(found: Terms, request: Request, document: Document, now_s: float) -> Terms:
    for window in document.windows:
        if window.segment in (None, request.segment) and open_at(window, now_s) and window.k_max < found.k_max:
            found = replace(found, k_max=window.k_max, k_min=min(found.k_min, window.k_max), reason=Reason.WINDOW)
    return replace(found, vanilla=True) if found.k_max == 0 else found


def open_at(window: Hours, now_s: float) -> bool:
    """Whether some hours cover this Unix time; those past midnight belong to the day on which they begin."""
    if window.zone is not None:
        local = datetime.fromtimestamp(now_s, ZoneInfo(window.zone))
        hour, day = local.hour + local.minute / 60 + local.second / 3600, local.weekday()
    else:
        local_h = now_s / 3600 + window.utc_offset_h
        hour, day = local_h % 24, int(local_h // 24 + 3) % 7  # the epoch was a Thursday
    if window.from_hour < window.to_hour:
        inside = window.from_hour <= hour < window.to_hour
    else:
        inside = hour >= window.from_hour or hour < window.to_hour
        day = (day - 1) % 7 if hour < window.to_hour else day
    return inside and (window.days is None or day in window.days)


def _safe(found: Terms, request: Request, document: Document, expected_output_tokens: float) -> Terms:
    guards = document.safeguards
    # A client that asks for speculation knows its own answer better than the task's mean does.
    if expected_output_tokens < guards.short_output_tokens and request.speculation != "on":
        return _vanilla(found, Reason.SHORT_OUTPUT)
    if request.n > 1:
        found = _mode(found, guards.several_answers, Reason.SEVERAL_ANSWERS)
    if request.tools:
        found = _mode(found, guards.tools, Reason.TOOLS)
    return _mode(found, guards.grammar, Reason.GRAMMAR) if request.grammar else found


def _wished(found: Terms, request: Request) -> Terms:
    if request.speculation == "off":
        return _vanilla(found, Reason.REQUESTED)
    if request.speculation == "on" and found.k_max > 0:
        return replace(found, vanilla=False, reason=Reason.REQUESTED)
    return found


@quick
@dataclass(frozen=True, slots=True)
class Range:
    """The k a replica may run for a request; empty where `low` > `high`."""

    low: int
    high: int
    blocked: Reason | None = None


def k_range(found: Terms, request: Request, replica: Replica, document: Document) -> Range:
    """The k allowed at one replica: 0 in a vanilla pool, else the terms narrowed by what the replica can stand now."""
    pool, guards = replica.pool, document.safeguards
    if pool.k_max == 0:
        return Range(0, 0) if found.vanilla else Range(1, 0, found.reason)
    if found.k_max == 0:
        return Range(1, 0, found.reason)
    if request.temperature > 0 and not replica.sampled_speculation:
        return Range(1, 0, Reason.SAMPLING_UNSAFE)
    if pool.max_context_tokens is not None and request.prompt_tokens >= pool.max_context_tokens:
        return Range(1, 0, Reason.LONG_CONTEXT)
    if replica.kv_usage > guards.kv_usage_vanilla:
        return Range(1, 0, Reason.KV_PRESSURE)
    high = min(found.k_max, pool.k_max)
    if replica.kv_usage > guards.kv_usage:
        return Range(1, min(1, high), Reason.KV_PRESSURE)
    return Range(min(max(1, found.k_min), high), high)


def is_calm(replica: Replica, document: Document) -> bool:
    """True where nothing of the replica itself narrows the range: it is then the same for its whole pool."""
    guards = document.safeguards
    return replica.kv_usage <= min(guards.kv_usage, guards.kv_usage_vanilla) and replica.sampled_speculation
