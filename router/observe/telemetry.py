"""Every metric the router exports, by name; what is counted where is decided by the callers."""

from functools import partial
from typing import get_args

from prometheus_client import CollectorRegistry, disable_created_metrics, generate_latest

from policies.event import EventKind
from router.observe.quick_series import QuickCounter, QuickGauge, QuickHistogram
from router.version import VERSION

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"

_TIMES_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_TOKEN_TIMES_S = (0.002, 0.004, 0.006, 0.008, 0.012, 0.016, 0.024, 0.032, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5)
_RATIOS = (0.5, 0.8, 0.9, 0.95, 1, 1.05, 1.1, 1.25, 1.5, 2, 2.5, 3, 4)
_STAGE_S = (50e-6, 100e-6, 200e-6, 400e-6, 800e-6, 1.6e-3, 3.2e-3, 6.4e-3, 12.8e-3, 0.05, 0.1, 0.5, 1, 5, 30, 120)


STAGES = ("admit", "read", "parse", "classify", "decide", "queue", "connect", "first_byte", "pass_on")
"""Stages of a request in order; admit, parse, classify and decide are the router's own work, the others wait."""


class Telemetry:
    """The metrics of one router replica in a registry of its own, so that several fit into one process."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for every counter, which nobody reads
        self.registry = CollectorRegistry()
        counter = partial(QuickCounter, registry=self.registry)
        gauge = partial(QuickGauge, registry=self.registry)
        histogram = partial(QuickHistogram, registry=self.registry)
        build = gauge("alpharoute_build_info", "1, with the version as a label.", ["version"])
        build.labels(VERSION).set(1)
        self.requests = counter(
            "alpharoute_requests_total", "Requests answered, by status.", ["route", "model", "task", "status"]
        )
        self.decisions = counter("alpharoute_decisions_total", "Choices made.", ["task", "pool", "k", "reason"])
        self.undecided = counter("alpharoute_undecided_total", "Choices that a policy failed to make.")
        self.output_tokens = counter(
            "alpharoute_output_tokens_total", "Tokens that engines reported.", ["task", "pool"]
        )
        self.proposed = counter("alpharoute_proposed_drafts_total", "Draft tokens proposed.", ["drafter", "task"])
        self.accepted = counter("alpharoute_accepted_drafts_total", "Draft tokens accepted.", ["drafter", "task"])
        self.time_to_first_token = histogram(
            "alpharoute_time_to_first_token_seconds", "Engine's time to first token.", ["pool"], buckets=_TIMES_S
        )
        self.time_per_output_token = histogram(
            "alpharoute_time_per_output_token_seconds",
            "Engine's generation time per output token.",
            ["task", "pool"],
            buckets=_TOKEN_TIMES_S,
        )
        self.stage = histogram(
            "alpharoute_stage_seconds", "Where a request's time goes, by stage.", ["stage"], buckets=_STAGE_S
        )
        # Looking a series up by its labels costs more than counting in it.
        self.stages = {name: self.stage.labels(name) for name in STAGES}
        self.engine_failures = counter(
            "alpharoute_engine_failures_total", "Calls to engines that broke off, by code.", ["pool", "code"]
        )
        self.retries = counter(
            "alpharoute_retries_total", "Requests sent to another replica before their first byte.", ["pool"]
        )
        self.retries_refused = counter(
            "alpharoute_retries_refused_total", "Failures that were not mended by another replica.", ["pool", "reason"]
        )
        self.breaker_turns = counter(
            "alpharoute_breaker_turns_total", "Breakers of replicas that opened or closed.", ["pool", "to"]
        )
        self.breakers = gauge("alpharoute_breakers", "Replicas by the state of their breaker.", ["pool", "state"])
        self.fallbacks = counter(
            "alpharoute_fallbacks_total",
            "Requests decided while every replica of a pool was out, by that pool and the one that answered.",
            ["pool", "to", "reason"],
        )
        self.calls_back = counter(
            "alpharoute_pool_calls_back_total", "Sleeping pools called back because requests missed them.", ["pool"]
        )
        self.queued = gauge("alpharoute_queued_requests", "Requests that wait because a pool is full.", ["pool"])
        self.queue_time = histogram(
            "alpharoute_queue_seconds", "Wait before a full pool, for those that waited.", ["pool"], buckets=_TIMES_S
        )
        self.request_time = histogram(
            "alpharoute_request_seconds", "From the request's head to the answer's end.", ["route"], buckets=_TIMES_S
        )
        self.compared_tokens = counter(
            "alpharoute_compared_output_tokens_total",
            "Tokens of answers for which a vanilla engine was known.",
            ["task"],
        )
        self.compared_s = counter(
            "alpharoute_compared_generation_seconds_total", "Engines' generation time of these answers.", ["task"]
        )
        self.vanilla_s = counter(
            "alpharoute_compared_vanilla_seconds_total",
            "The same as predicted of the best vanilla engine: measured time by the predicted ratio.",
            ["task"],
        )
        self.prompt_tokens = counter(
            "alpharoute_prompt_tokens_total", "Prompt tokens that engines reported.", ["task", "pool"]
        )
        self.positions = counter(
            "alpharoute_draft_positions_total",
            "Drafts by their position in the step, proposed and accepted.",
            ["drafter", "task", "position", "outcome"],
        )
        self.speedup = histogram(
            "alpharoute_estimated_speedup_ratio",
            "Predicted time per token of the best vanilla engine over that of the choice.",
            ["task"],
            buckets=_RATIOS,
        )
        self.events = counter(
            "alpharoute_policy_events_total",
            "Drift, guard and other events of the policy, each counted by the router that was first to log it.",
            ["kind"],
        )
        # A series that is born at 1 has not increased, and whoever alerts on the increase misses the first event.
        for kind in get_args(EventKind):
            self.events.labels(kind)
        self.aborted = counter(
            "alpharoute_aborted_requests_total", "Requests whose client left; they carry no metrics.", ["pool"]
        )
        self.ignored = counter(
            "alpharoute_ignored_total", "Records and measurements that were not believed, by reason.", ["reason"]
        )
        self.unmeasured = counter(
            "alpharoute_unmeasured_requests_total", "Answers from which nothing was learnt.", ["reason"]
        )
        self.refused = counter(
            "alpharoute_refused_requests_total", "Requests the router itself refused, by error code.", ["code"]
        )
        self.refused.labels("pool_full")
        self.client_deadlines = counter(
            "alpharoute_client_deadlines_total",
            "Requests whose own x-request-timeout-ms ran out; they count as 504 among the others.",
        )
        self.in_flight = gauge("alpharoute_in_flight_requests", "Requests being answered.", ["pool"])
        self.replicas = gauge("alpharoute_engine_replicas", "Engine replicas known.", ["pool", "state"])
        self.policy_current = gauge(
            "alpharoute_policy_current", "1 when the policy file as it is now is in use, 0 when it was refused."
        )
        self.policy_version = gauge(
            "alpharoute_policy_version", "Number of the policy version in force here; 0 is the file's or the settings'."
        )
        self.policy_trials = gauge(
            "alpharoute_policy_trial", "Number of the policy version that is shadow or canary; 0 for none.", ["kind"]
        )
        self.policy_age = gauge("alpharoute_policy_age_seconds", "Age of what is known here of the policy versions.")
        self.canary_requests = counter(
            "alpharoute_canary_requests_total", "Requests compared while a canary runs.", ["arm", "outcome"]
        )
        self.redis_up = gauge("alpharoute_redis_up", "1 when the last exchange with Redis succeeded.")
        self.redis_errors = counter("alpharoute_redis_errors_total", "Exchanges with Redis that failed.")
        self.knowledge_age = gauge(
            "alpharoute_knowledge_age_seconds", "Age of the local copy of what the routers share."
        )

    def exposition(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self.registry)
