"""`alpharoute evaluate`, what it writes into the acceptance store, and the probes that do so on a schedule."""

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path
from uuid import uuid4

import orjson
import pytest
from service import DRAFT, KEY, Service, running_service, settings_with, simulator
from typer.testing import CliRunner, Result

from engines.registry import Heartbeat
from policies.keys import Key
from policies.request import Request
from router.cli import app
from router.evaluation import HOUR_S, LAST, Schedule
from router.state.redis_client import connect
from router.state.redis_registry import RedisRegistry
from router.state.redis_store import Keys, RedisStore
from router.state.store import Cursor

TASKS = ("sql_generation", "creative_writing")
PROBES = {task: [f"[task:{task}] number {i}" for i in range(6)] for task in TASKS}
QUICK = ("--rounds", "1", "--k", "0,2,4", "--per-task", "4", "--tokens", "48")


@pytest.fixture
def probe_file(tmp_path: Path) -> Path:
    """The probes as the command reads them."""
    file = tmp_path / "probes.jsonl"
    lines = ({"task": task, "prompt": text} for task, texts in PROBES.items() for text in texts)
    file.write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in lines))
    return file


async def invoke(*arguments: str, env: Mapping[str, str] | None = None) -> Result:
    """The command in a thread, so that the engines in this one may answer."""
    keys = {"ALPHAROUTE_ENGINE_KEY": KEY, **(env or {})}
    return await asyncio.to_thread(CliRunner().invoke, app, ["evaluate", *arguments], env=keys)


async def test_an_engine_is_measured_and_the_three_reports_agree(tmp_path: Path, probe_file: Path) -> None:
    """JSON holds every answer and the figures, Markdown and the plot are written; SQL survives further than poems."""
    text, plot = tmp_path / "report.md", tmp_path / "report.png"
    async with simulator(DRAFT, calibration="cpu-demo", time_scale=50.0) as engine:
        options = ("--prompts", str(probe_file), "--report", str(text), "--plot", str(plot), "--json", *QUICK)
        result = await invoke(engine.url, *options)
    assert result.exit_code == 0, result.output
    said = orjson.loads(result.stdout)
    assert len(said["rows"]) == 2 * 4 * 3
    figures = said["figures"]["drafter"]
    alphas = {task: figures[task]["by_k"]["4"]["alpha"]["value"] for task in TASKS}
    assert alphas["sql_generation"] > alphas["creative_writing"]
    assert figures["sql_generation"]["advice"]["speculate"] == "on"
    assert f"{alphas['sql_generation']:.2f} [" in text.read_text()
    assert plot.read_bytes().startswith(b"\x89PNG")


async def test_a_worse_drafter_on_the_same_prompts_is_found(tmp_path: Path, probe_file: Path) -> None:
    """Two engines at once, and an earlier report against now: the tasks that fell are named, and the exit code is 1."""
    async with (
        simulator(DRAFT, calibration="cpu-demo", time_scale=50.0) as good,
        simulator(DRAFT, calibration="cpu-demo", time_scale=50.0) as worn,
    ):
        options = ("--prompts", str(probe_file), *QUICK)
        worn.engine.acceptance_scale["sql_generation"] = 0.3
        file = tmp_path / "before.json"
        file.write_text((await invoke(good.url, "--json", *options)).stdout)
        same = await invoke(good.url, "--compare", str(file), *options)
        others = await invoke(good.url, "--compare", str(file), "--prompts", "demo", *QUICK)
        beside = await invoke(worn.url, good.url, "--json", *options)
    assert same.exit_code == 0, same.output
    assert "No task's acceptance fell" in same.output
    assert others.exit_code == 2
    assert "prompts_fingerprint" in others.output
    assert beside.exit_code == 1, beside.output
    changes = orjson.loads(beside.stdout)["changes"]
    assert [task for task, found in changes.items() if found["verdict"] == "fell"] == ["sql_generation"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("http://127.0.0.1:9", "--k", "0"), "--k needs a k above 0"),
        (("http://127.0.0.1:9", "--model", "m"), "did not answer"),
        (("http://127.0.0.1:9", "--once"), "--once needs --vanilla"),
        (("http://127.0.0.1:9", "--compare", "missing.json"), "missing.json"),
        (("http://127.0.0.1:9", "--prompts", "missing.jsonl", "--model", "m"), "missing.jsonl"),
        (("http://127.0.0.1:9", "--store"), "--store with a URL needs"),
        (("draft",), "embedded"),
    ],
)
async def test_a_wrong_call_says_what_is_wrong(options: tuple[str, ...], says: str) -> None:
    """Exit code 2 and a sentence."""
    result = await invoke(*options)
    assert result.exit_code == 2
    assert says in result.output.replace("\n", " ")


