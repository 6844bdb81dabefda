"""The commands of operators, run as typer runs them, against a real service over the simulator."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from threaded import Threaded, threaded
from typer.testing import CliRunner, Result

from router.cli import app

Run = Callable[..., Result]

POLICY = "# SQL answers are short\ntasks:\n  sql_generation:\n    k: {max: 3}\n"
WRONG = "tasks:\n  sql_generation:\n    k: {mx: 3}\n"


@pytest.fixture(scope="module")
def live() -> Iterator[Threaded]:
    """One service for all of them."""
    with threaded() as service:
        yield service


@pytest.fixture
def run(live: Threaded) -> Run:
    """A command against the service; the exit code is checked."""

    def invoke(*arguments: str, code: int = 0) -> Result:
        result = CliRunner().invoke(app, [*arguments, "--url", live.url])
        assert result.exit_code == code, (result.stdout, result.stderr)
        assert "Traceback" not in result.stderr
        return result

    return invoke


def offline(*arguments: str, code: int = 0) -> Result:
    """A command that asks nobody."""
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == code, (result.stdout, result.stderr)
    return result


def said(result: Result) -> Any:
    """The JSON that a command printed."""
    return json.loads(result.stdout)


def written(folder: Path, text: str) -> str:
    """A policy in a file."""
    file = folder / "policy.yaml"
    file.write_text(text)
    return str(file)


def test_a_policy_is_checked_without_a_service(tmp_path: Path) -> None:
    """0 for a good one, 1 with path and nearest name for a wrong one, 2 where there is no file."""
    assert "is valid" in offline("policy", "validate", written(tmp_path, POLICY)).stdout
    wrong = offline("policy", "validate", written(tmp_path, WRONG), code=1)
    assert "tasks.sql_generation.k.mx" in wrong.stderr
    assert "'max'" in wrong.stderr
    (problem,) = said(offline("policy", "validate", "--json", written(tmp_path, WRONG), code=1))["problems"]
    assert (problem["path"], problem["nearest"]) == ("tasks.sql_generation.k.mx", "max")
    assert "cannot be read" in offline("policy", "validate", "/nonexistent.yaml", code=2).stderr
    offline("policy", "validate", written(tmp_path, "- no\n- mapping\n"), code=1)


def test_names_are_checked_where_a_service_is_named(live: Threaded, tmp_path: Path) -> None:
    """A warning, never a refusal; a service that does not answer leaves the rest of the check as it was."""
    file = written(tmp_path, "tasks:\n  sql_generatoin:\n    k: {max: 3}\n")
    assert "warning" not in offline("policy", "validate", file).stderr
    asked = offline("policy", "validate", file, "--url", live.url)
    assert "is valid" in asked.stdout
    assert "did you mean 'sql_generation'?" in asked.stderr
    as_json = said(offline("policy", "validate", file, "--url", live.url, "--json"))
    assert [one["nearest"] for one in as_json["warnings"]] == ["sql_generation"]
    away = offline("policy", "validate", file, "--url", "http://127.0.0.1:1")
    assert "were not checked" in away.stderr


def test_what_never_decides_is_said_without_a_service(tmp_path: Path) -> None:
    """Path, value and why, as warnings: the policy is valid all the same."""
    file = written(tmp_path, "windows:\n  - {from_hour: 9, to_hour: 9, days: [], k_max: 2}\n")
    told = offline("policy", "validate", file)
    assert "is valid" in told.stdout
    assert "windows.0.days: []: never opens" in told.stderr
    as_json = said(offline("policy", "validate", file, "--json"))
    assert [one["path"] for one in as_json["warnings"]] == ["windows.0.days", "windows.0.to_hour"]


def test_the_schema_is_one() -> None:
    """An editor can be given it."""
    assert "tasks" in said(offline("policy", "schema"))["properties"]


def test_a_policy_from_draft_to_rollback(run: Run, tmp_path: Path) -> None:
    """Each step is told, in words and as JSON, and is in the history."""
    before = said(run("policy", "status", "--json"))["active"]
    made = said(run("policy", "draft", written(tmp_path, POLICY), "-m", "SQL is short", "--json"))
    version = str(made["version"])
    assert made["state"] == "draft"
    assert "# SQL answers are short" in run("policy", "show", version).stdout
    assert said(run("policy", "diff", version, "--json"))["changes"][0]["after"] is not None
    run("policy", "diff", version, "--exit-code", code=1)
    assert f"Version {version} is a shadow" in run("policy", "shadow", version, "-m", "look").stdout
    assert "shadow" not in run("policy", "stop", "-m", "seen").stdout
    assert "as a canary" in run("policy", "canary", version, "--share", "0.25", "-m", "a quarter").stdout
    assert said(run("policy", "status", "--json"))["canary"]["trial"]["share"] == 0.25
    activated = run("policy", "activate", version, "-m", "fine").stdout
    assert f"Version {version} is active" in activated
    assert f"That ended the canary of version {version}, begun by" in activated
    assert run("policy", "diff", version).stdout.strip() == "No difference."
    again = run("policy", "activate", version, code=1)
    assert "active already" in again.stderr
    assert said(run("policy", "activate", version, "--json", code=1))["error"]["code"] == "wrong_state"
    assert said(run("policy", "rollback", "-m", "changed my mind", "--json"))["active"] == before
    did = [one["action"] for one in said(run("policy", "history", "--json"))["history"]]
    assert did[:6] == ["rollback", "activate", "canary", "stop", "shadow", "create"]
    assert "changed my mind" in run("policy", "history").stdout
    assert version in run("policy", "list").stdout


def test_a_dry_run_and_the_decisions_it_replays(run: Run, live: Threaded, tmp_path: Path) -> None:
    """Decisions are found by request and task, explained with every score, and replayed under a draft."""
    request = live.ask("sql_generation", **{"x-alpharoute-speculation": "on"})
    live.ask("mathematics", **{"x-request-id": "odd id/with %"})
    found = said(_until(lambda: run("decisions", "list", "--task", "sql_generation", "--json"), request))
    assert {one["task"] for one in found["decisions"]} == {"sql_generation"}
    told = said(run("decisions", "explain", request, "--json"))
    assert told["decision"]["alternatives"]
    assert told["decision"]["request"]["task"] == "sql_generation"
    text = run("decisions", "explain", request).stdout
    asked = ("named by its client", "The client asked for it, by the header x-alpharoute-speculation")
    for word in ("sql_generation", "draft-1", *asked, "k=1", "Measured"):
        assert word in text, word
    assert "mathematics" in run("decisions", "explain", "odd id/with %").stdout
    assert "is kept" in run("decisions", "explain", "never-seen", code=1).stderr
    assert request in run("decisions", "list", "-n", "100").stdout
    draft = POLICY.replace("k: {max: 3}", "mode: vanilla")
    version = str(said(run("policy", "draft", written(tmp_path, draft), "--json"))["version"])
    dry = said(run("policy", "dry-run", version, "--json"))
    assert dry["decisions"] >= 1
    assert "time then / now" in run("policy", "dry-run", version).stdout


def _until(ask: Callable[[], Result], word: str) -> Result:
    deadline = time.monotonic() + 10
    while word not in (result := ask()).stdout:
        assert time.monotonic() < deadline, f"{word} did not come"
    return result


def test_a_file_is_compared_with_what_is_active(run: Run, tmp_path: Path) -> None:
    """Before anything is kept."""
    assert said(run("policy", "diff", written(tmp_path, POLICY), "--json"))["changes"]
    assert "sql_generation" in run("policy", "diff", written(tmp_path, POLICY)).stdout
    run("policy", "diff", written(tmp_path, "a: [}"), code=2)


def test_a_wrong_policy_is_refused_with_every_problem(run: Run, tmp_path: Path) -> None:
    """By the service as offline."""
    refused = run("policy", "draft", written(tmp_path, WRONG), code=1)
    assert "tasks.sql_generation.k.mx" in refused.stderr
    assert said(run("policy", "draft", written(tmp_path, WRONG), "--json", code=1))["error"]["problems"]


def test_a_draft_that_somebody_else_changed_is_not_overwritten(run: Run, tmp_path: Path) -> None:
    """With the ETag of what was read, the second gets what is there now and the difference."""
    made = said(run("policy", "draft", written(tmp_path, POLICY), "--json"))
    version, etag = str(made["version"]), made["etag"]
    run("policy", "draft", written(tmp_path, POLICY.replace("3", "5")), "--version", version, "--if-match", etag)
    file = written(tmp_path, POLICY.replace("3", "2"))
    error = said(run("policy", "draft", file, "--version", version, "--if-match", etag, "--json", code=1))["error"]
    assert error["code"] == "version_changed"
    assert error["changes"] == [{"path": "tasks.sql_generation.k.max", "before": 5, "after": 2}]
    assert error["current"]["document"] == {"tasks": {"sql_generation": {"k": {"max": 5}}}}


def test_versions_that_are_none(run: Run) -> None:
    """A wrong word is a usage error, a number that is not there a refusal."""
    assert "policy list" in run("policy", "show", "seven", code=2).stderr
    assert "999" in run("policy", "show", "999", code=1).stderr


def test_engines_are_taken_out_and_brought_back(run: Run, live: Threaded) -> None:
    """Marked by name, seen in the list, and traffic follows."""
    drained = said(run("engines", "drain", "draft-1", "-m", "new driver", "--json"))
    assert (drained["receives"], drained["mark"]["why"]) == (False, "new driver")
    try:
        assert "gets nothing" in run("engines", "list").stdout
        live.ask("sql_generation", **{"x-alpharoute-speculation": "on"})
        pools = {pool["name"]: pool["replicas"] for pool in said(run("engines", "list", "--json"))["pools"]}
        assert pools["draft"][0]["mark"]["kind"] == "drain"
        assert pools["vanilla"][0]["receives"]
    finally:
        assert "gets requests" in run("engines", "uncordon", "draft-1").stdout
    assert "gets no new requests" in run("engines", "cordon", "draft-1").stdout
    run("engines", "uncordon", "draft-1")
    unknown = run("engines", "drain", "nobody", code=1)
    assert "draft-1" in unknown.stderr
    assert "new driver" in run("events", "--kind", "engine_marked").stdout
    marked = said(run("events", "--subject", "draft-1", "-n", "1", "--json"))["events"]
    assert len(marked) == 1


def test_an_engine_is_reloaded_and_waited_for(run: Run, live: Threaded) -> None:
    """What it is busy with is told until it serves anew; one that cannot be reloaded is an exit code of 1."""
    assert "not say that it can be reloaded" in run("engines", "reload", "draft-1", code=1).stderr
    live.run(live.service.announce("draft-1", reloadable=True, ready_since_s=5.0))
    beats = live.service.ingress.fleet.heartbeats
    live.run(live.service.until(lambda: any(beat.ready_since_s == 5.0 for beat in beats())))
    assert "finishes 0 requests first" in run("engines", "reload", "draft-1", "--no-wait").stdout
    late = run("engines", "reload", "draft-1", "--force", "--limit", "1", code=1)
    assert "not ready again after 1 s" in late.stderr
    stop = threading.Event()

    def come_back_again_and_again() -> None:
        while not stop.wait(0.05):
            live.run(live.service.announce("draft-1", reloadable=True, ready_since_s=time.time()))

    coming = threading.Thread(target=come_back_again_and_again)
    coming.start()
    try:
        assert "is reloaded and gets requests" in run("engines", "reload", "draft-1", "--force").stdout
    finally:
        stop.set()
        coming.join()
    assert "asked it to reload" in run("events", "--kind", "engine_reload").stdout


def test_a_classifier_from_no_folder_has_no_other_version(run: Run) -> None:
    """The list still says what there is; what cannot be chosen is an exit code of 1."""
    (shipped,) = said(run("classifier", "versions", "--json"))["versions"]
    assert not shipped["in_use"]
    assert "0.9" in run("classifier", "versions").stdout
    assert "no folder" in run("classifier", "activate", shipped["sha256"][:12], code=1).stderr
    assert "no folder" in run("classifier", "rollback", code=1).stderr


def test_acceptance_is_shown(run: Run, live: Threaded) -> None:
    """With intervals around it, now and over time."""
    for _ in range(3):
        live.ask("sql_generation", **{"x-alpharoute-speculation": "on"})
    rows = said(run("acceptance", "--task", "sql_generation", "--json"))
    assert rows
    for row in rows:
        low, high = row["alpha_interval"]
        assert 0 <= low <= row["alpha"] <= high <= 1
    assert "sql_generation" in run("acceptance").stdout
    assert said(run("acceptance", "--task", "nothing", "--json")) == []
    assert run("acceptance", "--history").exit_code == 0


def test_the_screen_of_top(run: Run, live: Threaded) -> None:
    """Requests, tasks, engines and events of two readings; and once as JSON."""
    live.ask("mathematics")
    _until(lambda: run("top", "--json"), "mathematics")  # a reading serves everybody for a second
    seen = run("top", "--times", "2", "--every", "1.1").stdout
    for word in ("requests/s", "Tasks", "mathematics", "Engines", "draft-1", "Events"):
        assert word in seen, word
    overview = said(run("top", "--json"))["overview"]
    assert overview["requests"] >= 1
    assert any(task["task"] == "mathematics" for task in overview["tasks"])


@pytest.mark.parametrize(
    "command",
    [
        ("policy", "list"),
        ("policy", "activate", "1"),
        ("acceptance",),
        ("decisions", "list"),
        ("decisions", "explain", "x"),
        ("engines", "list"),
        ("events",),
        ("top",),
    ],
)
def test_nobody_there_is_said_with_what_to_do(command: tuple[str, ...]) -> None:
    """Exit code 2, and the two ways on."""
    result = offline(*command, "--url", "http://127.0.0.1:1", code=2)
    assert "alpharoute serve" in result.stderr
    assert "ALPHAROUTE_URL" in result.stderr


def test_somebody_else_is_not_taken_for_the_service(live: Threaded) -> None:
    """An engine answers too, but knows nothing of this."""
    result = offline("events", "--url", live.service.engines["draft-1"].url, code=2)
    assert "--url" in result.stderr


def test_address_and_key_come_from_the_environment(live: Threaded, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in every other client."""
    monkeypatch.setenv("ALPHAROUTE_URL", live.url)
    monkeypatch.setenv("ALPHAROUTE_KEY", "whatever")
    assert offline("events", "--json").exit_code == 0


def test_completion_knows_the_commands() -> None:
    """As a shell asks for it; `alpharoute --install-completion` sets it up."""
    asked = {"_ALPHAROUTE_COMPLETE": "complete_bash", "COMP_WORDS": "alpharoute policy ro", "COMP_CWORD": "2"}
    result = CliRunner().invoke(app, [], env=asked, prog_name="alpharoute")
    assert result.stdout.split() == ["rollback"]
