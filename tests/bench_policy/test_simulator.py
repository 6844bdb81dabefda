"""The simulator of policies: deterministic, true to its calibration, and the comparison it prints."""

import re
from pathlib import Path

import numpy as np
import orjson
import pytest

from bench.policy.__main__ import main
from bench.policy.calibration import FOLDER, Calibration, costs, load_calibration
from bench.policy.cluster import capacity_tokens_s, replicas_of
from bench.policy.engine import Engine, Job
from bench.policy.measure import Estimate, Seeded, false_alarms, ratio, requests_to_adapt
from bench.policy.oracle import Truth
from bench.policy.protocol import CALIBRATIONS, STATIC, entrants, scenarios
from bench.policy.report import Row, _quantile
from bench.policy.result import Result, empty
from bench.policy.scenario import Phase, Scenario, load_scenario
from bench.policy.schedule import best_schedule
from bench.policy.simulate import simulate
from bench.policy.workload import Workload, build, survival_curve
from engines.vllm_probe import measured_ks
from policies.event import Event


def small(name: str = "load50", requests: int = 400, calibration: str = "cpu-demo") -> Scenario:
    """A short run of a protocol scenario."""
    return scenarios(calibration, requests)[name]


def world(scenario: Scenario, seed: int = 1) -> tuple[Calibration, Workload, Truth]:
    """Calibration, workload and truth of a scenario."""
    calibration = scenario.loaded()
    workload = build(scenario, calibration, seed, capacity_tokens_s(scenario, calibration))
    return calibration, workload, Truth(workload, calibration.k_max)


def run(policy: str, scenario: Scenario, seed: int = 1) -> Result:
    """One policy through one scenario."""
    calibration, workload, truth = world(scenario, seed)
    entrant = next(e for e in entrants((policy,)) if e.name == policy)
    return simulate(entrant, scenario, calibration, workload, truth, seed)


@pytest.mark.parametrize("name", CALIBRATIONS)
def test_the_shipped_calibrations_are_read(name: str) -> None:
    """Each has provenance, tasks and a vanilla step that is cheaper than a drafting one."""
    found = load_calibration(name)
    assert found.provenance
    for drafter in found.drafters:
        assert costs(found, None).step_s(4, 0, 0, 0) < costs(found, drafter).step_s(4, 8, 2, 0)


@pytest.mark.parametrize("policy", ["adaptive", "independent_ucb"])
def test_the_same_seed_gives_the_same_run(policy: str) -> None:
    """Times, ks and events are equal; another seed's are not."""
    first, again, other = run(policy, small()), run(policy, small()), run(policy, small(), seed=2)
    assert np.array_equal(first.seconds_per_token, again.seconds_per_token)
    assert np.array_equal(first.k, again.k)
    assert not np.array_equal(first.seconds_per_token, other.seconds_per_token)


def test_workloads_have_the_survival_curves_they_were_asked_for() -> None:
    """Without streaks and with equal prompts, steps accept as S says, at every k."""
    scenario = small(requests=3000)
    calibration = scenario.loaded()
    plain = {
        name: drafter.model_copy(update={"streak": 0.0, "prompt_spread": 0.0})
        for name, drafter in calibration.drafters.items()
    }
    calibration = calibration.model_copy(update={"drafters": plain})
    workload = build(scenario, calibration, 1, 1000.0)
    truth = Truth(workload, calibration.k_max)
    name, drafter = next(iter(plain.items()))
    for task in calibration.tasks:
        index = int(np.nonzero(workload.task == calibration.tasks.index(task))[0][0])
        expected = 1 + np.cumsum(survival_curve(drafter, task, 4, 1.0, 0.0))
        assert truth.of_task(name, index)[1:] == pytest.approx(expected.tolist(), rel=0.04)


