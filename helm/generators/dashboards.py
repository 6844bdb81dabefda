"""Write the Grafana dashboards: `python helm/generators/dashboards.py` after a metric or a panel has changed.

Each dashboard is a list of panels; a panel is a title, a unit and its queries. `JOB` in a query stands for the matcher
of the release's routers. The JSON under helm/alpharoute/dashboards is what the chart ships; a test holds the two and
the metrics of `router.observe.telemetry` together.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

OUT = Path(__file__).parents[1] / "alpharoute" / "dashboards"

WIDTH, HEIGHT, COLUMNS = 8, 8, 3
RATE = "$__rate_interval"

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Panel:
    """One graph: `queries` by what their lines are called; `about` is shown behind the title's i."""

    title: str
    unit: str
    queries: Mapping[str, str]
    about: str = ""
    kind: str = "timeseries"
    stacked: bool = False


def rate(metric: str, by: str, where: str = "") -> str:
    """Events per second of a counter, summed over routers."""
    return f"sum by ({by}) (rate({metric}{{JOB{where}}}[{RATE}]))"


def quantile(share: float, metric: str, by: str = "", where: str = "") -> str:
    """A quantile of a histogram over all routers."""
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({share}, sum by ({labels}) (rate({metric}_bucket{{JOB{where}}}[{RATE}])))"


def mean(metric: str, by: str) -> str:
    """The mean of a histogram over all routers."""
    return f"{rate(f'{metric}_sum', by)} / {rate(f'{metric}_count', by)}"


def quantiles(metric: str, by: str = "", where: str = "") -> dict[str, str]:
    """Median, p95 and p99 of a histogram."""
    suffix = f" {{{{{by}}}}}" if by else ""
    return {f"p{round(share * 100)}{suffix}": quantile(share, metric, by, where) for share in (0.5, 0.95, 0.99)}


ACCEPTED, PROPOSED = "alpharoute_accepted_drafts_total", "alpharoute_proposed_drafts_total"
TOKENS, TPOT = "alpharoute_output_tokens_total", "alpharoute_time_per_output_token_seconds"
SPEEDUP, STAGE = "alpharoute_estimated_speedup_ratio", "alpharoute_stage_seconds"
ANSWERED = ', route=~"/v1/.*"'
OWN_WORK = ', stage=~"admit|parse|classify|decide"'

# Request-seconds that vanilla would have taken longer, per second: what the console and `alpharoute top` add up, too.
COMPARED, VANILLA = "alpharoute_compared_generation_seconds_total", "alpharoute_compared_vanilla_seconds_total"
SAVED = f"{rate(VANILLA, 'task')} - {rate(COMPARED, 'task')}"
GPUS = 'sum(max by (pool) (alpharoute_engine_replicas{JOB, state="ready"})) * $gpus_per_replica'
MEAN_SPEEDUP = f"sum(rate({VANILLA}{{JOB}}[{RATE}])) / sum(rate({COMPARED}{{JOB}}[{RATE}]))"

FLEET = (
    Panel("Requests by status", "reqps", {"{{status}}": rate("alpharoute_requests_total", "status", ANSWERED)}),
    Panel(
        "Share that failed",
        "percentunit",
        {
            "5xx": f'sum(rate(alpharoute_requests_total{{JOB{ANSWERED}, status=~"5.."}}[{RATE}])) / '
            f"sum(rate(alpharoute_requests_total{{JOB{ANSWERED}}}[{RATE}]))"
        },
    ),
    Panel("Time of a request", "s", quantiles("alpharoute_request_seconds", where=ANSWERED)),
    Panel(
        "Time to first token, p95", "s", {"{{pool}}": quantile(0.95, "alpharoute_time_to_first_token_seconds", "pool")}
    ),
    Panel("Time per output token, median", "s", {"{{pool}}": quantile(0.5, TPOT, "pool")}),
    Panel("Output tokens per second", "none", {"{{pool}}": rate(TOKENS, "pool")}, stacked=True),
    Panel(
        "Requests in flight", "none", {"{{pool}}": "sum by (pool) (alpharoute_in_flight_requests{JOB})"}, stacked=True
    ),
    Panel("Requests that wait", "none", {"{{pool}}": "sum by (pool) (alpharoute_queued_requests{JOB})"}),
    Panel("Choices by pool", "reqps", {"{{pool}}": rate("alpharoute_decisions_total", "pool")}, stacked=True),
    Panel(
        "Engine replicas",
        "none",
        {"{{pool}} {{state}}": "max by (pool, state) (alpharoute_engine_replicas{JOB})"},
        about="As the router that sees most of them says.",
    ),
    Panel("Refused by the router", "reqps", {"{{code}}": rate("alpharoute_refused_requests_total", "code")}),
    Panel("Clients that left", "reqps", {"{{pool}}": rate("alpharoute_aborted_requests_total", "pool")}),
)

