"""Every metric the router exports, by name; what is counted where is decided by the callers."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"

_TIMES_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_TOKEN_TIMES_S = (0.002, 0.004, 0.006, 0.008, 0.012, 0.016, 0.024, 0.032, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5)
_STAGE_S = (50e-6, 100e-6, 200e-6, 400e-6, 800e-6, 1.6e-3, 3.2e-3, 6.4e-3, 12.8e-3, 0.1, 1)


class Telemetry:
    """The metrics of one router replica in a registry of its own, so that several fit into one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        own = {"registry": self.registry}
        self.requests = Counter(
            "alpharoute_requests_total", "Requests answered, by status.", ["route", "model", "task", "status"], **own
        )
        self.decisions = Counter(
            "alpharoute_decisions_total", "Choices made.", ["task", "pool", "k", "reason"], **own
        )
        self.output_tokens = Counter(
            "alpharoute_output_tokens_total", "Tokens that engines reported.", ["task", "pool"], **own
        )
        self.proposed = Counter(
            "alpharoute_proposed_drafts_total", "Draft tokens proposed.", ["drafter", "task"], **own
        )
        self.accepted = Counter(
            "alpharoute_accepted_drafts_total", "Draft tokens accepted.", ["drafter", "task"], **own
        )
        self.time_to_first_token = Histogram(
            "alpharoute_time_to_first_token_seconds", "Engine's time to first token.", ["pool"], buckets=_TIMES_S, **own
        )
        self.time_per_output_token = Histogram(
            "alpharoute_time_per_output_token_seconds",
            "Engine's generation time per output token.",
            ["task", "pool"],
            buckets=_TOKEN_TIMES_S,
            **own,
        )
        self.stage = Histogram(
            "alpharoute_stage_seconds", "Router's own time, by stage.", ["stage"], buckets=_STAGE_S, **own
        )
        self.engine_failures = Counter(
            "alpharoute_engine_failures_total", "Calls to engines that broke off, by code.", ["pool", "code"], **own
        )
        self.retries = Counter(
            "alpharoute_retries_total", "Requests sent to another replica before their first byte.", ["pool"], **own
        )
        self.aborted = Counter(
            "alpharoute_aborted_requests_total", "Requests whose client left; they carry no metrics.", ["pool"], **own
        )
        self.unmeasured = Counter(
            "alpharoute_unmeasured_requests_total", "Answers from which nothing was learnt.", ["reason"], **own
        )
        self.in_flight = Gauge("alpharoute_in_flight_requests", "Requests being answered.", ["pool"], **own)
        self.replicas = Gauge("alpharoute_engine_replicas", "Engine replicas known.", ["pool", "state"], **own)
        self.redis_up = Gauge("alpharoute_redis_up", "1 when the last exchange with Redis succeeded.", **own)
        self.redis_errors = Counter("alpharoute_redis_errors_total", "Exchanges with Redis that failed.", **own)
        self.knowledge_age = Gauge(
            "alpharoute_knowledge_age_seconds", "Age of the local copy of what the routers share.", **own
        )

    def exposition(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self.registry)