def test_an_engine_runs_in_lockstep() -> None:
    """Two answers of 10 steps together take 10 steps of a batch of two; alone each would take 10 of a batch of one."""
    calibration = load_calibration("cpu-demo")
    engine = Engine(costs(calibration, None), 8)
    engine.offer(Job(0, 0, 10.0, 0.0, 0.0, 0.0), 0.0, 1.0)
    engine.offer(Job(1, 0, 10.0, 0.0, 0.0, 0.0), 0.0, 1.0)
    assert engine.next_end_s() == pytest.approx(
        10 * (calibration.step.base_ms + 2 * calibration.step.per_request_ms) / 1e3
    )


def test_a_full_engine_queues() -> None:
    """The ninth of eight places starts when one is free."""
    engine = Engine(costs(load_calibration("cpu-demo"), None), 8)
    for i in range(9):
        engine.offer(Job(i, 0, 10.0, 0.0, 0.0, 0.0), 0.0, 1.0)
    assert (len(engine.active), len(engine.queue)) == (8, 1)
    end_s = engine.next_end_s()
    assert end_s is not None
    engine.finish(end_s, 1.0)
    assert (len(engine.active), len(engine.queue)) == (8, 0)


def test_an_answer_at_a_changing_k_takes_the_steps_that_it_would() -> None:
    """From its start at any k as many as the walk at that k; gone on at one, no more at another than before."""
    _, workload, _ = world(small(requests=60))
    drafter = next(iter(workload.landed))
    for request in range(60):
        answer = workload.answer(drafter, request)
        assert [answer.steps_left(k) for k in range(5)] == [workload.run(drafter, request, k).steps for k in range(5)]
        slow = answer.steps_left(0)
        answer.go_on(5, 4)
        assert answer.steps_left(4) == max(0, workload.run(drafter, request, 4).steps - 5)
        assert answer.steps_left(0) <= slow - min(5, slow)


def test_a_schedule_sets_k_for_the_whole_batch_as_it_grows_and_shrinks() -> None:
    """Alone at 2, in company at 1: the first request's drafts fall when the second joins and rise when it has left."""
    calibration, workload, _ = world(small())
    drafter = next(iter(workload.landed))
    long = sorted(range(len(workload.task)), key=lambda i: -int(workload.output_tokens[i]))[:2]
    engine = Engine(costs(calibration, drafter), 8, (2, 1))
    ks = []
    for index, kept in enumerate(long):
        job = Job(index, 4, 1.0, 0.0, 0.0, 0.0)
        job.answer = workload.answer(drafter, kept)
        if index:
            job.answer.go_on(10, 4)
        engine.offer(job, 0.0, 1.0)
        ks.append([one.k for _, _, one in engine.active])
    end_s = engine.next_end_s()
    assert end_s is not None
    left = engine.finish(end_s, 1.0)
    assert ks == [[2], [1, 1]]
    assert left.drafted == pytest.approx(left.ran)
    assert [one.k for _, _, one in engine.active] == [2]
    assert engine.drafts == 2


def test_the_best_schedule_falls_with_the_batch_and_is_the_best_static_k_of_each_load() -> None:
    """Deep alone, shallow in a crowd; within a hundredth of every static k at half load and past saturation."""
    for name in ("load50", "load110"):
        scenario = small(name, 700, "h100-8b-eagle")
        calibration, _, truth = world(scenario)
        table = best_schedule(calibration, "eagle", truth)
        assert table[0] >= 3 > 1 >= table[-1]
        assert list(table) == sorted(table, reverse=True)
        means = {e: run(e, scenario).seconds_per_token[200:].mean() for e in ("vllm_schedule", *STATIC)}
        assert means["vllm_schedule"] < 1.01 * min(means[e] for e in STATIC)


def test_ours_beats_vanilla_and_a_static_k_where_tasks_differ() -> None:
    """At half load on the CPU calibration, over two seeds."""
    for seed in (1, 2):
        means = {
            policy: run(policy, small(requests=900), seed).seconds_per_token[200:].mean()
            for policy in ("adaptive", "always_vanilla", "static_k4", "per_task_oracle")
        }
        assert means["adaptive"] < 0.9 * means["always_vanilla"]
        assert means["adaptive"] < 0.9 * means["static_k4"]
        assert means["adaptive"] < 1.08 * means["per_task_oracle"]


