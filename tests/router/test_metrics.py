"""The metrics page: its names, and that what clients send cannot make it grow."""

import asyncio
import re
import threading
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.parser import text_string_to_metric_families
from service import CHAT, Service

from router.observe.pages import Board, MemoryBoard, Pages, Posted
from router.observe.redis_pages import RedisBoard
from router.observe.telemetry import Telemetry
from router.state.redis_store import Keys, connect

DOCUMENT = Path(__file__).parents[2] / "docs" / "metrics.md"
ROW = re.compile(r"^\| `(alpharoute_\w+)` \| (\w+) \| (.+?) \| .+ \|$", re.MULTILINE)


def documented() -> set[tuple[str, str, frozenset[str]]]:
    """Name, type and labels of every metric that the document tells of."""
    rows = ROW.findall(DOCUMENT.read_text())
    return {(name, kind, frozenset(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}


def exported() -> set[tuple[str, str, frozenset[str]]]:
    """The same of every metric that is exported."""
    families = Telemetry().registry._collector_to_names
    return {
        (family._name + "_total" * (family._type == "counter"), str(family._type), frozenset(family._labelnames))
        for family in families
        if isinstance(family, MetricWrapperBase)
    }


def test_the_document_tells_of_every_metric_and_of_no_other() -> None:
    """By name, type and labels: dashboards and alerts are built on these."""
    assert documented() == exported()


async def page(service: Service) -> dict[str, list[tuple[tuple[str, str], ...]]]:
    """The labels of every series by family, less the project's prefix."""
    async with service.session.get("/metrics") as got:
        assert got.headers["content-type"].startswith("text/plain; version=0.0.4")
        families = list(text_string_to_metric_families(await got.text()))
    assert all(family.name.startswith("alpharoute_") for family in families)
    return {
        family.name.removeprefix("alpharoute_"): [tuple(sorted(sample.labels.items())) for sample in family.samples]
        for family in families
        if not family.name.endswith("_created")
    }


async def test_a_request_is_counted_in_every_stage(service: Service) -> None:
    """And each series tells which router counted it."""
    async with service.session.post("/v1/chat/completions", json={**CHAT, "max_tokens": 4}) as got:
        assert got.status == 200
    for stage in ("read", "parse", "classify", "decide", "connect", "first_byte", "pass_on"):
        assert service.metric("stage_seconds_count", stage=stage) >= 1, stage
    assert service.total("output_tokens_total") == 4
    assert service.total("estimated_speedup_ratio_count") == 1
    assert service.total("prompt_tokens_total") > 0
    series = [labels for family in (await page(service)).values() for labels in family]
    assert all(("router", "router") in labels for labels in series)


async def test_positions_count_what_each_draft_did(service: Service) -> None:
    """Proposed at position 1 as often as steps drafted; in all as many as were proposed and accepted."""
    body = {**CHAT, "max_tokens": 40, "temperature": 0}
    async with service.session.post(
        "/v1/chat/completions", json=body, headers={"x-alpharoute-speculation": "on"}
    ) as got:
        steps = (await got.json())["metrics"]["speculative_decoding"]
    assert service.total("draft_positions_total", position="1", outcome="proposed") == steps["num_spec_steps"]
    assert service.total("draft_positions_total", outcome="proposed") == steps["num_draft_tokens"]
    assert service.total("draft_positions_total", outcome="accepted") == steps["num_accepted_draft_tokens"]


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.redis)])
async def board(request: pytest.FixtureRequest) -> AsyncIterator[Board]:
    """Each implementation, empty."""
    if request.param == "memory":
        yield MemoryBoard()
        return
    redis = connect(request.getfixturevalue("redis_url"), timeout_s=5)
    yield RedisBoard(redis, Keys(f"test-{uuid.uuid4().hex}"))
    await redis.aclose()


async def test_each_router_answers_for_all(board: Board) -> None:
    """Two routers' figures on one page, each family once; one that is long gone is left out."""
    pages = [Pages(name, Telemetry(), board) for name in ("r1", "r2")]
    for count, one in enumerate(pages, start=1):
        one.telemetry.requests.labels("/v1/x{y} z", 'a"b', "t", "200").inc(count)
        await one.exchange()
    await board.post("gone", Posted(time.time() - 60, pages[0].telemetry.exposition().decode()))
    await pages[0].exchange()
    families = {one.name: one for one in text_string_to_metric_families((await pages[0].page()).decode())}
    seen = {sample.labels["router"]: sample for sample in families["alpharoute_requests"].samples}
    assert {name: sample.value for name, sample in seen.items()} == {"r1": 1, "r2": 2}
    assert seen["r2"].labels["route"] == "/v1/x{y} z"
    assert seen["r2"].labels["model"] == 'a"b'
    assert {sample.labels["router"] for sample in families["alpharoute_redis_up"].samples} == {"r1", "r2"}


