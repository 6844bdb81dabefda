"""Calibrating an engine: a known engine's step times and survival curves are found again."""

import asyncio
import random
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from bench.calibrate import CalibrationError, Sweep, calibrate
from bench.policy.calibration import load_calibration

H = {"sure": 0.9, "doubtful": 0.4}


class KnownEngine:
    """Answers at once with the metrics of an engine whose step takes 10 + 2·B + 1·B·k + 3·k ms."""

    def __init__(self) -> None:
        self.inside = 0
        self.peak = 0
        self.rng = random.Random(1)

    async def complete(self, request: web.Request) -> web.Response:
        """One completion; it waits until its whole batch has arrived, as a lockstep batch would."""
        body = await request.json()
        k, tokens = body["vllm_xargs"]["spec_k"], body["max_tokens"]
        self.inside += 1
        for _ in range(20):
            await asyncio.sleep(0)
        batch = self.peak = max(self.peak, self.inside)
        await asyncio.sleep(0.005)
        self.inside -= 1
        if not self.inside:
            self.peak = 0
        h, accepted, left = H[body["prompt"]], [], tokens - 1
        while k and left > 0:
            j = 0
            while j < k and self.rng.random() < h:
                j += 1
            accepted.append(j)
            left -= j + 1
        steps = len(accepted) if k else tokens - 1
        generation_ms = steps * (10 + 2 * batch + batch * k + 3 * k)
        speculative = {
            "num_spec_steps": len(accepted),
            "per_step_drafted": [k] * len(accepted),
            "per_step_accepted": accepted,
        }
        metrics = {
            "time_to_first_token_ms": 5.0,
            "generation_time_ms": generation_ms,
            "speculative_decoding": speculative,
        }
        return web.json_response({"usage": {"completion_tokens": tokens}, "metrics": metrics})


async def served(handler: object) -> TestServer:
    """A server with this completion handler on a free port."""
    app = web.Application()
    app.router.add_post("/v1/completions", handler)  # type: ignore[arg-type]  # a coroutine function
    server = TestServer(app)
    await server.start_server()
    return server


async def test_a_known_engine_is_found_again(tmp_path: Path) -> None:
    """Coefficients within 10 %, survival curves within .05, and the file is one that the simulator reads."""
    server = await served(KnownEngine().complete)
    path = tmp_path / "known.yaml"
    sweep = Sweep(batches=(1, 2, 4), ks=(0, 1, 2, 4), tokens=120, rounds=3)
    try:
        await calibrate(str(server.make_url("")), "m", {t: [t] for t in H}, path, drafter="d", sweep=sweep)
    finally:
        await server.close()
    found = load_calibration(str(path))
    step = found.step
    assert step.base_ms + step.per_request_ms == pytest.approx(12, rel=0.1)
    drafting_ms = 16 * step.per_draft_ms + step.speculating_ms + 4 * step.per_k_ms
    assert step.base_ms + 4 * step.per_request_ms + drafting_ms == pytest.approx(46, rel=0.1)
    curves = found.drafters["d"].tasks
    assert curves["sure"][:2] == pytest.approx((0.9, 0.81), abs=0.05)
    assert curves["doubtful"][:2] == pytest.approx((0.4, 0.16), abs=0.06)


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [
        (200, {"usage": {"completion_tokens": 5}}, "--enable-per-request-metrics"),
        (404, {"error": "no such model"}, "404"),
    ],
)
async def test_an_engine_that_cannot_be_measured_says_why(
    tmp_path: Path, status: int, body: dict[str, object], says: str
) -> None:
    """No metrics, or an error: a CalibrationError with what to do or what was answered."""

    async def answer(request: web.Request) -> web.Response:
        return web.json_response(body, status=status)

    server = await served(answer)
    try:
        with pytest.raises(CalibrationError, match=says):
            await calibrate(str(server.make_url("")), "m", {"a": ["x"]}, tmp_path / "x.yaml")
    finally:
        await server.close()


async def test_an_engine_that_is_not_there(tmp_path: Path) -> None:
    """A refused connection is a CalibrationError too."""
    server = await served(KnownEngine().complete)
    url = str(server.make_url(""))
    await server.close()
    with pytest.raises(CalibrationError, match="did not answer"):
        await calibrate(url, "m", {"a": ["x"]}, tmp_path / "x.yaml")