def test_observing_costs_nothing() -> None:
    """Observe-only on vanilla replicas is as fast as vanilla."""
    observed, plain = run("observe_only", small()), run("always_vanilla", small())
    assert observed.seconds_per_token.mean() == pytest.approx(plain.seconds_per_token.mean(), rel=0.03)


def test_bootstrap_intervals_hold_the_ratio() -> None:
    """A ratio of equal samples is exactly one; of unlike ones, inside its interval."""
    rng = np.random.default_rng(1)
    blocks = np.stack([rng.normal(100, 5, 200), np.full(200, 10.0)], axis=1)
    assert ratio(blocks, blocks) == Estimate(1.0, 1.0, 1.0)
    doubled = ratio(blocks * [2, 1], blocks[::-1])
    assert doubled.low < 2 < doubled.high


def test_the_command_writes_scenario_policy_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--json` is one object, scenario → policy → figures with intervals; `--plot` draws; a YAML scenario is run."""
    (tmp_path / "mine.yaml").write_text("{name: mine, calibration: cpu-demo, requests: 150, load: 0.3, noise: 0.1}")
    out, plot = tmp_path / "out.json", tmp_path / "out.png"
    options = ["--scenario", str(tmp_path / "mine.yaml"), "--policy", "adaptive", "--seeds", "2"]
    assert main([*options, "--json", str(out), "--plot", str(plot)]) == 0
    found = orjson.loads(out.read_bytes())
    assert set(found) == {"mine"}
    assert {"always_vanilla", "per_task_oracle", "adaptive"} <= set(found["mine"])
    figure = found["mine"]["adaptive"]["speedup"]
    assert figure["low"] <= figure["value"] <= figure["high"]
    assert {"regret", "worst_task_ratio", "p99_ratio", "goodput", "exploration_cost"} <= set(found["mine"]["adaptive"])
    assert plot.stat().st_size > 1000
    assert "adaptive" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--scenario", "laod50"], "laod50"),
        (["--policy", "fastest"], "always_vanilla"),
        (["--scenario", "missing.yaml"], "missing.yaml"),
        (["--calibration", "h200"], "h100-8b-eagle"),
    ],
)
def test_wrong_options_are_refused_by_name(options: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit status 2, the option and what is allowed on standard error."""
    assert main(["--requests", "50", *options]) == 2
    assert says in capsys.readouterr().err


def test_recorded_traces_replace_the_synthetic_answers(tmp_path: Path) -> None:
    """Two recorded tasks, one that always lands four drafts and one that never does: k follows."""
    sure = {"task": "sql_generation", "prompt_tokens": 30, "accepted_if_verified_at": [4] * 60}
    never = {"task": "creative_writing", "prompt_tokens": 30, "accepted_if_verified_at": [0] * 60}
    traces, out = tmp_path / "traces.jsonl", tmp_path / "out.json"
    traces.write_bytes(orjson.dumps(sure) + b"\n" + orjson.dumps(never) + b"\n")
    options = ["--calibration", "cpu-demo", "--scenario", "load20", "--requests", "300", "--seeds", "1"]
    assert main([*options, "--policy", "adaptive", "--traces", str(traces), "--json", str(out)]) == 0
    figures = orjson.loads(out.read_bytes())["cpu-demo/load20"]["adaptive"]
    assert figures["speedup"]["value"] > 1.2
    assert figures["worst_task_ratio"]["value"] < 1.2


def test_traces_that_are_not_there_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    """At once, not after the workload was made."""
    assert main(["--scenario", "load20", "--traces", "nowhere.jsonl"]) == 2
    assert "--traces 'nowhere.jsonl': there is no such file" in capsys.readouterr().err


def test_an_alarm_is_false_where_acceptance_did_not_change() -> None:
    """A phase that only changes the load changes no acceptance; one that changes the drafter does."""
    result = empty(100)
    result.events.append(Event("drift", "d/t", 1.0, "fell"))
    of = Seeded([], [result])
    steady = Scenario(name="s", phases=(Phase(at=0.5, load=1.2),))
    assert false_alarms(of, steady).value == 50
    assert np.isnan(false_alarms(of, Scenario(name="s", phases=(Phase(at=0.5, h_change=-0.1),))).value)


def test_many_routers_tell_of_a_collapse_once_each_time() -> None:
    """Twenty routers, each with a copy of its own a second old: six tasks collapse, and there are about six events."""
    base = scenarios("h100-8b-eagle", 1200)["collapse"]
    fall = base.phases[0]
    scenario = base.model_copy(update={"routers": 20, "phases": (fall,)})
    events = run("adaptive", scenario).events
    assert fall.h_change_tasks is not None
    drifts = [event for event in events if event.kind == "drift"]
    assert len({event.once for event in drifts}) == len(drifts)
    assert 4 <= len(drifts) <= 2 * len(fall.h_change_tasks)


def test_a_trace_that_does_not_fit_names_its_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Line 2 lacks its steps."""
    traces = tmp_path / "traces.jsonl"
    traces.write_text('{"task": "a", "prompt_tokens": 1, "accepted_if_verified_at": [1, 2]}\n{"task": "a"}\n')
    options = ["--calibration", "cpu-demo", "--scenario", "load20", "--requests", "50", "--seeds", "1"]
    assert main([*options, "--traces", str(traces)]) == 2
    assert "line 2" in capsys.readouterr().err


def test_decisions_are_timed(capsys: pytest.CaptureFixture[str]) -> None:
    """The command prints mean and tail of one decision, and nothing is simulated."""
    assert main(["--time-decisions", "--requests", "50"]) == 0
    assert re.fullmatch(r"one decision: mean \d+ µs, median \d+ µs, p99 \d+ µs\n", capsys.readouterr().out)


def test_a_calibration_file_has_the_protocol_s_scenarios(tmp_path: Path) -> None:
    """By their short names, wherever the file lies."""
    mine, out = tmp_path / "mine.yaml", tmp_path / "out.json"
    mine.write_text((FOLDER / "cpu-demo.yaml").read_text())
    options = ["--calibration", str(mine), "--scenario", "load20", "--requests", "60", "--seeds", "1"]
    assert main([*options, "--policy", "adaptive", "--json", str(out)]) == 0
    assert list(orjson.loads(out.read_bytes())) == [f"{mine}/load20"]


@pytest.mark.parametrize("share", [0.1, 0.3])
def test_a_doubt_is_the_chance_that_the_second_task_is_right(share: float) -> None:
    """Calibrated in every range of doubt; a label without doubt is right."""
    scenario = small("load50", 20_000).model_copy(update={"noise": share, "doubts": True})
    found = world(scenario)[1]
    names = [found.tasks[at] for at in found.task.tolist()]
    doubt = np.array([1 - likely[0][1] for likely in found.likely])
    second = np.array([likely[-1][0] == name for likely, name in zip(found.likely, names, strict=True)])
    assert doubt.max() <= 0.5
    assert (found.label == found.task)[doubt == 0].all()
    for low, high in ((0.1, 0.25), (0.25, 0.4), (0.4, 0.5)):
        here = (doubt > low) & (doubt <= high)
        assert second[here].mean() == pytest.approx(doubt[here].mean(), abs=0.04)


def test_doubts_that_are_told_cost_less_than_silent_errors() -> None:
    """Three in ten labels wrong: a mixture of the two tasks beats belief in the label."""
    silent = small("load50", 1500).model_copy(update={"noise": 0.3})
    times = [
        np.mean([run("adaptive", scenario, seed).seconds_per_token.mean() for seed in (1, 2)])
        for scenario in (silent, silent.model_copy(update={"doubts": True}))
    ]
    assert times[1] < times[0]


def test_the_json_has_the_figures_of_every_policy_each_with_its_interval(tmp_path: Path) -> None:
    """Scenario, policy, figure; value, low and high, null where the scenario does not show it."""
    out = tmp_path / "figures.json"
    options = ["--calibration", "cpu-demo", "--scenario", "load20", "--requests", "60", "--seeds", "1"]
    assert main([*options, "--policy", "adaptive", "--json", str(out)]) == 0
    figures = orjson.loads(out.read_bytes())["cpu-demo/load20"]["adaptive"]
    asked = {"speedup", "regret", "worst_task_ratio", "p99_ratio", "goodput", "requests_to_adapt_median"}
    asked |= {"requests_to_adapt_p95", "false_alarms_per_5000", "exploration_cost", "decision_us_p99"}
    assert asked <= set(figures)
    assert all(set(figure) == {"value", "low", "high"} for figure in figures.values())
    assert figures["requests_to_adapt_median"]["value"] is None


def test_a_change_that_is_never_followed_is_no_number_of_answers() -> None:
    """It would else count as the length of its phase, which is shorter the fewer requests are simulated."""
    scenario = small("collapse", 600)
    truth, result = world(scenario)[2], run("adaptive", scenario)
    assert np.isfinite(requests_to_adapt(Seeded([truth], [result]), scenario)).any()
    result.believed[:] = 0.05
    counts = requests_to_adapt(Seeded([truth], [result]), scenario, recovery=True)
    assert counts == [np.inf] * len(counts) != []
    assert _quantile([1.0, 2.0, 3.0, np.inf], 50).value == 2.0
    assert Row("p", {"a": _quantile([1.0, np.inf], 95)}, "").as_json()["a"] == {"value": None, "low": 1.0, "high": None}


def test_every_replica_is_probed_for_itself_at_the_points_of_the_product() -> None:
    """Errors of one sign at each point would be no errors of slopes."""
    scenario = small(calibration="h100-8b-eagle")
    calibration = scenario.loaded()
    first, again, other = (replicas_of(scenario, calibration, "speculative", seed) for seed in (1, 1, 2))
    assert [r.probe for r in first] == [r.probe for r in again] != [r.probe for r in other]
    cost = costs(calibration, first[0].pool.drafter)
    narrow = {(b, k) for b in (1, 4) for k in measured_ks(calibration.k_max)}
    assert {(p.batch, p.k) for p in first[0].probe} == narrow | {(64, 0), (64, calibration.k_max)}
    slowed = [p.step_ms / (1e3 * cost.step_s(p.batch, p.batch * p.k, p.k, 64.0 * p.batch)) for p in first[0].probe]
    assert 1 <= min(slowed[:-2]) < max(slowed[:-2]) < 1.2
    assert min(slowed[-2:]) > 0.8
    assert first[0].probe != first[1].probe


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{name: a, lod: 0.3}", "lod"),
        ("name: [a", "not YAML"),
        ("[1, 2]", "a mapping is needed, got list"),
        ("{name: a, requests: 3}", "requests"),
        ("{name: a, calibration: missing.yaml}", "missing.yaml"),
        ("{name: a, pools: [{replicas: 1}, {drafter: nope}]}", "pools.drafter: 'nope' is not one of eagle"),
        ("{name: a, mix: {nope: 1}}", "mix: 'nope'"),
        ("{name: a, mix: {mathematics: 0}}", "mix: one share"),
        ("{name: a, mix: {mathematics: -1}}", "mix.mathematics"),
        ("{name: a, temperatures: {}}", "temperatures"),
        ("{name: a, phases: [{at: 0.7}, {at: 0.2}]}", "phases"),
        ("{name: a, phases: [{at: 0.5, h_change: -0.3, h_change_tasks: [nope]}]}", "phases.0.h_change_tasks"),
        ("{name: a, phases: [{at: 0.5, drafters: {eagle: nope}}]}", "phases.0.drafters"),
    ],
)
def test_a_scenario_that_cannot_be_run_says_why(
    text: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit status 2, and one line that names the field."""
    (tmp_path / "mine.yaml").write_text(text)
    assert main(["--scenario", str(tmp_path / "mine.yaml"), "--policy", "adaptive"]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    "line",
    [
        "[1]",
        "{",
        '{"prompt_tokens": 3, "accepted_if_verified_at": [1]}',
        '{"task": "a", "prompt_tokens": -3, "accepted_if_verified_at": [1]}',
        '{"task": "a", "prompt_tokens": 3, "accepted_if_verified_at": []}',
        '{"task": "a", "prompt_tokens": 3, "accepted_if_verified_at": [1, -2]}',
        '{"task": "a", "prompt_tokens": 3, "accepted_if_verified_at": [1.5]}',
        '{"task": "a", "prompt_tokens": 3, "accepted_if_verified_at": [255]}',
    ],
)
def test_a_trace_that_cannot_be_true_is_refused_by_its_line(
    line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first line is right, the second is named."""
    good = '{"task": "a", "prompt_tokens": 3, "accepted_if_verified_at": [1, null, 0]}'
    (tmp_path / "t.jsonl").write_text(f"{good}\n{line}\n")
    options = ["--calibration", "cpu-demo", "--scenario", "load20", "--requests", "20", "--seeds", "1"]
    assert main([*options, "--traces", str(tmp_path / "t.jsonl"), "--policy", "adaptive"]) == 2
    assert "line 2 of the traces" in capsys.readouterr().err


@pytest.mark.parametrize(
    "options", [["--seeds", "0"], ["--requests", "3"], ["--seed", "-1"], ["--json", "/nowhere/x.json"]]
)
def test_options_that_cannot_be_are_named(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Before anything runs."""
    assert main([*options, "--scenario", "load20"]) == 2
    assert options[0] in capsys.readouterr().err


OWN = """
name: mine
calibration: h100-8b-eagle
load: 0.7
burst: 5
noise: 0.1
pools: [{replicas: 1}, {drafter: sure, replicas: 2}, {drafter: poor, replicas: 1}]
drafters:
  sure: {method: eagle, streak: 0.6, tasks: {edits: [0.95, 0.9, 0.85], chat: [0.9, 0.8, 0.7]}}
  poor: {method: ngram, coverage: 0.3, tasks: {edits: [0.1], chat: [0.05]}}
"""


def test_a_scenario_may_bring_its_own_drafters_and_traces(tmp_path: Path) -> None:
    """Three pools and two tasks of its own; traces beside the file replace them."""
    (tmp_path / "mine.yaml").write_text(OWN)
    found = load_scenario(str(tmp_path / "mine.yaml"))
    calibration = found.loaded()
    assert calibration.tasks == ("edits", "chat")
    assert [pool.drafter for pool in found.cluster(calibration)] == [None, "sure", "poor"]
    recorded = {"task": "mail", "prompt_tokens": 9, "accepted_if_verified_at": [1] * 20}
    (tmp_path / "recorded.jsonl").write_bytes(orjson.dumps(recorded))
    (tmp_path / "mine.yaml").write_text(OWN + "traces: recorded.jsonl")
    out = tmp_path / "out.json"
    options = ["--scenario", str(tmp_path / "mine.yaml"), "--requests", "60", "--seeds", "1", "--policy", "adaptive"]
    assert main([*options, "--json", str(out)]) == 0
    assert orjson.loads(out.read_bytes())["mine"]["adaptive"]["speedup"]["value"] > 1


def test_the_documented_scenario_runs(tmp_path: Path) -> None:
    """The example of docs/policy.md, as it stands there."""
    text = (Path(__file__).parents[2] / "docs" / "policy.md").read_text()
    (example,) = re.findall(r"```yml\n(name: .*?)```", text, re.DOTALL)
    (tmp_path / "documented.yaml").write_text(example)
    options = ["--scenario", str(tmp_path / "documented.yaml"), "--requests", "60", "--seeds", "1"]
    assert main([*options, "--policy", "adaptive"]) == 0


def test_a_scenario_finds_the_calibration_beside_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Wherever the command is started, and `--requests` outweighs the file's own."""
    (tmp_path / "engine.yaml").write_text((FOLDER / "cpu-demo.yaml").read_text())
    (tmp_path / "mine.yaml").write_text("{name: mine, calibration: engine.yaml, requests: 5000}")
    options = ["--scenario", str(tmp_path / "mine.yaml"), "--requests", "40", "--seeds", "1", "--policy", "adaptive"]
    assert main(options) == 0
    assert "mine: 40 requests" in capsys.readouterr().out