async def test_a_pool_of_a_service_is_found_by_name_and_its_records_are_taught(
    redis_url: str, probe_file: Path
) -> None:
    """`evaluate POOL --store`: the engine comes from the registry, its answers are in the record that routers read."""
    prefix = f"test-{uuid4().hex[:8]}"
    redis = connect(redis_url, timeout_s=5)
    keys = Keys(prefix)
    async with simulator(DRAFT, calibration="cpu-demo", time_scale=50.0) as engine:
        beat: dict[str, object] = {
            "replica": "draft-1",
            "pool": "draft",
            "model": "demo",
            "target": "big@1",
            "drafter": "small@2",
        }
        beat |= {"method": "draft_model", "k_max": 4, "url": engine.url, "api_key": KEY, "clock_s": time.time()}
        await RedisRegistry(redis, keys).announce(Heartbeat.model_validate(beat), 60)
        env = {"ALPHAROUTE_REDIS__URL": redis_url, "ALPHAROUTE_REDIS__PREFIX": prefix, "ALPHAROUTE_ENGINE_KEY": ""}
        result = await invoke("draft", "--store", "--prompts", str(probe_file), *QUICK, env=env)
        nobody = await invoke("other", env=env)
    records = (await RedisStore(redis, keys).changes(Cursor())).records
    await redis.aclose()
    assert result.exit_code == 0, result.output
    assert "8 answers were written" in result.output
    taught = records[Key("big@1", "small@2", "sql_generation", "default", "0").encode()]
    assert taught.fields["n"] == pytest.approx(4, rel=0.2)
    assert nobody.exit_code == 2
    assert "ready pools: draft" in nobody.output


def schedule_of(service: Service, now_s: list[float]) -> Schedule:
    """The service's schedule of probes, on a clock that the test sets."""
    ingress = service.ingress
    knowledge, sharing = ingress.pilot.knowledge, ingress.recorder.sharing
    return Schedule(service.settings.evaluation, {"demo": PROBES}, ingress.fleet, knowledge, sharing, lambda: now_s[0])


async def test_probes_teach_tasks_with_little_traffic_and_leave_the_others_alone() -> None:
    """A round asks each thin task of each speculative pool; the next is due only when its hours are over."""
    settings = settings_with(evaluation={"every_h": 2, "per_task": 3, "below_requests": 3})
    vanilla, draft = settings.pools
    async with running_service(settings, {"vanilla-1": simulator(vanilla), "draft-1": simulator(draft)}) as service:
        now_s = [time.time()]
        schedule = schedule_of(service, now_s)
        assert schedule.due()
        assert await schedule.round() == 6
        assert not schedule.due()
        ingress = service.ingress
        replica = ingress.fleet.replicas("demo")[1]
        asked = Request("demo", "sql_generation", temperature=0.0)
        assert ingress.pilot.knowledge.curve(asked, replica.pool, now_s[0]).requests == pytest.approx(3, rel=0.1)
        now_s[0] += 2 * HOUR_S + 1
        assert schedule.due()
        known = {name: ingress.pilot.knowledge.record(name) for name in ingress.pilot.knowledge.records}
        assert LAST in known


async def test_probes_stay_away_from_a_busy_engine_and_are_off_unless_set() -> None:
    """No probe goes where half the places are taken; without hours none is ever due."""
    settings = settings_with(evaluation={"every_h": 2})
    vanilla, draft = settings.pools
    async with running_service(settings, {"vanilla-1": simulator(vanilla), "draft-1": simulator(draft)}) as service:
        schedule = schedule_of(service, [time.time()])
        await service.announce("draft-1", running=9, max_running=10, clock_s=time.time() + 1)
        await service.until(lambda: any(one.running >= 9 for one in service.ingress.fleet.replicas("demo")))
        assert await schedule.round() == 0
    off = settings_with()
    async with running_service(off, {"vanilla-1": simulator(vanilla), "draft-1": simulator(draft)}) as service:
        assert not schedule_of(service, [time.time()]).due()
