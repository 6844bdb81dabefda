"""bench.live: the same prompts for every arm, and figures that compare like with like."""

import asyncio
import random
import time
from dataclasses import replace
from io import StringIO
from pathlib import Path
from statistics import fmean
from typing import Any

import orjson
import pytest
import torch
import typer
from rich.console import Console
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from bench.live.__main__ import _examples, main
from bench.live.arms import ARMS, OURS, STANDARD, WORN, Drafter, Hit, Share
from bench.live.load import Load, blocks, closed_loop
from bench.live.plan import Shot, Workload, plan, without
from bench.live.plot import draw, read
from bench.live.report import (
    LEARNT,
    STATIC,
    Session,
    adaptation,
    learnt,
    oracle_ms,
    paired_ratio,
    regret,
    requests_to_adapt,
    settled,
    summary,
    tables,
)
from bench.live.worn import worn_copy
from engines.demo.workload import ExampleRequest, load_workload
from engines.registry import Heartbeat
from router.state.store import MemoryRegistry

EXAMPLES = [ExampleRequest(task, f"{task} {i}", 32) for task in ("sql_generation", "translation") for i in range(3)]

SHOT = Shot(0, "t", "p", 32, 0.0, 0)


def _hits(arm: str, times_ms: list[float], k: int = 0) -> list[Hit]:
    shots = [Shot(i, "sql_generation", "p", 32, 0.0, i) for i in range(len(times_ms))]
    return [
        Hit(arm, shot, block, "sql_generation", "draft" if k else "vanilla", k, "fastest", 10, 10 * ms)
        for block, (shot, ms) in enumerate(zip(shots, times_ms, strict=True))
    ]


def test_a_plan_has_every_task_at_every_temperature_in_each_round() -> None:
    """Rounds are balanced, so that no task's luck decides; the same seed gives the same plan."""
    shots = list(plan(EXAMPLES, rounds=3, temperatures=[0, 1], seed=7))
    for number in range(3):
        kinds = sorted((shot.task, shot.temperature) for shot in shots if shot.round == number)
        assert kinds == [(task, t) for task in ("sql_generation", "translation") for t in (0, 1)]
    assert shots == list(plan(EXAMPLES, rounds=3, temperatures=[0, 1], seed=7))


def test_the_ratio_is_of_means_and_its_interval_pairs_prompts() -> None:
    """Half the time on every prompt is .5 exactly, however much prompts differ."""
    draws = random.Random(1)
    theirs = [draws.uniform(5, 50) for _ in range(40)]
    ratio = paired_ratio(_hits(OURS, [ms / 2 for ms in theirs]), _hits("other", theirs))
    assert (ratio.value, ratio.low, ratio.high) == pytest.approx((0.5, 0.5, 0.5))


def test_what_learning_costs_is_told_from_what_is_learnt() -> None:
    """Ten slow requests, and then the best fixed choice: no regret is left after them."""
    fixed = [hit for arm in STATIC for hit in _hits(arm, [20.0] * 20)]
    session = Session("1 client", [*fixed, *_hits(OURS, [30.0] * LEARNT + [20.0] * 10)], dict.fromkeys(STATIC, 1.0))
    assert regret(session, OURS) == pytest.approx(0.25)
    assert regret(learnt(session), OURS) == pytest.approx(0.0)


@pytest.mark.parametrize("blocks", [3, 12, 60])
def test_the_interval_covers_one_where_nothing_differs(blocks: int) -> None:
    """Noise around equal means is called a gain about once in twenty times, however few blocks there are."""
    covered = 0
    for seed in range(60):
        draws = random.Random(seed)
        ours, theirs = ([draws.gauss(20, 2) for _ in range(blocks)] for _ in range(2))
        ratio = paired_ratio(_hits(OURS, ours), _hits("other", theirs))
        covered += ratio.low < 1 < ratio.high
    assert covered >= 52


def test_arms_are_warmed_with_prompts_that_are_not_sent_again() -> None:
    """Only a task whose prompts are all sent is warmed with these."""
    sent = {"sql_generation 0", *(f"translation {i}" for i in range(3))}
    assert {example.prompt for example in without(EXAMPLES, sent)} == {
        "sql_generation 1", "sql_generation 2", *(f"translation {i}" for i in range(3)),
    }  # fmt: skip


