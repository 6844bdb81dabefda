"""The engines as one router sees them: announced load, its own requests, suspicion, and a registry that was lost."""

import math
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.registry import Heartbeat
from policies.choice import Choice, Reason
from policies.occupancy import Batch
from policies.request import Request
from router.state.marks import Mark
from router.traffic.breaker import Tolerance
from router.traffic.fleet import Fleet, Flight


@dataclass
class Scene:
    """A fleet with a grace of 5 s on a clock that the test sets."""

    now_s: float = 100.0
    fleet: Fleet = field(init=False)

    def __post_init__(self) -> None:
        """The clock is this scene's."""
        self.fleet = Fleet(lambda: self.now_s, 5.0, Tolerance(failures=2, backoff_s=1, backoff_max_s=4))

    def beat(self, *names: str, **facts: object) -> None:
        """These replicas announce themselves now."""
        base = {"pool": "p", "model": "m", "target": "t", "url": "http://a", "clock_s": self.now_s, **facts}
        self.fleet.update([Heartbeat.model_validate({"replica": name, **base}) for name in names])

    def begin(self, name: str, k: int) -> Flight:
        """A request goes out to the replica."""
        replica = next(replica for replica in self.fleet.replicas("m") if replica.name == name)
        return self.fleet.begin(Choice(engine=replica, k=k, reason=Reason.FASTEST), Request("m", prompt_tokens=10))

    def names(self) -> list[str]:
        """The replicas known."""
        return [replica.name for replica in self.fleet.replicas("m")]


def test_a_replica_that_vanishes_is_kept_for_the_grace() -> None:
    """The grace counts from when it was first missed, however long the registry could not be read before."""
    scene = Scene()
    scene.beat("a", "b")
    scene.now_s += 3600
    scene.beat("b")
    assert scene.names() == ["a", "b"]
    scene.now_s += 4
    scene.beat("b")
    assert scene.names() == ["a", "b"]
    scene.now_s += 2
    scene.beat("b")
    assert scene.names() == ["b"]


def test_replicas_that_all_vanish_at_once_are_kept_for_longer() -> None:
    """Then it is the registry, or the machine, that is late: as soon as one is heard again the grace holds for others.

    Another model's engines do not matter.
    """
    scene = Scene()
    scene.beat("a", "b")
    for _ in range(10):
        scene.beat("other", model="n")
        assert scene.names() == ["a", "b"]
        scene.now_s += 5
    scene.beat("b")
    assert scene.names() == ["b"], "it had been missing for longer than the grace"
    for _ in range(11):
        scene.beat("other", model="n")
        scene.now_s += 5
    scene.beat("other", model="n")
    assert scene.names() == []


def test_other_weights_under_the_same_name_are_another_target() -> None:
    """Acceptance is kept by what was found under the names, so that a new revision does not inherit an old one's."""
    scene = Scene()
    scene.beat("a", target="org/m@main", target_revision="0123", drafter="/d", drafter_revision="4567", k_max=4)
    (replica,) = scene.fleet.replicas("m")
    assert (replica.pool.target, replica.pool.drafter) == ("org/m@0123", "/d@4567")


def test_a_replica_that_comes_back_in_time_starts_anew() -> None:
    """Being missed once is forgotten."""
    scene = Scene()
    for names in (("a",), (), ("a",), ()):
        scene.beat(*names)
        scene.now_s += 4
    assert scene.names() == ["a"]


def test_load_is_what_was_announced_and_what_went_out_since() -> None:
    """Others' requests come from the heartbeat, our own from here, none of them twice."""
    scene = Scene()
    scene.beat("a", running=3)
    ours = [scene.begin("a", 2) for _ in range(2)]
    assert scene.fleet.replicas("m")[0].running == 5
    scene.now_s += 1
    scene.beat("a", running=4)
    assert scene.fleet.replicas("m")[0].running == 4
    scene.fleet.end(ours[0])
    view = scene.fleet.replicas("m")[0]
    assert (view.running, view.mean_k, view.max_k) == (3, 2.0, 2)


