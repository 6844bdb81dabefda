"""The metrics page: its names, and that what clients send cannot make it grow."""

import asyncio

from prometheus_client.parser import text_string_to_metric_families
from service import CHAT, Service

NAMES = {
    "aborted_requests",
    "accepted_drafts",
    "decisions",
    "engine_failures",
    "engine_replicas",
    "in_flight_requests",
    "knowledge_age_seconds",
    "output_tokens",
    "proposed_drafts",
    "redis_errors",
    "redis_up",
    "requests",
    "retries",
    "stage_seconds",
    "time_per_output_token_seconds",
    "time_to_first_token_seconds",
    "unmeasured_requests",
}
"""Dashboards and alerts are built on these: one that is renamed breaks them."""


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


async def test_the_names_are_those_that_dashboards_use(service: Service) -> None:
    """None is missing, none was added unseen."""
    async with service.session.post("/v1/chat/completions", json={**CHAT, "max_tokens": 4}) as got:
        assert got.status == 200
    assert set(await page(service)) == NAMES


async def test_clients_cannot_make_the_page_grow(service: Service) -> None:
    """Names that clients invent (routes, models, tasks, segments, fields) become no series."""

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
        "decisions", "output_tokens", "proposed_drafts", "accepted_drafts", "in_flight_requests",
        "time_to_first_token_seconds", "time_per_output_token_seconds",
    }  # fmt: skip
    assert after["decisions"] <= before["decisions"] + 10