def test_where_ours_ended_is_read_from_the_last_third() -> None:
    """What was tried while learning does not count."""
    assert settled([*_hits(OURS, [20.0] * 6), *_hits(OURS, [10.0] * 3, k=4)]) == "draft k=4 (3/3)"


def test_the_summary_has_every_arm() -> None:
    """Workload, load, arm: means, ratios, tokens per second and each request."""
    hits = [*_hits("always vanilla", [20.0, 20.0]), *_hits(OURS, [10.0, 10.0], k=4)]
    session = Session("1 client", hits, {"always vanilla": 0.4, OURS: 0.2})
    result: dict[str, Any] = summary([session], ["always vanilla", OURS], Workload.MIX)
    assert b'"mix"' in orjson.dumps(result)
    found = result["results"]["mix"]["1 client"]
    assert {arm: found[arm]["mean_ms_per_token"] for arm in found} == {"always vanilla": 20.0, OURS: 10.0}
    assert found["always vanilla"]["ours_over"]["value"] == 0.5
    assert (found[OURS]["worst_task_ratio"], found[OURS]["tokens_per_s"]) == (0.5, 100.0)
    assert result["requests"]["1 client"] == hits


def test_the_oracle_is_not_flattered_by_noise() -> None:
    """Where no fixed choice is better than another, the best in hindsight is no better than their mean."""
    draws = random.Random(3)
    found: list[float] = []
    flattered: list[float] = []
    for _ in range(60):
        arms = {arm: _hits(arm, [draws.gauss(20, 5) for _ in range(12)]) for arm in STATIC}
        session = Session("1 client", [hit for hits in arms.values() for hit in hits], {})
        for oracles, hindsight in ((found, False), (flattered, True)):
            oracle = oracle_ms(session, hindsight=hindsight)
            assert oracle is not None
            oracles.append(oracle)
    assert fmean(found) == pytest.approx(20, abs=0.6)
    assert fmean(flattered) < 19


def test_the_best_fixed_choice_needs_every_k_up_to_the_largest_that_ran() -> None:
    """A pool of four drafts has no arms of six and eight, and a best choice all the same; two arms have none."""
    up_to_4 = [arm for arm in STATIC if ARMS[arm].k <= 4]
    assert len(up_to_4) == 5 < len(STATIC)
    for arms, ran in ((STATIC, True), (up_to_4, True), (up_to_4[:1], False), (STANDARD[:2], False)):
        session = Session("1 client", [hit for arm in arms for hit in _hits(arm, [20.0] * 3)], {})
        assert (oracle_ms(session) == 20.0) is ran


def test_the_table_by_task_has_a_row_for_each_arm_and_one_for_what_ours_chose() -> None:
    """However many arms there are, at most 120 columns hold it."""
    hits = [*_hits("always vanilla", [20.0, 20.0]), *_hits(OURS, [10.0, 10.0], k=4)]
    by_task, total = tables(Session("1 client", hits, {"always vanilla": 0.4, OURS: 0.2}), ["always vanilla", OURS])
    page = StringIO()
    Console(width=120, file=page).print(by_task)
    said = page.getvalue()
    assert [word in said for word in ("20.00", "10.00", "draft k=4", "…")] == [True, True, True, False]
    assert total.row_count == 2


def test_a_load_is_clients_or_a_share() -> None:
    """What it is called and what is refused."""
    assert (Load.parse("4"), Load.parse("80%")) == (Load(clients=4), Load(share=0.8))
    for wrong in ("0", "-1", "x", "0%", "%", "1.5", ""):
        with pytest.raises(ValueError, match="clients or a share"):
            Load.parse(wrong)


def test_blocks_hold_every_shot_once() -> None:
    """One by one for a single client, else in pieces none of which is short."""
    shots = list(plan(EXAMPLES, rounds=20, temperatures=[0, 1], seed=1))
    assert blocks(shots, Load(clients=1)) == [[shot] for shot in shots]
    pieces = blocks(shots, Load(clients=8))
    assert [shot for piece in pieces for shot in piece] == shots
    assert min(len(piece) for piece in pieces) >= 14