def test_a_request_outlives_its_replica_s_address() -> None:
    """A replica that came back at another URL starts with no requests, and the old one's end harms nobody."""
    scene = Scene()
    scene.beat("a", url="http://old")
    flight = scene.begin("a", 4)
    scene.now_s += 1
    scene.beat("a", url="http://new")
    assert scene.fleet.endpoint("a").url == "http://new"
    assert flight.breaker.failed(scene.now_s, at_once=True)
    assert (scene.fleet.replicas("m")[0].state, scene.fleet.replicas("m")[0].running) == ("ready", 0)
    scene.beat("b")
    scene.now_s += 10
    scene.beat("b")
    seen = scene.fleet.end(flight)
    assert scene.names() == ["b"]
    assert (seen.mean_batch, seen.mean_k, seen.mean_max_k) == (1.0, 4.0, 4.0)


def test_heartbeats_do_not_bring_a_failing_replica_back() -> None:
    """A hung engine still announces itself: after its back-off it is due for a probe, whose end decides."""
    scene = Scene()
    scene.beat("a")
    assert scene.begin("a", 0).breaker.failed(scene.now_s, at_once=True)
    for _ in range(9):
        scene.now_s += 0.1
        scene.beat("a")
        assert scene.fleet.replicas("m")[0].state == "down"
    assert scene.fleet.suspects() == []
    scene.now_s += 0.2
    (suspect,) = scene.fleet.suspects()
    assert (suspect.name, suspect.model, scene.fleet.replicas("m")[0].state) == ("a", "m", "down")
    suspect.endpoint.breaker.probed(scene.now_s, good=True)
    assert scene.fleet.replicas("m")[0].state == "ready"


def test_replicas_that_could_not_be_connected_to_are_the_last_resort() -> None:
    """Only while no other is ready; one that hangs, or that a probe found hanging, is never one."""
    scene = Scene()
    scene.beat("a", "b", "c", max_running=1)
    flights = {name: scene.begin(name, 0) for name in ("a", "b", "c")}

    def ready() -> list[str]:
        return [one.name for one in scene.fleet.candidates("m") if one.state == "ready"]

    assert flights["a"].breaker.failed(scene.now_s, at_once=True)
    assert ready() == ["b", "c"]
    assert flights["b"].breaker.failed(scene.now_s, at_once=True)
    flights["c"].breaker.failed(scene.now_s, at_once=False)
    assert ready() == ["c"]
    assert not scene.fleet.has_room("p", 1.0)
    assert flights["c"].breaker.failed(scene.now_s, at_once=False)
    assert ready() == ["a", "b"]
    assert {one.state for one in scene.fleet.replicas("m")} == {"down"}
    assert (scene.fleet.has_room("p", 1.0), scene.fleet.has_room("p", 1.5)) == (False, True)
    flights["a"].breaker.probed(scene.now_s, good=False, connected=False)
    flights["b"].breaker.probed(scene.now_s, good=False)
    assert ready() == ["a"]
    scene.fleet.marks = {"a": Mark("drain", "me", 0.0)}
    assert ready() == [], "what operators say stands"


def test_a_pool_has_room_for_what_its_ready_replicas_run_at_a_time() -> None:
    """A replica that is out gives no room; what it holds does not count either."""
    scene = Scene()
    scene.beat("a", "b", max_running=2)
    lost = scene.begin("a", 0)
    assert scene.fleet.has_room("p", 1.0)
    for _ in range(2):
        scene.begin("b", 0)
    assert scene.fleet.has_room("p", 1.0)
    lost.breaker.failed(scene.now_s, at_once=True)
    assert not scene.fleet.has_room("p", 1.0)
    assert scene.fleet.has_room("p", 1.5)
    assert not scene.fleet.has_room("elsewhere", 9)


def test_room_is_how_many_more_may_go_in() -> None:
    """Over all ready replicas of the pool; none where they hold too many already."""
    scene = Scene()
    scene.beat("a", "b", max_running=3, running=1)
    assert (scene.fleet.room("p", 1.0), scene.fleet.room("p", 1.5), scene.fleet.room("elsewhere", 9)) == (4, 7, 0)
    scene.begin("a", 0)
    assert scene.fleet.room("p", 1.0) == 3
    assert scene.fleet.room("p", 0.1) == 0
    assert scene.fleet.room("p", math.inf) == math.inf


