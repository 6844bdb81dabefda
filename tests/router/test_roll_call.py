"""Asking the engines' deployments who is there: whoever answers is heard, whatever the others do."""

import asyncio
import time
from typing import Any

import pytest

from engines.member import Announcing
from engines.pool import PoolSettings
from engines.registry import Heartbeat
from router.state import roll_call
from router.state.roll_call import RollCall
from router.state.store import MemoryRegistry


class Replicas:
    """A deployment whose replicas answer with these; an exception is raised by the call, or by one replica."""

    def __init__(self, *answers: list[str] | Exception, fails: Exception | None = None, hangs: bool = False) -> None:
        self._answers, self._fails, self._hangs = answers, fails, hangs

    def broadcast(self, method_name: str) -> "Replicas":
        """As a Serve handle does."""
        assert method_name == "present"
        return self

    async def results_async(self, *, timeout_s: float, return_exceptions: bool) -> Any:
        """As Serve's response does."""
        assert return_exceptions
        if self._hangs:
            await asyncio.wait_for(asyncio.Event().wait(), timeout_s)
        if self._fails is not None:
            raise self._fails
        return list(self._answers)


def said(name: str, **more: object) -> str:
    """An announcement as it travels."""
    beat = Heartbeat(replica=name, pool="vanilla", model="demo", target="sim", url="http://x", clock_s=time.time())
    return beat.model_copy(update=more).model_dump_json()


async def test_whoever_answers_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pool without replicas, one that hangs, a replica that fails and one of another version hide nobody."""
    monkeypatch.setattr(roll_call, "LIMIT_S", 0.05)
    newer = said("c").replace('{"replica"', '{"spin":"up","replica"')
    pools = [
        Replicas([said("a"), said("b")], RuntimeError("it is ending"), [newer], ["{}"]),
        Replicas(fails=RuntimeError("no replica runs")),
        Replicas(hangs=True),
        Replicas([]),
    ]
    assert [beat.replica for beat in await RollCall(pools)()] == ["a", "b", "c"]


class Silent:
    """A member that announced once, so long ago."""

    def __init__(self, ago_s: float, failure: Exception | None = None) -> None:
        self.said = Heartbeat.model_validate_json(said(f"{ago_s:g}", clock_s=time.time() - ago_s))
        self.failure = failure


@pytest.mark.filterwarnings("ignore")  # of Ray's own import
async def test_a_replica_answers_for_engines_that_live() -> None:
    """Not for one that failed or has not answered for as long as an announcement holds."""
    from engines.replica import EngineReplica

    replica = EngineReplica(
        PoolSettings(name="vanilla", engine="simulator"),
        "127.0.0.1",
        Announcing(ttl_s=5),
        lambda: MemoryRegistry(time.monotonic),
    )
    members: Any = [Silent(1), Silent(60), Silent(2, RuntimeError("dead"))]
    replica._members = members
    (text,) = await replica.present()
    assert Heartbeat.model_validate_json(text).replica == "1"