def test_a_shift_changes_the_tasks_half_way() -> None:
    """No task of the first half comes back in the second."""
    shots = list(plan(EXAMPLES, rounds=4, temperatures=[0], seed=1, workload=Workload.SHIFT))
    assert [{shot.task for shot in shots if shot.round // 2 == half} for half in (0, 1)] == [
        {"sql_generation"},
        {"translation"},
    ]


async def test_the_closed_loop_never_exceeds_its_clients() -> None:
    """At most as many requests run as there are clients, and all of them do."""
    running = most = 0

    async def send(_: Shot) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1

    shots = list(plan(EXAMPLES, rounds=5, temperatures=[0], seed=1))
    await closed_loop(shots, 3, send)
    assert most == 3


async def test_an_arm_sees_its_share_of_the_engines() -> None:
    """Two engines for every arm: both of its only pool, or one of each."""
    registry = MemoryRegistry(time.monotonic)
    for name, k_max in (("vanilla-a", 0), ("vanilla-b", 0), ("draft-a", 4), ("draft-b", 4)):
        pool = name.partition("-")[0]
        beat = Heartbeat(replica=name, pool=pool, model="m", target="t", k_max=k_max, url="http://127.0.0.1:1")
        await registry.announce(beat, 60)
    seen = {
        name: sorted(beat.replica for beat in await Share(registry, ARMS[name], 2, Drafter()).replicas())
        for name in ("always vanilla", "always k=4", OURS)
    }
    assert seen == {
        "always vanilla": ["vanilla-a", "vanilla-b"],
        "always k=4": ["draft-a", "draft-b"],
        OURS: ["draft-a", "vanilla-a"],
    }


async def test_with_one_client_no_arm_sees_the_request_of_the_arm_before() -> None:
    """It has ended; a heartbeat from while it ran would make a router careful for the sake of nobody."""
    registry, arm = MemoryRegistry(time.monotonic), ARMS["always vanilla"]
    beat = Heartbeat(replica="v", pool="v", model="m", target="t", url="http://127.0.0.1:1", running=1, waiting=2)
    await registry.announce(beat, 60)
    for alone, running in ((True, 0), (False, 3)):
        (seen,) = await Share(registry, arm, 1, Drafter(), alone).replicas()
        assert seen.running + seen.waiting == running


async def test_a_worn_drafter_takes_the_place_and_the_name_of_the_good_one() -> None:
    """The router is not told: the replica, pool and drafter stay, only the address is another."""
    registry = MemoryRegistry(time.monotonic)
    for pool, k_max, port in (("vanilla", 0, 1), ("draft", 4, 2), (WORN, 4, 3)):
        url = f"http://127.0.0.1:{port}"
        named = f"{pool}-drafter" if k_max else None
        beat = Heartbeat(replica=pool, pool=pool, model="m", target="t", drafter=named, k_max=k_max, url=url)
        await registry.announce(beat, 60)
    drafter = Drafter()
    share = Share(registry, ARMS["always k=4"], 1, drafter)
    seen = []
    for drafter.worn in (False, True):
        (beat,) = await share.replicas()
        seen.append((beat.replica, beat.pool, beat.drafter, beat.url[-1]))
    assert seen == [("draft", "draft", "draft-drafter", "2"), ("draft", "draft", "draft-drafter", "3")]


def test_a_collapse_is_the_middle_third() -> None:
    """The drafter is good, worn and good again for as many rounds each."""
    shots = plan(EXAMPLES, rounds=6, temperatures=[0], seed=1, workload=Workload.COLLAPSE)
    assert [shot.worn for shot in shots] == [False] * 4 + [True] * 4 + [False] * 4


def test_requests_to_adapt_counts_until_the_choice_lasts() -> None:
    """Three in a row of what it settles on: a first one by chance and later trials make no difference."""
    ks = [4, 4, 0, 3, 0, 0, 0, 2, 0, 0]
    follows = [Hit(OURS, SHOT, i, "t", "p", k, "fastest", 10, 100.0) for i, k in enumerate(ks)]
    assert requests_to_adapt(follows) == 4
    assert requests_to_adapt(_hits(OURS, [10.0] * 4, k=3)) == 0
    assert requests_to_adapt(_hits(OURS, [10.0, 10.0], k=3)) == 2


def test_adaptation_is_told_by_phase() -> None:
    """After the collapse and after the recovery, over the tasks; nothing where nothing is swapped."""
    ks, worn = [4, 4, 4, 0, 0, 0, 0, 4, 4, 4, 4], [False] * 2 + [True] * 4 + [False] * 5
    hits = [
        Hit(OURS, replace(SHOT, worn=w), i, "t", "p", k, "fastest", 10, 100.0)
        for i, (k, w) in enumerate(zip(ks, worn, strict=True))
    ]
    assert adaptation(Session("1 client", hits, {OURS: 1.0}), OURS) == {
        "collapse": {"median": 1, "largest": 1, "tasks": 1},
        "recovery": {"median": 1, "largest": 1, "tasks": 1},
    }
    assert adaptation(Session("1 client", _hits(OURS, [1.0]), {OURS: 1.0}), OURS) is None
    never = [replace(hit, arm="always k=4", k=4) for hit in hits]
    assert adaptation(Session("1 client", never, {}), "always k=4") is None


def test_pictures_are_drawn_for_what_the_workload_shows(tmp_path: Path) -> None:
    """Bars and ratios always, the course only where something changes."""
    hits = [*_hits("always vanilla", [20.0, 20.0]), *_hits(OURS, [10.0, 12.0], k=4)]
    session = Session("1 client", hits, {"always vanilla": 0.4, OURS: 0.2})
    arms = ["always vanilla", OURS]
    assert [file.name for file in draw([session], arms, tmp_path, Workload.MIX)] == ["mix-tasks.png", "mix-ratios.png"]
    assert "shift-course.png" in [file.name for file in draw([session], arms, tmp_path, Workload.SHIFT)]
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in tmp_path.iterdir())
    result = tmp_path / "result.json"
    result.write_bytes(orjson.dumps(summary([session], arms, Workload.MIX)))
    assert read(result) == ([replace(session, seconds={})], arms, Workload.MIX), "drawn again from the file"