TASKS = (
    Panel("Requests by task", "reqps", {"{{task}}": rate("alpharoute_requests_total", "task", ANSWERED)}, stacked=True),
    Panel(
        "Drafts accepted, by task",
        "percentunit",
        {"{{task}}": f"{rate(ACCEPTED, 'task')} / {rate(PROPOSED, 'task')}"},
        about="Accepted over proposed drafts: falls as k grows, so compare it at equal k only.",
    ),
    Panel(
        "Drafts accepted, by drafter",
        "percentunit",
        {"{{drafter}}": f"{rate(ACCEPTED, 'drafter')} / {rate(PROPOSED, 'drafter')}"},
    ),
    Panel(
        "Drafts accepted, by position",
        "percentunit",
        {
            "{{position}}": rate("alpharoute_draft_positions_total", "position", ', outcome="accepted"')
            + " / "
            + rate("alpharoute_draft_positions_total", "position", ', outcome="proposed"')
        },
        about="Share of steps whose draft at this position was accepted, with all before it.",
    ),
    Panel("Choices by k", "reqps", {"k = {{k}}": rate("alpharoute_decisions_total", "k")}, stacked=True),
    Panel("Reasons of choices", "reqps", {"{{reason}}": rate("alpharoute_decisions_total", "reason")}, stacked=True),
    Panel(
        "Drafts proposed per output token",
        "none",
        {"{{task}}": f"{rate(PROPOSED, 'task')} / {rate(TOKENS, 'task')}"},
    ),
    Panel("Time per output token by task, median", "s", {"{{task}}": quantile(0.5, TPOT, "task")}),
    Panel(
        "Answers nothing was learnt from",
        "reqps",
        {"{{reason}}": rate("alpharoute_unmeasured_requests_total", "reason")},
    ),
    Panel("Prompt tokens by task", "none", {"{{task}}": rate("alpharoute_prompt_tokens_total", "task")}, stacked=True),
    Panel("Policy events", "none", {"{{kind}}": "sum by (kind) (increase(alpharoute_policy_events_total{JOB}[1h]))"}),
)

VALUE = (
    Panel(
        "Estimated speed-up, median by task",
        "none",
        {"{{task}}": quantile(0.5, SPEEDUP, "task")},
        about="Predicted time per token of the best vanilla engine over that of the choice, at the moment of choosing.",
    ),
    Panel("Estimated speed-up, by time", "none", {"all tasks": MEAN_SPEEDUP}, kind="stat"),
    Panel(
        "Requests chosen slower than vanilla",
        "percentunit",
        {
            "{{task}}": f'sum by (task) (rate({SPEEDUP}_bucket{{JOB, le="0.95"}}[{RATE}])) / '
            + rate(f"{SPEEDUP}_count", "task")
        },
        about="Share with a predicted speed-up below 0.95: exploration, hold-outs and clients that asked for it.",
    ),
    Panel("Time per output token by pool, mean", "s", {"{{pool}}": mean(TPOT, "pool")}, about="Measured."),
    Panel(
        "Request-seconds saved per second",
        "s",
        {"{{task}}": SAVED},
        about="What the best vanilla engine would have taken, as predicted, less what the engines took.",
        stacked=True,
    ),
    Panel(
        "Request-hours saved in a day",
        "h",
        {"all tasks": f"sum(avg_over_time(({SAVED})[1d:5m])) * 24"},
        about="The same over the last day.",
        kind="stat",
    ),
    Panel(
        "GPUs that vanilla would need beside these",
        "none",
        {"GPUs": f"{GPUS} * ({MEAN_SPEEDUP} - 1)"},
        about="Ready replicas x GPUs of one x (estimated speed-up - 1), as if the engines only decoded.",
    ),
    Panel(
        "GPU-hours saved in a day",
        "h",
        {"GPU-hours": f"avg_over_time(({GPUS} * ({MEAN_SPEEDUP} - 1))[1d:5m]) * 24"},
        about="The same over the last day; an estimate, not a bill.",
        kind="stat",
    ),
)

OVERHEAD = (
    Panel("Own work by stage, median", "s", {"{{stage}}": quantile(0.5, STAGE, "stage", OWN_WORK)}, stacked=True),
    Panel("Own work by stage, p99", "s", {"{{stage}}": quantile(0.99, STAGE, "stage", OWN_WORK)}),
    Panel("Waiting by stage, p95", "s", {"{{stage}}": quantile(0.95, STAGE, "stage", OWN_WORK.replace("=~", "!~"))}),
    Panel("Mean time by stage", "s", {"{{stage}}": mean(STAGE, "stage")}, stacked=True),
    Panel("Wait before a full pool, p95", "s", {"{{pool}}": quantile(0.95, "alpharoute_queue_seconds", "pool")}),
    Panel(
        "Requests by router",
        "reqps",
        {"{{router}}": rate("alpharoute_requests_total", "router", ANSWERED)},
        stacked=True,
    ),
    Panel("In flight by router", "none", {"{{router}}": "sum by (router) (alpharoute_in_flight_requests{JOB})"}),
)

