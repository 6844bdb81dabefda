"""Pools without replicas: missed by the requests that would choose them, called back, and heeded no longer."""

import asyncio
from dataclasses import dataclass, field

import pytest

from engines.pool import PoolSettings, pools_problem
from engines.registry import Heartbeat
from policies.document import Document
from policies.knowledge import Knowledge
from policies.replica import StepTime
from policies.request import Request
from router.observe.telemetry import Telemetry
from router.traffic.breaker import Tolerance
from router.traffic.fleet import Fleet
from router.traffic.sleepers import Sleepers

FAST = tuple(StepTime(batch, k, 20 + 2 * k) for batch in (1, 4) for k in range(5))
"""Drafts cost next to nothing: whatever is accepted is gained."""
SLOW = tuple(StepTime(batch, k, 20 + 60 * k) for batch in (1, 4) for k in range(5))
REQUEST = Request("m", task="sql_generation", temperature=0, max_tokens=256)


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("router.traffic.sleepers.PAUSE_S", 0)


def _pool(name: str, **fields: object) -> PoolSettings:
    return PoolSettings.model_validate({"name": name, "model": "m", "engine": "simulator", **fields})


def _sleeper(**autoscaling: object) -> PoolSettings:
    return _pool("draft", drafter="d", method="draft_model", k_max=4, autoscaling={"idle_s": 60, **autoscaling})


@dataclass
class Scene:
    """A vanilla pool that stays, and a speculative one that may sleep; calls are written down."""

    pool: PoolSettings = field(default_factory=lambda: _sleeper(up_delay_s=0, idle_requests=0))
    now_s: float = 1000.0
    routers: int = 1
    called: list[str] = field(default_factory=list)
    woken: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        """The clock is this scene's."""
        self.fleet = Fleet(lambda: self.now_s, 5.0, Tolerance(), frozenset({"draft"}))
        self.telemetry = Telemetry()
        pools = (_pool("vanilla"), self.pool)
        self.sleepers = Sleepers(pools, self.fleet, self.telemetry, lambda: self.now_s, self._call, self.routers)
        self.knowledge = Knowledge(Document())

    async def _call(self, pool: str) -> None:
        self.called.append(pool)
        await self.woken.wait()

    def hear(self, *beats: Heartbeat) -> None:
        """The registry holds these now."""
        self.fleet.update(beats)

    async def ask(self, request: Request = REQUEST) -> None:
        """A request comes; calls that it causes are out when this returns."""
        self.sleepers.heed(request, self.knowledge)
        await asyncio.sleep(0)

    async def quiet(self) -> None:
        """Until no call is out."""
        await asyncio.gather(*self.sleepers._calls.values())

    def beat(self, name: str, **facts: object) -> Heartbeat:
        """One replica's word, as of now."""
        base = {"pool": name, "model": "m", "target": "t", "url": f"http://{name}", "clock_s": self.now_s}
        drafts = {"drafter": "d", "method": "draft_model", "k_max": 4} if name == "draft" else {}
        return Heartbeat.model_validate({"replica": f"{name}-1", **base, **drafts, "probe": FAST, **facts})


async def test_a_pool_that_would_be_chosen_is_called_back_once() -> None:
    """However many requests miss it, one call is out; when it has come and sleeps again, the next is made."""
    scene = Scene()
    scene.hear(scene.beat("vanilla"), scene.beat("draft", state="asleep"))
    for _ in range(5):
        await scene.ask()
    assert scene.called == ["draft"]
    scene.woken.set()
    await scene.quiet()
    await scene.ask()
    assert scene.called == ["draft", "draft"]
    await scene.sleepers.stop()


@pytest.mark.parametrize(
    ("facts", "request_"),
    [
        ({"probe": SLOW}, REQUEST),
        ({"state": "ready"}, REQUEST),
        ({"state": "starting"}, REQUEST),
        ({}, Request("m", task="sql_generation", speculation="off", max_tokens=256)),
        ({}, Request("another", task="sql_generation")),
    ],
    ids=["slower than vanilla", "awake", "starting", "speculation off", "another model"],
)
async def test_a_pool_that_nobody_would_choose_sleeps_on(facts: dict[str, object], request_: Request) -> None:
    """Also one that is there already, or on its way."""
    scene = Scene()
    scene.hear(scene.beat("vanilla"), scene.beat("draft", **{"state": "asleep", **facts}))
    await scene.ask(request_)
    assert scene.called == []


async def test_it_is_called_only_when_missed_for_its_delay() -> None:
    """One request is no reason to load a model; steady ones are, after `up_delay_s`."""
    scene = Scene(_sleeper(up_delay_s=30, idle_requests=0.01))
    scene.hear(scene.beat("vanilla"), scene.beat("draft", state="asleep"))
    for _ in range(29):
        await scene.ask()
        scene.now_s += 1
    assert scene.called == []
    for _ in range(10):
        await scene.ask()
        scene.now_s += 1
    assert scene.called == ["draft"]
    await scene.sleepers.stop()