def test_a_worn_copy_differs_in_its_layers_alone(tmp_path: Path) -> None:
    """The same shapes, embedding and norms; other weights in the layers; the original untouched."""
    (tmp_path / "draft").mkdir()
    weights = {"model.embed_tokens.weight": torch.ones(4, 2), "model.layers.0.mlp.up_proj.weight": torch.randn(3, 2)}
    save_file(weights, tmp_path / "draft" / "model.safetensors")
    worn = load_file(worn_copy(tmp_path / "draft", tmp_path) / "model.safetensors")
    assert {name: torch.equal(worn[name], weight) for name, weight in weights.items()} == {
        "model.embed_tokens.weight": True,
        "model.layers.0.mlp.up_proj.weight": False,
    }


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--draft", "org/drafter"], "--draft needs --model"),
        (["--prompts", "nowhere.jsonl"], "nowhere.jsonl"),
        (["--model", "org/model", "--workload", "collapse"], "needs the demo pair"),
        (["--arms", "best of all"], "'best of all'"),
        (["--arms", "always k=8"], "which --k-max 4 allows"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_anything_starts(options: list[str], named: str) -> None:
    """A GPU-hour is not spent on a typing error."""
    app = typer.Typer()
    app.command()(main)
    found = CliRunner().invoke(app, [*options, "--engine", "sim"], env={"COLUMNS": "200", "TERM": "dumb"})
    assert found.exit_code == 2
    assert named in found.output


def test_a_model_of_ones_own_is_asked_ones_own_prompts(tmp_path: Path) -> None:
    """The demo's prompts mean nothing to another model; lines of a file are taken as they are."""
    file = tmp_path / "prompts.jsonl"
    file.write_text('{"task": "sql_generation", "prompt": "list the users"}\n')
    assert _examples(str(file), "org/model", 40) == [ExampleRequest("sql_generation", "list the users", 40)]
    assert {example.max_tokens for example in _examples("auto", "org/model", 40)} == {40}
    assert _examples("auto", "demo", 40) == load_workload()
