"""`python -m bench.scale`: what one router and one Redis pay for clusters of 16 to 1,000 replicas, and what follows."""

import asyncio
from pathlib import Path
from typing import Annotated

import orjson
import typer
from pydantic import SecretStr
from rich.console import Console
from rich.progress import track
from rich.table import Table

from bench.provenance import provenance
from bench.scale.measure import EXCHANGES, Cost, measure
from bench.scale.paper import CLUSTERS, Estimate, estimate
from router.config.settings import RedisSettings
from router.local.embedded_redis import EmbeddedRedis
from router.state.redis_client import connect_to

SIZES = ((16, 100), (100, 1_000), (1_000, 1_000), (1_000, 10_000))
"""Replicas and records."""


def main(
    json: Annotated[Path | None, typer.Option(help="Write everything here.")] = None,
    exchanges: Annotated[int, typer.Option(min=3, help="Exchanges that each median is of.")] = EXCHANGES,
) -> None:
    """Measure one router beside one Redis, then multiply."""
    began = provenance()
    with EmbeddedRedis() as redis:
        costs = asyncio.run(_measured(redis.url, exchanges))
    estimates = [estimate(cluster, costs) for cluster in CLUSTERS]
    out = Console()
    out.print(_measured_table(costs), _estimates_table(estimates))
    if json is not None:
        json.parent.mkdir(parents=True, exist_ok=True)
        result = {"provenance": {**began, "ended": provenance()}, "measured": costs, "estimated": estimates}
        json.write_bytes(orjson.dumps(result, option=orjson.OPT_INDENT_2))


async def _measured(url: str, exchanges: int) -> list[Cost]:
    redis = connect_to(RedisSettings(url=SecretStr(url)))
    try:
        sizes = track(SIZES, "measuring", console=Console(stderr=True))
        return [await measure(redis, replicas, records, exchanges) for replicas, records in sizes]
    finally:
        await redis.aclose()


def _measured_table(costs: list[Cost]) -> Table:
    heads = (
        "replicas",
        "records",
        "decision µs",
        "p99",
        "exchange ms",
        "Redis ms",
        "KiB read",
        "KiB/replica",
        "KiB/record",
    )
    table = Table(*heads, title="Measured: one router, one Redis")
    for cost in costs:
        table.add_row(
            f"{cost.replicas:,}",
            f"{cost.records:,}",
            *(f"{value:.0f}" for value in (cost.decision_us, cost.decision_p99_us)),
            *(f"{value:.2f}" for value in (cost.exchange_ms, cost.redis_ms)),
            f"{cost.redis_kib:.0f}",
            *(f"{value:.1f}" for value in (cost.kib_per_replica, cost.kib_per_record)),
        )
    return table


def _estimates_table(estimates: list[Estimate]) -> Table:
    heads = (
        "replicas",
        "requests/s",
        "routers",
        "router core",
        "Redis core",
        "Redis MB/s",
        "MiB a router",
        "first to break",
    )
    table = Table(*heads, title="What follows, in shares of a core")
    for found in estimates:
        table.add_row(
            f"{found.replicas:,}",
            f"{found.requests_per_s:,}",
            f"{found.routers:,}",
            *(f"{share:.0%}" for share in (found.exchange_share, found.redis_share)),
            f"{found.redis_mb_per_s:.1f}",
            f"{found.mib_per_router:.0f}",
            found.first,
        )
    return table


if __name__ == "__main__":
    typer.run(main)