def test_a_pool_takes_requests_where_a_decision_would_send_them() -> None:
    """Not while it is drained, cordoned beside others, or could not be connected to and another is ready."""
    scene = Scene()

    def both(clock_s: float) -> None:
        base = {"model": "m", "target": "t", "url": "http://a", "clock_s": clock_s}
        beats = [{"replica": "a", "pool": "p", **base}, {"replica": "b", "pool": "q", **base}]
        scene.fleet.update([Heartbeat.model_validate(beat) for beat in beats])

    both(1.0)
    assert [scene.fleet.takes(pool) for pool in ("p", "q", "elsewhere")] == [True, True, False]
    for kind in ("drain", "cordon"):
        scene.fleet.marks = {"a": Mark(kind, "me", 0.0)}
        assert [scene.fleet.takes(pool) for pool in ("p", "q")] == [False, True]
    scene.fleet.marks = {}
    scene.fleet.endpoint("a").breaker.failed(scene.now_s, at_once=True)
    assert [scene.fleet.takes(pool) for pool in ("p", "q")] == [False, True]
    scene.fleet.marks = {"b": Mark("drain", "me", 0.0)}
    assert [scene.fleet.takes(pool) for pool in ("p", "q")] == [True, False], "it is the last resort"


def test_a_replica_that_may_hang_is_due_for_a_probe() -> None:
    """Requests go out to it until the probe says that it does."""
    scene = Scene()
    scene.beat("a", "b")
    for _ in range(2):
        assert scene.fleet.suspects() == []
        scene.begin("a", 0).breaker.unheard(60)
    (suspect,) = scene.fleet.suspects()
    assert suspect.name == "a"
    assert {one.state for one in scene.fleet.replicas("m")} == {"ready"}


@pytest.mark.parametrize(("said", "seen"), [("starting", "down"), ("draining", "draining"), ("ready", "ready")])
def test_states_are_those_announced(said: str, seen: str) -> None:
    """An engine that still starts takes no request."""
    scene = Scene()
    scene.beat("a", state=said)
    assert scene.fleet.replicas("m")[0].state == seen


@given(
    stays=st.lists(st.tuples(st.integers(0, 20), st.integers(1, 20), st.integers(0, 4)), min_size=1, max_size=12),
    others=st.integers(0, 5),
)
def test_the_batch_seen_is_the_mean_over_the_request_s_life(stays: list[tuple[int, int, int]], others: int) -> None:
    """Against a sum over seconds: batch, k and largest k while the request ran."""
    scene = Scene(0.0)
    scene.beat("a", running=others, max_running=100)
    open_now: dict[int, Flight] = {}
    seen: dict[int, Batch] = {}
    last = max(start + life for start, life, _ in stays)
    for second in range(last + 1):
        scene.now_s = float(second)
        for i, (start, life, k) in enumerate(stays):
            if start + life == second:
                seen[i] = scene.fleet.end(open_now.pop(i))
            if start == second:
                open_now[i] = scene.begin("a", k)
    for i, (start, life, _) in enumerate(stays):
        inside = [[s for s in stays if s[0] <= second < s[0] + s[1]] for second in range(start, start + life)]
        batch = sum(len(now) + others for now in inside) / life
        assert seen[i].mean_batch == pytest.approx(batch)
        assert seen[i].known == pytest.approx(sum(len(now) / (len(now) + others) for now in inside) / life)
        if not others:  # which k others' requests have is supposed: tests/policies/test_occupancy.py
            assert seen[i].mean_max_k == pytest.approx(sum(max(s[2] for s in now) for now in inside) / life)
            mean_k = sum(sum(s[2] for s in now) / len(now) for now in inside) / life
            assert seen[i].mean_k == pytest.approx(mean_k)
    assert scene.fleet.replicas("m")[0].running == others


def test_engines_on_the_same_hardware_see_each_other_work() -> None:
    """As long as both are there and say so; others are nobody's neighbour."""
    world = Scene()
    world.beat("a", "b", hardware="box/cpu")
    world.beat("c")
    flight = world.begin("a", 2)
    seen = {replica.name: replica for replica in world.fleet.replicas("m")}
    assert {name: one.neighbours for name, one in seen.items()} == {"a": 0, "b": 1, "c": 0}
    assert seen["b"].neighbours_running == 1
    world.fleet.end(flight)
    assert not any(replica.neighbours for replica in world.fleet.replicas("m"))
