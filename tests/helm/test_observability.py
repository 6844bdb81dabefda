"""Dashboards and alerts ask for metrics that exist, by labels that they have; each alert has its runbook."""

import importlib.util
import json
import re
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import get_args

import pytest
import yaml
from chart import CHART, ROOT, kind, one
from prometheus_client.metrics import MetricWrapperBase

from policies.event import EventKind
from router.observe.telemetry import Telemetry

NAMES = ("fleet", "tasks", "value", "overhead", "engines", "redis")
RUNBOOKS = ROOT / "docs" / "kubernetes.md"

ADDED = {"router", "job", "namespace", "le"}
"""Labels that the page, the scrape or a histogram add."""

RAYS = {"node_gpus_utilization", "node_gram_used", "node_cpu_utilization", "node_mem_used", "node_mem_total"}


def _exported() -> dict[str, set[str]]:
    """Labels by the name of every series."""
    suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}
    return {
        f"{family._name}{suffix}": set(family._labelnames)
        for family in Telemetry().registry._collector_to_names
        if isinstance(family, MetricWrapperBase)
        for suffix in suffixes[str(family._type)]
    }


EXPORTED = _exported()


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    """helm/generators/dashboards.py."""
    spec = importlib.util.spec_from_file_location("dashboards", ROOT / "helm" / "generators" / "dashboards.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["dashboards"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def _dashboard_queries() -> Iterator[tuple[str, str]]:
    for name in NAMES:
        for panel in json.loads((CHART / "dashboards" / f"{name}.json").read_text())["panels"]:
            for target in panel["targets"]:
                yield f"{name}: {panel['title']}", target["expr"]


def _alerts() -> list[dict[str, str]]:
    (group,) = yaml.safe_load((CHART / "files" / "alerts.yaml").read_text())["groups"]
    alerts: list[dict[str, str]] = group["rules"]
    return alerts


QUERIES = [*_dashboard_queries(), *((alert["alert"], alert["expr"]) for alert in _alerts())]


@pytest.mark.parametrize(("where", "query"), QUERIES, ids=lambda text: text[:40])
def test_queries_name_what_is_exported(where: str, query: str) -> None:
    """Every metric is one of ours or one of Ray's, and matchers and groupings use labels it has."""
    ours = set(re.findall(r"\balpharoute_\w+", query))
    assert ours <= EXPORTED.keys(), f"{where}: {ours - EXPORTED.keys()}"
    assert set(re.findall(r"\bray_(\w+)", query)) <= RAYS
    assert ours or "ray_" in query
    labels = set().union(*(EXPORTED[metric] for metric in ours)) | ADDED
    grouped = {label.strip() for group in re.findall(r"by \(([^)]*)\)", query) for label in group.split(",")}
    assert grouped <= labels, f"{where}: {grouped - labels}"
    for metric, matchers in re.findall(r"\b(alpharoute_\w+)\{([^}]*)\}", query):
        used = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers))
        assert used <= EXPORTED[metric] | ADDED, f"{where}: {metric} has no {used}"
    assert query.count("(") == query.count(")")


def test_rays_metrics_are_rays() -> None:
    """They are read from the source of the Ray that is installed, without starting it."""
    origin = importlib.util.find_spec("ray")
    assert origin is not None
    assert origin.origin is not None
    folder = re.sub(r"__init__\.py$", "", origin.origin)
    with open(f"{folder}dashboard/modules/reporter/reporter_agent.py", encoding="utf-8") as source:
        text = source.read()
    assert all(f'"{name}"' in text for name in RAYS)


@pytest.mark.parametrize("name", NAMES)
def test_dashboards_are_as_the_generator_writes_them(generator: ModuleType, name: str) -> None:
    """`python helm/generators/dashboards.py` after a change of it."""
    assert (CHART / "dashboards" / f"{name}.json").read_text() == generator.written(name)


