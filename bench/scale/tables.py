"""`python -m bench.scale.tables`: the committed result as the tables of docs/scale.md."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bench.document import markdown_table, write_table

RESULT, DOCUMENT = Path("bench/results/scale/one-router.json"), Path("docs/scale.md")


def tables(result: Path) -> Iterator[tuple[str, str]]:
    """Each table after its place in the document."""
    told = json.loads(result.read_text(encoding="utf-8"))
    yield "bench.scale", _measured(told["measured"])
    yield "bench.scale in clusters", _estimated(told["estimated"])


def _measured(costs: list[Mapping[str, Any]]) -> str:
    heads = (
        "replicas",
        "records",
        "decision, mean (p99)",
        "exchange: router",
        "Redis",
        "read from Redis",
        "memory per replica, record",
    )
    rows = [
        (
            f"{cost['replicas']:,}",
            f"{cost['records']:,}",
            f"{cost['decision_us']:.0f} µs ({cost['decision_p99_us']:.0f})",
            f"{cost['exchange_ms']:.1f} ms",
            f"{cost['redis_ms']:.2f} ms",
            f"{cost['redis_kib']:.0f} KiB",
            f"{cost['kib_per_replica']:.1f}, {cost['kib_per_record']:.1f} KiB",
        )
        for cost in costs
    ]
    return markdown_table(heads, rows)


def _estimated(clusters: list[Mapping[str, Any]]) -> str:
    heads = (
        "replicas",
        "requests/s",
        "routers",
        "of each router's core",
        "of Redis' core",
        "from Redis",
        "a router's copies",
    )
    rows = [
        (
            f"{cluster['replicas']:,}",
            f"{cluster['requests_per_s']:,}",
            str(cluster["routers"]),
            f"{cluster['exchange_share']:.0%}",
            f"{cluster['redis_share']:.0%}",
            f"{cluster['redis_mb_per_s']:.1f} MB/s",
            f"{cluster['mib_per_router']:.0f} MiB",
        )
        for cluster in clusters
    ]
    return markdown_table(heads, rows)


if __name__ == "__main__":
    for place, table in tables(RESULT):
        write_table(DOCUMENT, place, table)
        print(table, end="\n\n")
