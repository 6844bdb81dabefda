"""How busy a vLLM engine is, read from its /metrics."""

from dataclasses import dataclass

import aiohttp

_RUNNING, _WAITING, _KV = b"vllm:num_requests_running", b"vllm:num_requests_waiting", b"vllm:kv_cache_usage_perc"
_TOKENS = (b"vllm:prompt_tokens_total", b"vllm:generation_tokens_total")


@dataclass(frozen=True, slots=True)
class EngineLoad:
    """Requests in the batch and in the queue; `kv_usage` is a share, 0–1; `tokens` of prompts and outputs so far."""

    running: int
    waiting: int
    kv_usage: float
    tokens: int = 0


def parse_load(metrics: bytes) -> EngineLoad:
    """The load in a Prometheus page: summed over the engines behind one server, the fullest KV cache.

    Raises ValueError where the page is not vLLM's.
    """
    running, kv = _values(metrics, _RUNNING), _values(metrics, _KV)
    if not running:
        raise ValueError(
            f"no {_RUNNING.decode()} in /metrics: not a vLLM server, or one started with --disable-log-stats"
        )
    return EngineLoad(
        running=int(sum(running)),
        waiting=int(sum(_values(metrics, _WAITING))),
        kv_usage=min(1.0, max(kv, default=0.0)),
        tokens=int(sum(sum(_values(metrics, name)) for name in _TOKENS)),
    )


async def read_load(session: aiohttp.ClientSession, url: str, api_key: str | None = None) -> EngineLoad:
    """Ask the engine at `url` (base, without /v1); raises aiohttp.ClientError, TimeoutError or ValueError."""
    headers = {"authorization": f"Bearer {api_key}"} if api_key else None
    async with session.get(f"{url}/metrics", headers=headers, raise_for_status=True) as answer:
        return parse_load(await answer.read())


def _values(metrics: bytes, name: bytes) -> list[float]:
    """Values of the samples called exactly `name`: found by search, for parsing the whole page costs 50 times more."""
    values: list[float] = []
    start = metrics.find(b"\n" + name)
    while start >= 0:
        end = metrics.find(b"\n", start + 1)
        line = metrics[start + 1 : end if end >= 0 else len(metrics)]
        if line[len(name) : len(name) + 1] in (b"{", b" "):
            values.append(float(line.rsplit(b" ", 1)[1]))
        start = metrics.find(b"\n" + name, start + 1)
    return values