def test_dashboards_are_shipped_for_grafanas_sidecar() -> None:
    """One ConfigMap each, with the label and the folder, and JSON that parses."""
    values = {"metrics": {"dashboards": {"enabled": True, "folder": "LLM"}}}
    maps = kind(values, "ConfigMap")
    shipped = [o for o in maps if o["metadata"]["labels"].get("grafana_dashboard") == "1"]
    assert len(shipped) == len(NAMES)
    for o in shipped:
        assert o["metadata"]["annotations"]["grafana_folder"] == "LLM"
        (text,) = o["data"].values()
        assert json.loads(text)["uid"].startswith("alpharoute-")


def test_rules_are_for_this_release_alone() -> None:
    """By its job; with a link to the runbook where one is given."""
    rules = {"enabled": True, "runbookUrl": "https://example.com/k8s"}
    values = {"metrics": {"routers": {"enabled": True}, "prometheusRule": rules}}
    (group,) = one(values, "PrometheusRule")["spec"]["groups"]
    assert len(group["rules"]) == len(_alerts())
    for rule in group["rules"]:
        assert 'job="llm/demo-alpharoute"' in rule["expr"]
        assert "JOB" not in rule["expr"]
        assert rule["annotations"]["runbook_url"] == f"https://example.com/k8s#{rule['alert'].lower()}"


@pytest.mark.parametrize("alert", [alert["alert"] for alert in _alerts()])
def test_every_alert_has_a_runbook(alert: str) -> None:
    """Under its own name, which is what the link points to."""
    assert f"### {alert}\n" in RUNBOOKS.read_text()


def test_event_kinds_of_alerts_exist() -> None:
    """An alert on a kind that no code emits would stay silent for ever."""
    kinds = {kind for alert in _alerts() for kind in re.findall(r'kind="(\w+)"', alert["expr"])}
    assert kinds <= set(get_args(EventKind))


FIRST_EVENTS = [
    (alert["alert"], metric, matchers)
    for alert in _alerts()
    if re.search(r"> 0$", alert["expr"].strip())
    for metric, matchers in re.findall(r"(?:increase|rate)\((alpharoute_\w+)\{JOB, ([^}]*)\}", alert["expr"])
]


@pytest.mark.parametrize(("alert", "metric", "matchers"), FIRST_EVENTS, ids=lambda text: text[:40])
def test_what_an_alert_waits_for_is_there_at_0_before_it_happens(alert: str, metric: str, matchers: str) -> None:
    """A series that is born at 1 has not increased: the first event would fire nothing."""
    assert len(FIRST_EVENTS) >= 5
    assert f"{metric}{{{matchers}}} 0.0" in Telemetry().exposition().decode(), alert


@pytest.mark.parametrize("alert", ["AlpharouteRedisAway", "AlpharouteKnowledgeStale"])
def test_a_router_that_is_cut_off_is_not_overlooked_between_the_scrapes_that_meet_it(alert: str) -> None:
    """Of several routers behind one address each scrape meets one, and the others do not hear of it any more."""
    (expression,) = (one["expr"] for one in _alerts() if one["alert"] == alert)
    assert re.fullmatch(r"(min|max)\(last_over_time\(alpharoute_\w+\{JOB\}\[10m\]\)\) (== 0|> 60)", expression)


def test_what_speculation_is_worth_is_added_up_as_the_console_does() -> None:
    """From the answers that were compared; a product of means of different answers is another number."""
    panels = {
        panel["title"]: panel["targets"][0]["expr"]
        for panel in json.loads((CHART / "dashboards" / "value.json").read_text())["panels"]
    }
    worth = [query for title, query in panels.items() if "saved" in title.lower() or title.endswith("by time")]
    assert len(worth) >= 4
    for query in worth:
        assert "alpharoute_compared_vanilla_seconds_total" in query
        assert "alpharoute_compared_generation_seconds_total" in query


def test_what_clients_asked_for_is_not_a_failure() -> None:
    """One client with x-request-timeout-ms: 1 must wake nobody."""
    (failing,) = (one["expr"] for one in _alerts() if one["alert"] == "AlpharouteFailing")
    assert "- (sum(rate(alpharoute_client_deadlines_total{JOB}[5m])) or vector(0))" in failing