async def test_clients_cannot_make_the_page_grow(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names that clients invent (routes, models, tasks, segments, fields) become no series."""
    monkeypatch.setattr("router.observe.pages.FRESH_S", 0.0)

    async def probe(i: int) -> None:
        for path, body, headers in (
            (f"/v1/invented{i}", {}, {}),
            ("/v1/chat/completions", {**CHAT, "model": f"m{i}"}, {}),
            ("/v1/chat/completions", {**CHAT, f"field{i}": 1}, {}),
            ("/v1/chat/completions", CHAT, {"x-alpharoute-task": f"task{i}"}),
            ("/v1/chat/completions", CHAT, {"x-alpharoute-segment": f"s{i}"}),
            ("/v1/chat/completions", {**CHAT, "max_tokens": 1, "metadata": {"task": f"task{i}"}}, {}),
        ):
            async with service.session.post(path, json=body, headers=headers) as got:
                await got.read()
        async with service.session.delete("/health") as got:
            assert got.status == 405

    await probe(0)
    await page(service)
    before = {name: len(series) for name, series in (await page(service)).items()}
    await asyncio.gather(*(probe(i) for i in range(1, 40)))
    after = {name: len(series) for name, series in (await page(service)).items()}
    # Decisions vary with what was learnt meanwhile: by pool and k, which are the operator's.
    assert {name for name in after if after[name] > before[name]} <= {
        "decisions", "output_tokens", "prompt_tokens", "proposed_drafts", "draft_positions",
        "estimated_speedup_ratio", "accepted_drafts", "in_flight_requests",
        "time_to_first_token_seconds", "time_per_output_token_seconds",
    }  # fmt: skip
    assert after["decisions"] <= before["decisions"] + 10


async def test_scrapes_at_once_share_a_page_and_hold_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is written once, in a thread, for all who ask meanwhile and within a second; then anew."""
    one, go_on, written = Pages("r1", Telemetry(), MemoryBoard()), threading.Event(), []

    def slowly(pages: Mapping[str, str]) -> bytes:
        written.append(pages)
        assert go_on.wait(10), "the loop stands still"
        return b"page %d" % len(written)

    monkeypatch.setattr("router.observe.pages.one_page", slowly)
    asked = [asyncio.create_task(one.page()) for _ in range(5)]
    await asyncio.sleep(0)
    asked.pop().cancel()
    go_on.set()
    assert await asyncio.gather(*asked) == [b"page 1"] * 4
    assert await one.page() == b"page 1"
    one._fresh_until_s = 0.0
    assert await one.page() == b"page 2"


async def test_a_router_tells_of_itself_while_the_board_is_away() -> None:
    """And goes on trying, whatever came back."""
    asked = asyncio.Event()

    class Away(MemoryBoard):
        async def posted(self) -> Mapping[str, Posted]:
            asked.set()
            raise ValueError("not a page")

    one = Pages("r1", Telemetry(), Away())
    running = asyncio.create_task(one.run())
    await asyncio.wait_for(asked.wait(), 5)
    await asyncio.wait({running}, timeout=0.05)
    assert not running.done()
    running.cancel()
    families = list(text_string_to_metric_families((await one.page()).decode()))
    assert {sample.labels["router"] for family in families for sample in family.samples} == {"r1"}


def test_series_that_were_cleared_count_anew() -> None:
    """The shortcut to a series does not outlive it, and tells series apart as their labels do."""
    telemetry = Telemetry()
    for pool, state in (("a", "ready"), ("a", "down"), ("a", "ready")):
        telemetry.replicas.labels(pool, state).inc()
    assert telemetry.registry.get_sample_value("alpharoute_engine_replicas", {"pool": "a", "state": "ready"}) == 2
    telemetry.replicas.clear()
    assert b"alpharoute_engine_replicas{" not in telemetry.exposition()
    telemetry.replicas.labels("a", "ready").inc()
    assert telemetry.registry.get_sample_value("alpharoute_engine_replicas", {"pool": "a", "state": "ready"}) == 1
