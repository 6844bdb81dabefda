"""One editing story from alarm to fixed policy, with the commands an operator types; docs/editing-story.md shows it.

`STORY=FILE pytest tests/router/test_editing_story.py` writes what was typed and answered into a file.
"""

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from service import DRAFT, VANILLA, Service, running_service, settings_with, simulator
from threaded import Threaded, threaded
from typer.testing import CliRunner

from router.cli import app

FORCED = {"rules": [{"name": "SQL speculates", "when": {"task": ["sql_generation"]}, "then": {"mode": "speculative"}}]}
FORCED["rules"][0]["then"]["k"] = {"min": 4}  # type: ignore[index]
"""The policy before: somebody was once impressed by SQL."""

TYPO = """\
# SQL is left to the scores again: the new drafter does not know it.
tasks:
  sql_generation:
    mod: auto
"""
FIXED = TYPO.replace("mod:", "mode:")
AT_ONCE = 8


@asynccontextmanager
async def _service() -> AsyncIterator[Service]:
    """Steps take what they take on an H100, by its calibration; nobody waits for them."""
    paced = {"calibration": "h100-8b-eagle3", "time_scale": 0}
    engines = {"vanilla-1": simulator(VANILLA, **paced), "draft-1": simulator(DRAFT, **paced)}
    decisions = {"per_s": 1000.0}
    async with running_service(settings_with(policy=FORCED, decisions=decisions), engines) as service:
        yield service


@pytest.fixture
def live() -> Iterator[Threaded]:
    """The service of the story."""
    with threaded(_service) as service:
        yield service


@dataclass
class Story:
    """What is typed and what comes back."""

    live: Threaded
    folder: Path
    told: list[str] = field(default_factory=list)

    def type(self, command: str, code: int = 0) -> str:
        """One command; its output, of both streams."""
        words = [str(self.folder / word) if word.endswith(".yaml") else word for word in _split(command)]
        offline = words[:2] == ["policy", "validate"]
        result = CliRunner().invoke(app, [*words, *([] if offline else ["--url", self.live.url])])
        said = (result.stdout + result.stderr).replace(f"{self.folder}/", "").rstrip()
        said = "\n".join(line.rstrip() for line in said.splitlines())
        self.told.append(f"$ alpharoute {command}\n{said}" + (f"\n(exit code {code})" if code else ""))
        assert result.exit_code == code, said
        return said

    def json(self, command: str) -> Any:
        """The same for an assertion: not told."""
        result = CliRunner().invoke(app, [*_split(command), "--json", "--url", self.live.url])
        assert result.exit_code == 0, result.stderr
        return json.loads(result.stdout)

    def write(self, name: str, text: str) -> None:
        """A file that the operator edits."""
        (self.folder / name).write_text(text)
        self.told.append(f"$ cat {name}\n{text.rstrip()}")

    def traffic(self, requests: int) -> None:
        """Requests of three tasks, a few at a time."""

        async def run() -> None:
            places = asyncio.Semaphore(AT_ONCE)

            async def one(at: int) -> None:
                task = ("sql_generation", "mathematics", "summarization")[at % 3]
                content = f"[task:{task}] number {at} of {time.monotonic_ns()}"
                body = {"model": "demo", "max_tokens": 64, "temperature": 0}
                headers = {"x-alpharoute-task": task}
                message = {"messages": [{"role": "user", "content": content}]}
                session = self.live.service.session
                async with places, session.post("/v1/chat/completions", json=body | message, headers=headers) as got:
                    assert got.status == 200
                    await got.read()

            await asyncio.gather(*(one(at) for at in range(requests)))

        asyncio.run_coroutine_threadsafe(run(), self.live.loop).result(60)

    def ms_per_token(self, requests: int = 120) -> float:
        """What engines took per token of SQL over so many more requests, by the log of decisions."""
        since_s = time.time()
        self.traffic(requests)
        rows: list[Any] = []

        def logged() -> bool:
            found = self.json("decisions list --task sql_generation -n 1000")["decisions"]
            rows[:] = [one for one in found if one["at_s"] >= since_s and one["measured_ms_per_token"]]
            return len(rows) >= requests // 4

        deadline = time.monotonic() + 20
        while not logged():
            assert time.monotonic() < deadline, f"{len(rows)} decisions were logged"
        return sum(float(one["measured_ms_per_token"]) for one in rows) / len(rows)

    def until(self, good: Callable[[], bool], what: str) -> None:
        """Keep traffic going until something is seen."""
        deadline = time.monotonic() + 45
        while not good():
            assert time.monotonic() < deadline, what
            self.traffic(30)


def _split(command: str) -> list[str]:
    import shlex

    return shlex.split(command)


async def _age(live: Threaded) -> None:
    """The drafter is exchanged for one that does not know SQL."""
    url = live.service.engines["draft-1"].url
    asked = {"scale": 0.2, "task": "sql_generation"}
    headers = {"authorization": "Bearer engine-key"}
    async with live.service.session.post(f"{url}/simulator/acceptance", json=asked, headers=headers) as got:
        assert got.status == 200


def test_from_an_alarm_to_a_fixed_policy(live: Threaded, tmp_path: Path) -> None:
    """A drafter that no longer knows SQL, a rule that forces it, and the way out; each step as it was answered."""
    story = Story(live, tmp_path)
    story.traffic(240)
    well_ms = story.ms_per_token()

    live.run(_age(live))
    story.until(lambda: bool(story.json("events --kind drift")["events"]), "no alarm came")
    story.traffic(90)
    assert "sql_generation" in story.type("events --kind drift -n 3")
    ill_ms = story.ms_per_token()
    assert "sql_generation" in story.type("acceptance --task sql_generation")
    request = story.json("decisions list --task sql_generation -n 1")["decisions"][0]["request_id"]
    assert "rule" in story.type("decisions list --task sql_generation -n 3")
    story.type(f"decisions explain {request}")
    story.type("policy show active")

    story.write("policy.yaml", TYPO)
    assert "'mode'" in story.type("policy validate policy.yaml", code=1)
    story.write("policy.yaml", FIXED)
    story.type("policy validate policy.yaml")
    story.type('policy draft policy.yaml -m "SQL by the scores: the new drafter does not know it"')
    story.type("policy diff 1")
    dry = story.type("policy dry-run 1")
    assert "sql_generation" in dry
    story.type('policy canary 1 --share 0.2 -m "a fifth first"')
    story.until(lambda: story.json("policy status")["canary"]["report"]["canary"]["measured"] >= 40, "no canary")
    assert "no fault" in story.type("policy status")
    story.type('policy activate 1 -m "faster, no errors"')
    story.traffic(120)
    now_ms = story.ms_per_token()
    assert "activate" in story.type("policy history")
    assert well_ms < ill_ms
    assert now_ms < 0.95 * ill_ms
    story.told.append(f"SQL, ms per token: {well_ms:.2f} before, {ill_ms:.2f} at the alarm, {now_ms:.2f} now")
    if out := os.environ.get("STORY"):
        Path(out).write_text("\n\n".join(story.told) + "\n")