ENGINES = (
    Panel("Failures by code", "reqps", {"{{pool}} {{code}}": rate("alpharoute_engine_failures_total", "pool, code")}),
    Panel("Sent to another replica", "reqps", {"{{pool}}": rate("alpharoute_retries_total", "pool")}),
    Panel("Not mended", "reqps", {"{{pool}} {{reason}}": rate("alpharoute_retries_refused_total", "pool, reason")}),
    Panel("Breakers", "none", {"{{pool}} {{state}}": "max by (pool, state) (alpharoute_breakers{JOB})"}),
    Panel("Breakers that turned", "none", {"{{pool}} {{to}}": rate("alpharoute_breaker_turns_total", "pool, to")}),
    Panel("Pools that stood in", "reqps", {"{{pool}} → {{to}}": rate("alpharoute_fallbacks_total", "pool, to")}),
    Panel(
        "GPU use by node", "percent", {"{{instance}} {{GpuIndex}}": 'ray_node_gpus_utilization{namespace="$namespace"}'}
    ),
    Panel(
        "GPU memory by node", "decmbytes", {"{{instance}} {{GpuIndex}}": 'ray_node_gram_used{namespace="$namespace"}'}
    ),
    Panel("CPU use by node", "percent", {"{{instance}}": 'ray_node_cpu_utilization{namespace="$namespace"}'}),
    Panel(
        "Memory by node",
        "percentunit",
        {"{{instance}}": 'ray_node_mem_used{namespace="$namespace"} / ray_node_mem_total{namespace="$namespace"}'},
    ),
)

REDIS = (
    Panel("Routers in touch with Redis", "none", {"routers": "sum(alpharoute_redis_up{JOB})"}, kind="stat"),
    Panel("Exchanges that failed", "ops", {"{{router}}": rate("alpharoute_redis_errors_total", "router")}),
    Panel(
        "Age of what routers know",
        "s",
        {"{{router}}": "max by (router) (alpharoute_knowledge_age_seconds{JOB})"},
        about="Routers decide from their own copy: while Redis is away it only gets older.",
    ),
    Panel("Redis up, by router", "none", {"{{router}}": "min by (router) (alpharoute_redis_up{JOB})"}),
)

DASHBOARDS: Mapping[str, tuple[str, Sequence[Panel]]] = {
    "fleet": ("Alpharoute: fleet", FLEET),
    "tasks": ("Alpharoute: tasks and acceptance", TASKS),
    "value": ("Alpharoute: what speculation is worth", VALUE),
    "overhead": ("Alpharoute: router overhead", OVERHEAD),
    "engines": ("Alpharoute: engines", ENGINES),
    "redis": ("Alpharoute: Redis", REDIS),
}

SOURCE = {"type": "prometheus", "uid": "${datasource}"}


def dashboard(name: str) -> Json:
    """One dashboard as Grafana imports it."""
    title, panels = DASHBOARDS[name]
    return {
        "uid": f"alpharoute-{name}",
        "title": title,
        "tags": ["alpharoute"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": _variables(name)},
        "panels": [_panel(i, panel) for i, panel in enumerate(panels)],
    }


def _variables(name: str) -> list[Json]:
    query = {"type": "query", "datasource": SOURCE, "refresh": 2, "sort": 1}
    variables: list[Json] = [
        {"type": "datasource", "name": "datasource", "label": "Prometheus", "query": "prometheus"},
        {**query, "name": "namespace", "query": "label_values(alpharoute_redis_up, namespace)"},
        {**query, "name": "job", "query": 'label_values(alpharoute_redis_up{namespace="$namespace"}, job)'},
    ]
    if name == "value":
        variables.append({"type": "textbox", "name": "gpus_per_replica", "label": "GPUs of a replica", "query": "1"})
    return variables


def _panel(index: int, panel: Panel) -> Json:
    stacking = {"stacking": {"mode": "normal"}, "fillOpacity": 20} if panel.stacked else {}
    return {
        "id": index + 1,
        "title": panel.title,
        "description": panel.about,
        "type": panel.kind,
        "datasource": SOURCE,
        "gridPos": {
            "x": index % COLUMNS * WIDTH,
            "y": index // COLUMNS * HEIGHT,
            "w": WIDTH,
            "h": HEIGHT,
        },
        "fieldConfig": {"defaults": {"unit": panel.unit, "custom": stacking}, "overrides": []},
        "options": {},
        "targets": [
            {
                "refId": chr(ord("A") + i),
                "datasource": SOURCE,
                "expr": expression.replace("JOB", 'job="$job"'),
                "legendFormat": legend,
            }
            for i, (legend, expression) in enumerate(panel.queries.items())
        ],
    }


def written(name: str) -> str:
    """The file's text."""
    return json.dumps(dashboard(name), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for each in DASHBOARDS:
        (OUT / f"{each}.json").write_text(written(each))
