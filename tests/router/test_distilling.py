"""Distillation sets: prompts of the tasks that fell are kept where settings allow it, and the target answers them."""

import asyncio
import json
import stat
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from service import CHAT, DRAFT, VANILLA, running_service, settings_with, simulator
from typer.testing import CliRunner

from classifiers.line_file import LineFile
from policies.knowledge import Knowledge
from policies.records import Record
from policies.request import Request
from router.cli import app
from router.commands.distill import Collecting, collected, read_prompts
from router.config.distillation import DistillationSettings
from router.distilling import MAX_WAITING_BYTES, PromptKeeper, kept_prompts
from router.errors import SetupError

SQL = Request("m", "sql_generation")
BODY = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "temperature": 1, "user": "somebody"}
RAW = json.dumps(BODY).encode()


async def _until_written(path: Path) -> list[dict[str, Any]]:
    deadline = time.monotonic() + 10
    while not (text := await asyncio.to_thread(path.read_text)):
        assert time.monotonic() < deadline, "nothing was written"
        await asyncio.sleep(0.01)
    return [json.loads(line) for line in text.splitlines()]


async def test_nothing_is_kept_unless_the_operator_says_so() -> None:
    """Off by default: prompts are offered and go nowhere."""
    async with kept_prompts(DistillationSettings(), Knowledge()) as keeper:
        keeper.wanted = frozenset({"sql_generation"})
        keeper.offer(RAW, {}, SQL)
        assert not keeper._waiting


async def test_prompts_of_the_tasks_named_are_kept(tmp_path: Path) -> None:
    """What is needed to ask again, and nothing else of the request; a file for its owner alone."""
    path = tmp_path / "prompts.jsonl"
    settings = DistillationSettings(prompts=path, tasks=frozenset({"sql_generation"}), share=1.0)
    async with kept_prompts(settings, Knowledge(), every_s=0.01) as keeper:
        await _until_wanted(keeper)
        keeper.offer(RAW, {}, Request("m", "translation"))
        keeper.offer(RAW, {"x-alpharoute-feedback": "off"}, SQL)
        keeper.offer(b'{"model":"m","prompt":[1,2,3]}', {}, SQL)  # token numbers mean nothing to another tokenizer
        keeper.offer(RAW, {}, SQL)
        (kept,) = await _until_written(path)
    assert kept == {"task": "sql_generation", "model": "m", "messages": BODY["messages"]}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def _until_wanted(keeper: PromptKeeper) -> None:
    deadline = time.monotonic() + 10
    while not keeper.wanted:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.001)


async def test_tasks_that_drifted_are_kept_for_a_while(tmp_path: Path) -> None:
    """Where no task is named, those of the drift records; older ones no longer."""
    knowledge, now_s = Knowledge(), 1.7e9
    knowledge.records["drift:t|d"] = Record({"^sql_generation": now_s - 10, "^mathematics": now_s - 9e5}, now_s)
    settings = DistillationSettings(prompts=tmp_path / "p.jsonl")
    async with kept_prompts(settings, knowledge, every_s=0.001, clock_s=lambda: now_s) as keeper:
        await _until_wanted(keeper)
        assert keeper.wanted == {"sql_generation"}


def test_a_share_is_kept(tmp_path: Path) -> None:
    """One draw a request; the file may grow no faster than the operator said."""
    draws = iter([0.04, 0.06, 0.01, 0.99])
    path = tmp_path / "p.jsonl"
    keeper = PromptKeeper(LineFile(path, 1 << 20), 0.05, lambda: next(draws))
    keeper.wanted = frozenset({"sql_generation"})
    for _ in range(4):
        keeper.offer(RAW, {}, SQL)
    keeper.flush()
    assert len(path.read_text().splitlines()) == 2