async def test_each_of_several_routers_takes_its_share_for_the_whole() -> None:
    """Two routers see half of the requests each: half of the level is enough."""
    calls = []
    for routers in (1, 2):
        scene = Scene(_sleeper(up_delay_s=0, idle_requests=0.012), routers=routers)
        scene.hear(scene.beat("vanilla"), scene.beat("draft", state="asleep"))
        await scene.ask()
        calls.append(scene.called)
        await scene.sleepers.stop()
    assert calls == [[], ["draft"]]


async def test_it_is_called_at_once_where_nobody_else_answers() -> None:
    """The pool that stays awake is out: no delay then."""
    scene = Scene(_sleeper(up_delay_s=300, idle_requests=5))
    scene.hear(scene.beat("vanilla", state="starting"), scene.beat("draft", state="asleep"))
    await scene.ask()
    assert scene.called == ["draft"]
    await scene.sleepers.stop()


async def test_a_pool_that_nobody_remembers_is_called() -> None:
    """Redis lost its data and the routers are new: what it is like can only be shown by itself."""
    scene = Scene()
    scene.hear(scene.beat("vanilla"))
    await scene.ask()
    assert scene.called == ["draft"]
    await scene.sleepers.stop()


def test_what_a_sleeping_pool_was_like_outlives_the_registry() -> None:
    """Redis forgets: routers that run do not, until the pool is there again."""
    scene = Scene()
    asleep = scene.beat("draft", state="asleep")
    scene.hear(scene.beat("vanilla"), asleep)
    for _ in range(3):
        scene.now_s += 10
        scene.hear(scene.beat("vanilla"))
    assert [one.pool.name for one in scene.fleet.asleep("m")] == ["draft"]
    for _ in range(3):
        scene.now_s += 10
        scene.hear(scene.beat("vanilla"), scene.beat("draft", replica="draft-2"))
    assert scene.fleet.asleep("m") == []
    assert [beat.replica for beat in scene.fleet.heartbeats()] == ["draft-2", "vanilla-1"]


def test_a_replica_that_is_there_outweighs_a_later_word_of_sleep() -> None:
    """The old replica ends after the new one has come: the pool is awake."""
    scene = Scene()
    awake = scene.beat("draft", replica="draft-2")
    scene.now_s += 1
    scene.hear(scene.beat("vanilla"), awake, scene.beat("draft", state="asleep"))
    assert scene.fleet.asleep("m") == []


def test_no_request_goes_to_a_sleeping_pool() -> None:
    """It is listed, with its state, and takes nothing."""
    scene = Scene()
    scene.hear(scene.beat("draft", state="asleep"))
    assert [one.state for one in scene.fleet.replicas("m")] == ["asleep"]
    assert not scene.fleet.has_room("draft", 1.0)


def test_a_pool_that_may_no_longer_sleep_is_not_listed() -> None:
    """Its last word stays in Redis for a month; settings change sooner."""
    scene = Scene()
    scene.hear(scene.beat("vanilla", state="asleep"))
    assert scene.fleet.heartbeats() == []


async def test_calls_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pool that is called and not heard of yet is not called with every request."""
    monkeypatch.setattr("router.traffic.sleepers.PAUSE_S", 60)
    scene = Scene()
    scene.woken.set()
    scene.hear(scene.beat("vanilla"), scene.beat("draft", state="asleep"))
    for _ in range(5):
        await scene.ask()
        await asyncio.sleep(0)
    assert scene.called == ["draft"]
    await scene.sleepers.stop()


async def test_a_call_that_fails_can_be_made_again(caplog: pytest.LogCaptureFixture) -> None:
    """Serve may have no room for a replica now."""
    scene = Scene()

    async def refuse(pool: str) -> None:
        scene.called.append(pool)
        raise RuntimeError("no GPU")

    scene._call = refuse  # type: ignore[method-assign]
    scene.__post_init__()
    scene.hear(scene.beat("vanilla"), scene.beat("draft", state="asleep"))
    for _ in range(2):
        await scene.ask()
        await scene.quiet()
    assert scene.called == ["draft", "draft"]
    assert "did not wake: RuntimeError: no GPU" in caplog.text


def _idle(name: str) -> PoolSettings:
    return _pool(name, autoscaling={"idle_s": 60})


@pytest.mark.parametrize(
    ("pools", "problem"),
    [
        ([_pool("vanilla"), _idle("a"), _idle("b")], None),
        ([_idle("a"), _idle("b")], "'a' sets autoscaling.idle_s, and so does every pool of model 'm'"),
        ([_pool("a"), _pool("a")], "the name 'a' is given twice"),
    ],
)
def test_one_pool_of_each_model_stays_awake(pools: list[PoolSettings], problem: str | None) -> None:
    """Somebody must answer while the others sleep."""
    found = pools_problem(pools)
    assert (found is None) if problem is None else (found is not None and problem in found)
