"""Measure a live engine and write the calibration file that `bench.policy` simulates: step times over B × k, and
survival curves.

The engine is anything that speaks the engine contract: `vllm_xargs.spec_k`, metrics in the last chunk or body.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median

import aiohttp
import numpy as np
import yaml

from bench.policy.calibration import Calibration
from engines.contract import SPEC_K, EngineMetrics, parse_metrics
from policies.nnls import nonnegative

TIMEOUT_S = 300.0


class CalibrationError(Exception):
    """The engine could not be measured; the message says what it answered."""


@dataclass(frozen=True, slots=True)
class Sweep:
    """What to run: each prompt set (by task) at every batch and k, answers of `tokens` tokens."""

    batches: tuple[int, ...] = (1, 2, 4, 8)
    ks: tuple[int, ...] = (0, 1, 2, 4)
    tokens: int = 64
    rounds: int = 2
    temperature: float = 0.0


@dataclass(frozen=True, slots=True)
class Point:
    """Median step time of a batch at one k, over its answers."""

    batch: int
    k: int
    step_ms: float
    answers: int


@dataclass(frozen=True, slots=True)
class Answer:
    """One measured answer."""

    task: str
    batch: int
    k: int
    metrics: EngineMetrics


async def measure(
    url: str, model: str, prompts: Mapping[str, Sequence[str]], sweep: Sweep, api_key: str | None = None
) -> list[Answer]:
    """Run the sweep; batches are closed loops of `batch` requests started together. CalibrationError where it fails."""
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    answers: list[Answer] = []
    async with aiohttp.ClientSession(url.rstrip("/"), headers=headers, timeout=timeout) as session:
        for k in sweep.ks:
            for batch in sweep.batches:
                for task, texts in prompts.items():
                    answers += await _batch(session, model, task, texts, batch, k, sweep)
    return answers


async def _batch(
    session: aiohttp.ClientSession, model: str, task: str, texts: Sequence[str], batch: int, k: int, sweep: Sweep
) -> list[Answer]:
    found: list[Answer] = []
    for turn in range(sweep.rounds):
        asked = [texts[(turn * batch + i) % len(texts)] for i in range(batch)]
        metrics = await asyncio.gather(*(_ask(session, model, text, k, sweep) for text in asked))
        found += [Answer(task, batch, k, one) for one in metrics]
    return found


async def _ask(session: aiohttp.ClientSession, model: str, text: str, k: int, sweep: Sweep) -> EngineMetrics:
    body = {
        "model": model,
        "prompt": text,
        "max_tokens": sweep.tokens,
        "min_tokens": sweep.tokens,
        "temperature": sweep.temperature,
        "vllm_xargs": {SPEC_K: k},
    }
    try:
        async with session.post("/v1/completions", json=body) as response:
            if response.status != 200:
                raise CalibrationError(f"{response.url}: {response.status}: {(await response.text())[:300]}")
            metrics = parse_metrics(await response.json())
    except (aiohttp.ClientError, TimeoutError) as error:
        raise CalibrationError(f"the engine did not answer: {error!r}") from None
    if metrics is None:
        raise CalibrationError("the answer carries no metrics: start the engine with --enable-per-request-metrics")
    return metrics


def points(answers: Sequence[Answer]) -> list[Point]:
    """Median step time per (batch, k) in which an answer ran at least four steps."""
    times: dict[tuple[int, int], list[float]] = {}
    for answer in answers:
        metrics = answer.metrics
        accepted = sum(metrics.steps.accepted) if metrics.steps else 0
        drafting = len(metrics.steps.drafted) if metrics.steps else 0
        steps = max(drafting, metrics.output_tokens - accepted - 1)
        if steps >= 4 and metrics.generation_ms > 0:
            times.setdefault((answer.batch, answer.k), []).append(metrics.generation_ms / steps)
    return [Point(b, k, median(values), len(values)) for (b, k), values in sorted(times.items())]


@dataclass(frozen=True, slots=True)
class Fitted:
    """Step-time coefficients in ms, and the mean relative error of the fit."""

    base_ms: float
    per_request_ms: float
    per_draft_ms: float
    speculating_ms: float
    per_k_ms: float
    error: float


def fit(measured: Sequence[Point]) -> Fitted:
    """Non-negative least squares of step time on [1, B, B·k, 1(k>0), k], errors relative. CalibrationError under 4
    points."""
    if len(measured) < 4:
        raise CalibrationError(f"{len(measured)} usable points: at least 4 are needed (longer answers, more batches)")
    rows = np.array([(1, p.batch, p.batch * p.k, p.k > 0, p.k) for p in measured], dtype=np.float64)
    times = np.array([p.step_ms for p in measured])
    scaled = rows / times[:, None]
    a = scaled.T @ scaled + 1e-9 * np.diag((scaled**2).sum(axis=0) + 1e-12)
    theta = nonnegative(a.tolist(), scaled.sum(axis=0).tolist())
    error = float(np.mean(np.abs(rows @ np.array(theta) / times - 1)))
    return Fitted(theta[0], theta[1], theta[2], theta[3], theta[4], error)


def survival(answers: Sequence[Answer], k_max: int) -> dict[str, tuple[float, ...]]:
    """S(1) … S(k_max) per task over steps that drafted: conditional acceptance with short drafts censored."""
    curves: dict[str, tuple[float, ...]] = {}
    for task in dict.fromkeys(answer.task for answer in answers):
        s, e = np.zeros(k_max), np.zeros(k_max)
        for answer in answers:
            if answer.task == task and answer.metrics.steps is not None:
                for drafted, accepted in zip(answer.metrics.steps.drafted, answer.metrics.steps.accepted, strict=True):
                    s[:accepted] += 1
                    e[: min(accepted + 1, drafted)] += 1
        if e[0] > 0:
            h = np.where(e > 0, s / np.maximum(e, 1), 0.0)
            curves[task] = tuple(round(float(v), 4) for v in np.cumprod(h))
    return curves


def calibration(
    name: str,
    provenance: str,
    speculative: Sequence[Answer],
    vanilla: Sequence[Answer] | None,
    drafter: str,
    method: str,
) -> Calibration:
    """Put a calibration together from a speculative engine's sweep and, if there is one, a vanilla engine's.

    Without a vanilla engine its step time is taken to be that of k = 0 in the speculative one.
    """
    found = fit(points(speculative))
    k_max = max(answer.k for answer in speculative)
    curves = survival(speculative, k_max)
    if not curves:
        raise CalibrationError("no answer reported verify steps: is this a speculative engine with detailed metrics?")
    idle = 0.0
    if vanilla is not None:
        plain, base = points(vanilla), {(p.batch, p.k): p.step_ms for p in points(speculative)}
        ratios = [base[p.batch, 0] / p.step_ms for p in plain if (p.batch, 0) in base]
        idle = max(0.0, min(1.0, fmean(ratios) - 1)) if ratios else 0.0
        found = fit([*plain, *(p for p in points(speculative) if p.k > 0)])
    tokens = fmean(answer.metrics.output_tokens for answer in speculative)
    data = {
        "name": name,
        "provenance": f"{provenance} Mean error of the step-time fit: {found.error:.1%}.",
        "step": {
            "base_ms": round(found.base_ms, 4),
            "per_request_ms": round(found.per_request_ms, 5),
            "per_draft_ms": round(found.per_draft_ms, 5),
            "speculating_ms": round(found.speculating_ms, 4),
            "per_k_ms": round(found.per_k_ms, 4),
            "idle_drafter_share": round(idle, 4),
            "noise": round(min(0.5, max(0.01, found.error)), 4),
        },
        "max_running": max(answer.batch for answer in speculative),
        "k_max": k_max,
        "output_tokens": {"mean": round(tokens, 1), "spread": 0.5, "smallest": 4},
        "drafters": {drafter: {"method": method, "tasks": curves}},
    }
    return Calibration.model_validate(data)


def write(found: Calibration, path: Path) -> None:
    """Write the file that `python -m bench.policy --calibration PATH` reads."""
    path.write_text(
        yaml.safe_dump(found.model_dump(mode="json", exclude_none=True), sort_keys=False, allow_unicode=True)
    )


async def calibrate(
    url: str,
    model: str,
    prompts: Mapping[str, Sequence[str]],
    path: Path,
    *,
    vanilla_url: str | None = None,
    drafter: str = "drafter",
    method: str = "draft_model",
    sweep: Sweep | None = None,
    api_key: str | None = None,
) -> Calibration:
    """Sweep a speculative engine (and a vanilla one, if given), fit, write the file, and return what was written."""
    sweep = sweep or Sweep()
    speculative = await measure(url, model, prompts, sweep, api_key)
    vanilla = None
    if vanilla_url is not None:
        plain = Sweep(sweep.batches, (0,), sweep.tokens, sweep.rounds, sweep.temperature)
        vanilla = await measure(vanilla_url, model, prompts, plain, api_key)
    provenance = f"Measured on {url} ({model}), B in {sweep.batches}, k in {sweep.ks}, {sweep.tokens} tokens each."
    found = calibration(path.stem, provenance, speculative, vanilla, drafter, method)
    write(found, path)
    return found