def test_what_waits_is_bounded_in_bytes(tmp_path: Path) -> None:
    """Long prompts must not fill a router's memory between two flushes; after one there is room again."""
    path = tmp_path / "p.jsonl"
    keeper = PromptKeeper(LineFile(path, 1 << 30), 1.0)
    keeper.wanted = frozenset({"sql_generation"})
    long = json.dumps({"prompt": "x" * (MAX_WAITING_BYTES // 4)}).encode()
    for _ in range(2):
        for _ in range(9):
            keeper.offer(long, {}, SQL)
        keeper.flush()
    assert len(path.read_text().splitlines()) == 2 * 3


async def test_a_file_that_cannot_be_written_is_a_setup_error(tmp_path: Path) -> None:
    """The message names the setting and the path."""
    (tmp_path / "file").write_text("")
    with pytest.raises(SetupError, match=r"distillation\.prompts.*p\.jsonl"):
        async with kept_prompts(DistillationSettings(prompts=tmp_path / "file" / "p.jsonl"), Knowledge()):
            raise AssertionError("it must not start")


async def test_a_running_router_keeps_what_passes_through_it(tmp_path: Path) -> None:
    """From a request through the API to a line of the file."""
    path = tmp_path / "prompts.jsonl"
    settings = settings_with(distillation={"prompts": str(path), "tasks": ["sql_generation"], "share": 1.0})
    engines = {pool.name: simulator(pool) for pool in (VANILLA, DRAFT)}
    async with running_service(settings, engines) as service:
        headers = {"x-alpharoute-task": "sql_generation"}
        async with service.session.post("/v1/chat/completions", json=CHAT, headers=headers) as answer:
            assert answer.status == 200
            await answer.read()
    (kept,) = await _until_written(path)
    assert kept["messages"] == CHAT["messages"]


PLAN = Collecting(frozenset(), 100, 16, 0.0, 2)
PROMPTS: list[dict[str, Any]] = [
    {"task": "sql_generation", "model": "m", "messages": [{"role": "user", "content": "one"}]},
    {"task": "translation", "model": "m", "prompt": "two"},
]


class _Target:
    """An API that answers, or fails while `broken`."""

    def __init__(self) -> None:
        self.asked: list[tuple[dict[str, Any], dict[str, str]]] = []
        self.broken = False
        self.refused = ""

    async def answer(self, request: web.Request) -> web.Response:
        """Chat and completions."""
        body = await request.json()
        self.asked.append((body, dict(request.headers)))
        if self.broken or (self.refused and self.refused in json.dumps(body)):
            return web.json_response({"error": "away"}, status=503)
        if request.path.endswith("/chat/completions"):
            message = {"role": "assistant", "content": "1", "tool_calls": None}
            return web.json_response({"choices": [{"message": message, "finish_reason": "stop"}]})
        return web.json_response({"choices": [{"text": "2", "finish_reason": "length"}]})


@pytest.fixture
async def target() -> AsyncIterator[tuple[_Target, str]]:
    """The API and where it listens."""
    api, served = _Target(), web.Application()
    served.router.add_post("/v1/chat/completions", api.answer)
    served.router.add_post("/v1/completions", api.answer)
    runner = web.AppRunner(served)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield api, f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def test_the_target_is_asked_without_speculation(tmp_path: Path, target: tuple[_Target, str]) -> None:
    """Pairs in the form that training takes, of chat and completions; asked again, only what is missing."""
    (api, url), out = target, tmp_path / "set.jsonl"
    found = await collected(PROMPTS, out, PLAN, url, "secret")
    assert (found.written, found.known, found.failed) == (2, 0, 0)
    pairs = {pair["task"]: pair for pair in map(json.loads, out.read_text().splitlines())}
    assert pairs["sql_generation"]["messages"][-1] == {"role": "assistant", "content": "1"}
    assert (pairs["translation"]["prompt"], pairs["translation"]["completion"]) == ("two", "2")
    body, headers = api.asked[0]
    assert (headers["x-alpharoute-speculation"], headers["x-alpharoute-feedback"]) == ("off", "off")
    assert headers["Authorization"] == "Bearer secret"
    assert (body["max_tokens"], body["temperature"]) == (16, 0.0)
    again = await collected([*PROMPTS, {**PROMPTS[1], "prompt": "three"}], out, PLAN, url, "")
    assert (again.written, again.known) == (1, 2)
    assert stat.S_IMODE(out.stat().st_mode) == 0o600


async def test_a_target_that_is_away_ends_the_collection(tmp_path: Path, target: tuple[_Target, str]) -> None:
    """After a few failures in a row, with the last reason; what was written stays."""
    api, url = target
    api.broken = True
    prompts = [{**PROMPTS[1], "prompt": str(number)} for number in range(50)]
    with pytest.raises(SetupError, match=r"failed 5 times in a row.*503"):
        await collected(prompts, tmp_path / "set.jsonl", PLAN, url, "")
    assert len(api.asked) < 10


async def test_what_came_of_it_is_told_by_the_exit_code_and_as_json(
    tmp_path: Path, target: tuple[_Target, str]
) -> None:
    """1 where a prompt got no answer, with what to do; 0 once none is missing. Progress stays off stdout."""
    (api, url), out, file = target, tmp_path / "set.jsonl", tmp_path / "p.jsonl"
    file.write_text("".join(json.dumps(prompt) + "\n" for prompt in PROMPTS))
    arguments = ["distill", "collect", "--prompts", str(file), "--out", str(out), "--url", url, "--json"]
    api.refused = '"two"'
    failed = await asyncio.to_thread(CliRunner().invoke, app, arguments)
    found = json.loads(failed.stdout)
    assert failed.exit_code == 1
    assert (found["out"], found["written"], found["known"], found["failed"]) == (str(out), 1, 0, 1)
    assert "503" in found["reasons"][0]
    assert "1 failed" in failed.stderr
    assert "The same command again asks only for what is missing." in failed.stderr
    assert [line for line in failed.stderr.splitlines() if line.startswith("distill collect: ")] == [
        "distill collect: asking 0/2, started",
        "distill collect: asking 2/2, done",
    ]
    api.refused = ""
    done = await asyncio.to_thread(CliRunner().invoke, app, arguments)
    assert done.exit_code == 0
    assert json.loads(done.stdout) == {"out": str(out), "written": 1, "known": 1, "failed": 0, "reasons": []}


def test_kept_prompts_are_read_once_and_by_task(tmp_path: Path) -> None:
    """The older file too; the same prompt twice is one."""
    path = tmp_path / "p.jsonl"
    path.with_name("p.jsonl.1").write_text(json.dumps(PROMPTS[0]) + "\n")
    path.write_text(json.dumps(PROMPTS[1]) + "\n" + json.dumps(PROMPTS[0]) + "\n")
    assert list(read_prompts(path, frozenset())) == PROMPTS
    assert list(read_prompts(path, frozenset({"translation"}))) == [PROMPTS[1]]


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "is not a file"), ("{}\n", "line 1 is no kept prompt"), ("nonsense\n", "line 1 is no kept prompt")],
)
def test_wrong_prompts_end_with_2(tmp_path: Path, content: str | None, said: str) -> None:
    """No file, no prompts in it: one line that says so."""
    path = tmp_path / "p.jsonl"
    if content is not None:
        path.write_text(content)
    result = CliRunner().invoke(app, ["distill", "collect", "--prompts", str(path), "--out", str(tmp_path / "o")])
    assert result.exit_code == 2
    assert said in result.stderr.replace("\n", " ")


def test_without_a_file_the_setting_is_named() -> None:
    """The command that an alarm prints says what is missing where prompts are not kept."""
    result = CliRunner().invoke(app, ["distill", "collect", "--tasks", "sql_generation"])
    assert result.exit_code == 2
    assert "set distillation.prompts" in result.stderr


async def test_a_file_that_holds_something_else_is_not_added_to(tmp_path: Path) -> None:
    """Pairs are never mixed into another file."""
    out = tmp_path / "o.jsonl"
    out.write_text("notes\n")
    with pytest.raises(SetupError, match="holds no pairs"):
        await collected(PROMPTS, out, PLAN, "http://127.0.0.1:1", "")
