"""The four figures of one target in one round."""

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import quantiles
from typing import Any

from bench.overhead.client import Connection, chat

CONNECTIONS = 32
INSTANT, PACED = "instant", "paced"
"""Models: the first answers at once, the second a token every few ms, as an engine does."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a model is asked (base URL by model), and the router processes whose CPU time is counted, if known.

    `beside`: the other processes that work for a request, by what they are; looked for each time, since Serve reloads
    HAProxy when a router comes.
    """

    name: str
    urls: dict[str, str]
    pids: tuple[int, ...] = ()
    beside: Mapping[str, Callable[[], tuple[int, ...]]] = field(default_factory=dict)

    @property
    def account(self) -> dict[str, tuple[int, ...]]:
        """Every process that shares this machine's cores, the load generator's own among them."""
        router = {"router": self.pids} if self.pids else {}
        return {"load": (os.getpid(),), **{kind: find() for kind, find in self.beside.items()}, **router}


@dataclass(frozen=True, slots=True)
class Load:
    """How much one round asks of a target: sequential requests, seconds of load, tokens of a stream."""

    requests: int = 200
    seconds: float = 3.0
    stream_tokens: int = 2_000
    paced_tokens: int = 100


@dataclass(frozen=True, slots=True)
class Figures:
    """One round of one target; figures of CPU are None where its processes are not known.

    `requests_per_s_with_cores`: what its router processes could answer with a core each, by the CPU time of the one
    that had most of it: requests answered per CPU second of that one. It does not depend on who else uses the cores.
    `account_us`: CPU time per request of everything on the machine that works for it, router replicas together.
    """

    p50_ms: float
    p99_ms: float
    requests_per_s: float
    chunks_per_s: float
    cpu_us_per_chunk: float | None
    cpu_us_per_request: float | None
    requests_per_s_with_cores: float | None = None
    account_us: Mapping[str, float] = field(default_factory=dict)


async def measure(target: Target, load: Load) -> Figures:
    """Ask one target for everything, one thing after another."""
    took_ms = [took_s * 1000 for took_s in await _sequential(target, load.requests)]
    cuts = quantiles(took_ms, n=100)
    before_s, account_s = cpu_s(target.pids), _account_s(account := target.account)
    answered, busy_s = await _answered(target, load.seconds)
    request_cpu_s = _since(before_s, target.pids)
    now_s = _account_s(account)
    spent_s = {kind: sum(now_s[kind][pid] - account_s[kind][pid] for pid in now_s[kind]) for kind in account}
    chunks, stream_s = await _streamed(target, INSTANT, load.stream_tokens)
    before_s = cpu_s(target.pids)
    paced, _ = await _streamed(target, PACED, load.paced_tokens)
    chunk_cpu_s = _since(before_s, target.pids)
    return Figures(
        p50_ms=cuts[49],
        p99_ms=cuts[98],
        requests_per_s=answered / busy_s,
        chunks_per_s=chunks / stream_s,
        cpu_us_per_chunk=sum(chunk_cpu_s) / paced * 1e6 if chunk_cpu_s else None,
        cpu_us_per_request=sum(request_cpu_s) / answered * 1e6 if request_cpu_s else None,
        requests_per_s_with_cores=answered / max(request_cpu_s) if request_cpu_s else None,
        account_us={kind: one_s / answered * 1e6 for kind, one_s in spent_s.items()},
    )


def cpu_s(pids: tuple[int, ...]) -> tuple[float, ...]:
    """CPU seconds that each process has used so far."""
    stats = (Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids)
    return tuple((int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") for fields in stats)


def _since(before_s: tuple[float, ...], pids: tuple[int, ...]) -> tuple[float, ...]:
    return tuple(now_s - then_s for then_s, now_s in zip(before_s, cpu_s(pids), strict=True))


def _account_s(account: Mapping[str, tuple[int, ...]]) -> dict[str, dict[int, float]]:
    """CPU seconds by process, less those that have ended."""
    found: dict[str, dict[int, float]] = {kind: {} for kind in account}
    for kind, pids in account.items():
        for pid in pids:
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                (found[kind][pid],) = cpu_s((pid,))
    return found


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
