"""The four figures of one target in one round."""

import asyncio
import os
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles
from typing import Any

from bench.overhead.client import Connection, chat

CONNECTIONS = 32
INSTANT, PACED = "instant", "paced"
"""Models: the first answers at once, the second a token every few ms, as an engine does."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a model is asked (base URL by model), and the process whose CPU time is counted, if it is known."""

    name: str
    urls: dict[str, str]
    pid: int | None = None


@dataclass(frozen=True, slots=True)
class Load:
    """How much one round asks of a target: sequential requests, seconds of load, tokens of a stream."""

    requests: int = 200
    seconds: float = 3.0
    stream_tokens: int = 2_000
    paced_tokens: int = 100


@dataclass(frozen=True, slots=True)
class Figures:
    """One round of one target; `cpu_us_per_chunk` is None where its process is not known."""

    p50_ms: float
    p99_ms: float
    requests_per_s: float
    chunks_per_s: float
    cpu_us_per_chunk: float | None
    cpu_us_per_request: float | None


async def measure(target: Target, load: Load) -> Figures:
    """Ask one target for everything, one thing after another."""
    took_ms = [took_s * 1000 for took_s in await _sequential(target, load.requests)]
    cuts = quantiles(took_ms, n=100)
    before_s = cpu_s(target.pid)
    answered, busy_s = await _answered(target, load.seconds)
    request_cpu_s = _since(before_s, target.pid)
    chunks, stream_s = await _streamed(target, INSTANT, load.stream_tokens)
    before_s = cpu_s(target.pid)
    paced, _ = await _streamed(target, PACED, load.paced_tokens)
    chunk_cpu_s = _since(before_s, target.pid)
    return Figures(
        p50_ms=cuts[49],
        p99_ms=cuts[98],
        requests_per_s=answered / busy_s,
        chunks_per_s=chunks / stream_s,
        cpu_us_per_chunk=None if chunk_cpu_s is None else chunk_cpu_s / paced * 1e6,
        cpu_us_per_request=None if request_cpu_s is None else request_cpu_s / answered * 1e6,
    )


def cpu_s(pid: int | None) -> float | None:
    """CPU seconds a process has used so far."""
    if pid is None:
        return None
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _since(before_s: float | None, pid: int | None) -> float | None:
    now_s = cpu_s(pid)
    return None if before_s is None or now_s is None else now_s - before_s


async def _sequential(target: Target, requests: int) -> list[float]:
    connection = await Connection.open(target.urls[INSTANT])
    body = chat(INSTANT, 1, stream=False)
    for _ in range(10):
        await connection.whole(body)
    took_s = [await connection.whole(body) for _ in range(requests)]
    connection.close()
    return took_s


async def _answered(target: Target, seconds: float) -> tuple[int, float]:
    body, until_s = chat(INSTANT, 1, stream=False), time.perf_counter() + seconds

    async def ask(connection: Connection) -> int:
        count = 0
        while time.perf_counter() < until_s:
            await connection.whole(body)
            count += 1
        return count

    return await _at_once(target.urls[INSTANT], ask)


async def _streamed(target: Target, model: str, tokens: int) -> tuple[int, float]:
    body = chat(model, tokens, stream=True)
    return await _at_once(target.urls[model], lambda connection: connection.events(body))


async def _at_once(url: str, work: Callable[[Connection], Coroutine[Any, Any, int]]) -> tuple[int, float]:
    connections = [await Connection.open(url) for _ in range(CONNECTIONS)]
    began_s = time.perf_counter()
    counts = await asyncio.gather(*map(work, connections))
    took_s = time.perf_counter() - began_s
    for connection in connections:
        connection.close()
    return sum(counts), took_s
