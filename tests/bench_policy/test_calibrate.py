"""Calibrating an engine: a known engine's step times and survival curves are found again."""

import asyncio
import random
from pathlib import Path

import orjson
import pytest
import yaml
from aiohttp import web
from aiohttp.test_utils import TestServer
from typer.testing import CliRunner

from bench.policy.calibration import costs, load_calibration
from engines.calibration_file import calibration, write
from engines.calibration_sweep import Measured, Sweep, measure
from engines.engine_client import MeasurementError
from engines.simulator.calibration import StepWork
from engines.simulator.engine import SimulatedEngine
from engines.simulator.server import SimulatorServer
from engines.simulator.settings import SimulatorSettings
from router.cli import app

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
    sweep = Sweep(batches=(1, 2, 4), ks=(0, 1, 2, 4), tokens=120, rounds=3, prompts_per_task=24)
    try:
        measured = await measure(str(server.make_url("")), "m", {t: [t] * 24 for t in H}, sweep)
    finally:
        await server.close()
    write(calibration("known", "Known.", measured, None, "d", "draft_model"), path)
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
async def test_an_engine_that_cannot_be_measured_says_why(status: int, body: dict[str, object], says: str) -> None:
    """No metrics, or an error: a MeasurementError with what to do or what was answered."""

    async def answer(request: web.Request) -> web.Response:
        return web.json_response(body, status=status)

    server = await served(answer)
    try:
        with pytest.raises(MeasurementError, match=says):
            await measure(str(server.make_url("")), "m", {"a": ["x"]}, Sweep())
    finally:
        await server.close()


async def test_an_engine_that_is_not_there() -> None:
    """A refused connection is a MeasurementError too."""
    server = await served(KnownEngine().complete)
    url = str(server.make_url(""))
    await server.close()
    with pytest.raises(MeasurementError, match="did not answer"):
        await measure(url, "m", {"a": ["x"]}, Sweep())


async def test_an_engine_without_drafts_is_no_speculative_one() -> None:
    """Nothing to fit a survival curve from: the error asks what the engine is."""
    server = await served(KnownEngine().complete)
    try:
        measured = await measure(str(server.make_url("")), "m", {t: [t] for t in H}, Sweep((1,), (0, 1), 20, 1, 1))
    finally:
        await server.close()
    with pytest.raises(MeasurementError, match="speculative engine"):
        calibration("x", "", Measured(measured.timed), None, "d", "draft_model")


def settings_of(method: str | None) -> SimulatorSettings:
    """The simulator as the CPU demo's engine, five times as fast: faster would measure a busy machine."""
    drafter = "d" if method == "draft_model" else None
    return SimulatorSettings(
        model="m", method=method, drafter=drafter, k_max=4, calibration="cpu-demo", time_scale=5.0, api_key="secret"
    )


async def test_the_command_finds_the_simulator_s_own_calibration(tmp_path: Path) -> None:
    """`alpharoute calibrate URL` against a speculative and a vanilla simulator: step times within 15 % of theirs, the
    acceptance of tasks in the right order, and a file that the benchmark takes."""
    prompts, out = tmp_path / "prompts.jsonl", tmp_path / "sim.yaml"
    tasks = ("sql_generation", "creative_writing")
    lines = [{"task": t, "prompt": f"[task:{t}] number {i} of these"} for t in tasks for i in range(12)]
    prompts.write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in lines))
    plain, drafting = (SimulatedEngine(settings_of(method)) for method in (None, "draft_model"))
    async with SimulatorServer(plain) as vanilla, SimulatorServer(drafting) as speculative:
        options = ["--vanilla-url", vanilla.url, "--batches", "1,4", "--ks", "0,1,4", "--tokens", "24", "--rounds", "1"]
        arguments = ["calibrate", speculative.url, "--out", str(out), "--prompts", str(prompts), "--json", *options]
        secret = {"ALPHAROUTE_ENGINE_KEY": "secret"}
        result = await asyncio.to_thread(CliRunner().invoke, app, arguments, env=secret)
    assert result.exit_code == 0, result.output
    told = [line for line in result.stderr.splitlines() if line.startswith("calibrate: ")]
    for stage in ("batches 0/6, started", "batches 6/6, done", "prompts of each task 24/24, done", "vanilla 2/2, done"):
        assert f"calibrate: {stage}" in told
    assert orjson.loads(result.stdout) == {"out": str(out), **yaml.safe_load(out.read_text())}
    found = load_calibration(str(out))
    cost = drafting.calibration.cost
    for batch, k in ((1, 0), (4, 0), (4, 4)):
        true_ms = cost.step_ms(StepWork(batch, batch * k, k), speculative=k > 0)
        assert 1e3 * costs(found, "drafter" if k else None).step_s(batch, batch * k, k, 0.0) == pytest.approx(
            true_ms, rel=0.15
        )
    curves = found.drafters["drafter"].tasks
    assert curves["sql_generation"][0] > curves["creative_writing"][0]
    assert found.prompt_tokens.mean > 1


async def test_an_engine_s_key_is_sent_to_no_other_host(tmp_path: Path) -> None:
    """A vanilla engine elsewhere gets its own, or none."""
    prompts, sent = tmp_path / "prompts.jsonl", list[str | None]()
    prompts.write_bytes(orjson.dumps({"task": "sql_generation", "prompt": "sure"}))

    async def answer(request: web.Request) -> web.Response:
        sent.append(request.headers.get("authorization"))
        return web.json_response({}, status=401)

    vanilla, speculative = await served(answer), await served(KnownEngine().complete)
    sweep = ["--model", "m", "--batches", "1", "--ks", "1", "--tokens", "8", "--rounds", "1", "--prompts", str(prompts)]
    try:
        for host, keys in (("127.0.0.1", {}), ("localhost", {}), ("localhost", {"ALPHAROUTE_VANILLA_KEY": "other"})):
            url = str(vanilla.make_url("").with_host(host))
            arguments = ["calibrate", str(speculative.make_url("")), "--vanilla-url", url, *sweep]
            secret = {"ALPHAROUTE_ENGINE_KEY": "secret", **keys}
            result = await asyncio.to_thread(CliRunner().invoke, app, arguments, env=secret)
            assert result.exit_code == 2, result.output
    finally:
        await vanilla.close()
        await speculative.close()
    assert sent == ["Bearer secret", None, "Bearer other"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--ks", "0"], "--ks"),
        (["--batches", "1,x"], "--batches '1,x'"),
        (["--prompts", "missing.jsonl"], "missing.jsonl"),
        ([], "did not answer"),
    ],
)
def test_a_wrong_call_says_what_is_wrong(tmp_path: Path, options: list[str], says: str) -> None:
    """Exit status 2 with the option, or what the engine did; no file is left."""
    out = tmp_path / "x.yaml"
    result = CliRunner().invoke(app, ["calibrate", "http://127.0.0.1:9", "--model", "m", "--out", str(out), *options])
    assert result.exit_code == 2
    assert says in result.output.replace("\n", " ")
    assert not out.exists()
