"""Reloading an engine while requests run: nobody notices but the replica, and what cannot be reloaded says why."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence

import pytest
from service import CHAT, Service, running_service, settings_with

from engines.engine import SimulatorEngine
from engines.member import Announcing, Member
from engines.pool import PoolSettings, SimulatorOptions
from engines.registry import Heartbeat
from router.state.store import MemoryRegistry

OFTEN = Announcing(every_s=0.02, ttl_s=2, read_s=0.05)
POOL = PoolSettings(
    name="vanilla", engine="simulator", drain_s=20, simulator=SimulatorOptions(calibration="cpu-demo", time_scale=20)
)
RELOAD = "/admin/v1/engines/{}/reload"
STREAMED = {**CHAT, "max_tokens": 60, "ignore_eos": True, "stream": True}


class Broken(SimulatorEngine):
    """An engine that starts once and never again."""

    async def start(self) -> None:
        if self.url:
            raise RuntimeError("no memory is left")
        await super().start()


@contextlib.asynccontextmanager
async def fleet_of(engines: Sequence[SimulatorEngine]) -> AsyncIterator[tuple[Service, list[Member]]]:
    """A router over replicas that live as they do under Serve."""
    registry = MemoryRegistry(time.monotonic)
    members = [Member(f"vanilla-{i}", POOL, engine, registry, OFTEN) for i, engine in enumerate(engines)]
    async with running_service(settings_with([POOL]), {}, registry=registry) as service:
        try:
            await asyncio.gather(*(member.join() for member in members))
            await service.until(lambda: states(service) == dict.fromkeys((one.name for one in members), "ready"))
            yield service, members
        finally:
            await asyncio.gather(*(member.leave(drain_s=0) for member in members))


def simulated() -> SimulatorEngine:
    """An engine as a replica makes it."""
    return SimulatorEngine(POOL, "127.0.0.1", "key")


def states(service: Service) -> dict[str, str]:
    """Each replica's state as announced."""
    return {beat.replica: beat.state for beat in service.ingress.fleet.heartbeats()}


def since(service: Service, name: str) -> float:
    """Since when a replica serves."""
    return next(beat.ready_since_s for beat in service.ingress.fleet.heartbeats() if beat.replica == name)


async def reload(service: Service, name: str, **body: object) -> tuple[int, str]:
    """Status, and the error's code or the replica's name."""
    async with service.session.post(RELOAD.format(name), json=body) as got:
        said = await got.json()
        return got.status, said["name"] if got.status == 202 else said["error"]["code"]


async def _reload_under_load(
    service: Service, member: Member, whole: list[int], clients: list[asyncio.Task[None]]
) -> None:
    seen, url, before = whole[0], member._engine.url, since(service, member.name)
    await service.until(lambda: whole[0] >= seen + 16 or any(client.done() for client in clients))
    assert isinstance(service.registry, MemoryRegistry)
    service.registry._turns.clear()  # its seconds need not be waited for: the one before is ready again
    assert await reload(service, member.name, why="new weights") == (202, member.name)
    await service.until(lambda: since(service, member.name) > before or any(client.done() for client in clients))
    assert member._engine.url != url


async def test_no_request_fails_while_both_replicas_are_reloaded_in_turn() -> None:
    """Streams that run are finished, new ones go to the other replica, and each engine is another one afterwards."""
    async with fleet_of([simulated(), simulated()]) as (service, members):
        stop, whole, answered = asyncio.Event(), [0], {member.name: 0 for member in members}

        async def client() -> None:
            while not stop.is_set():
                async with service.session.post("/v1/chat/completions", json=STREAMED) as got:
                    text = await got.text()
                    assert got.status == 200, text
                    assert text.endswith("data: [DONE]\n\n"), text[-200:]
                    answered[got.headers["x-alpharoute-replica"]] += 1
                    whole[0] += 1

        clients = [asyncio.create_task(client()) for _ in range(8)]
        for member in members:
            await _reload_under_load(service, member, whole, clients)
        stop.set()
        await asyncio.gather(*clients)
        assert whole[0] >= 32
        assert min(answered.values()) > 0
        assert service.total("retries_total") == 0
        async with service.session.get("/admin/v1/events?kind=engine_reload") as got:
            events = (await got.json())["events"]
        assert [event["subject"] for event in events] == ["vanilla-1", "vanilla-0"]
        assert "has asked it to reload: new weights" in events[0]["detail"]


async def test_the_only_replica_is_reloaded_by_force_alone() -> None:
    """Its model would be away meanwhile; of two at once the second waits its turn."""
    async with fleet_of([simulated()]) as (service, _):
        assert await reload(service, "vanilla-0") == (409, "last_replica")
        before = since(service, "vanilla-0")
        assert await reload(service, "vanilla-0", force=True) == (202, "vanilla-0")
        await service.until(
            lambda: states(service) == {"vanilla-0": "draining"} or since(service, "vanilla-0") > before
        )
        await service.until(lambda: since(service, "vanilla-0") > before)
    async with fleet_of([simulated(), simulated()]) as (service, _):
        assert (await reload(service, "vanilla-0"))[0] == 202
        assert (await reload(service, "vanilla-1"))[1] in ("reload_in_progress", "last_replica")


async def test_the_last_replica_is_drained_by_force_alone_and_then_counts_as_drained() -> None:
    """Requests would be refused; whoever counts ready ones finds none, so that the alert for an empty pool fires."""

    async def drain(service: Service, name: str, **body: bool) -> int:
        async with service.session.post(f"/admin/v1/engines/{name}/drain", json=body) as got:
            return got.status

    def counted(service: Service, state: str) -> float:
        return service.total("engine_replicas", pool="vanilla", state=state)

    async with fleet_of([simulated(), simulated()]) as (service, _):
        assert await drain(service, "vanilla-0") == 200
        await service.until(lambda: (counted(service, "ready"), counted(service, "drained")) == (1, 1))
        assert await drain(service, "vanilla-1") == 409
        assert await drain(service, "vanilla-1", force=True) == 200
        await service.until(lambda: (counted(service, "ready"), counted(service, "drained")) == (0, 2))


async def test_a_cordoned_replica_counts_as_such_while_another_takes_its_requests() -> None:
    """Without another one it is asked, and so it is ready."""
    async with fleet_of([simulated(), simulated()]) as (service, _):
        async with service.session.post("/admin/v1/engines/vanilla-0/cordon", json={}) as got:
            assert got.status == 200
        assert sorted(service.ingress.fleet.states()) == [("vanilla", "cordoned"), ("vanilla", "ready")]
        async with service.session.post("/admin/v1/engines/vanilla-1/cordon", json={}) as got:
            assert got.status == 200
        assert service.ingress.fleet.states() == [("vanilla", "ready")] * 2


async def test_a_drained_replica_is_reloaded_and_stays_drained() -> None:
    """It serves nobody, so nobody misses it; the mark is its operator's to take away."""
    async with fleet_of([simulated()]) as (service, _):
        async with service.session.post("/admin/v1/engines/vanilla-0/drain", json={"force": True}) as got:
            assert got.status == 200
        before = since(service, "vanilla-0")
        assert (await reload(service, "vanilla-0"))[0] == 202
        await service.until(lambda: since(service, "vanilla-0") > before)
        assert [replica.state for replica in service.ingress.fleet.replicas("demo")] == ["draining"]


async def test_an_engine_that_does_not_come_back_has_failed() -> None:
    """The replica says so to Serve, which replaces it; the other one serves."""
    async with fleet_of([Broken(POOL, "127.0.0.1", "key"), simulated()]) as (service, members):
        assert (await reload(service, "vanilla-0"))[0] == 202
        assert str(await asyncio.wait_for(members[0].failed(), 10)) == "no memory is left"
        async with service.session.post("/v1/chat/completions", json=CHAT) as got:
            assert (got.status, got.headers["x-alpharoute-replica"]) == (200, "vanilla-1")
            await got.read()


async def test_a_replica_that_leaves_while_it_reloads_is_drained_all_the_same() -> None:
    """A request that runs is finished, and no engine is started any more."""
    async with fleet_of([simulated(), simulated()]) as (service, members):
        async with service.session.post("/v1/chat/completions", json={**STREAMED, "max_tokens": 150}) as got:
            name = got.headers["x-alpharoute-replica"]
            member = next(one for one in members if one.name == name)
            assert (await reload(service, name))[0] == 202
            await service.until(lambda: states(service)[name] == "draining")
            leaving = asyncio.create_task(member.leave(drain_s=20))
            assert (await got.text()).endswith("data: [DONE]\n\n")
            await leaving
        assert member._ready_since_s == since(service, name)


@pytest.mark.parametrize(
    ("facts", "code"),
    [
        ({"state": "starting"}, "wrong_state"),
        ({"reloadable": False}, "not_supervised"),
        ({"pool": "theirs"}, "not_supervised"),
    ],
    ids=["not ready", "an older version", "by url"],
)
async def test_what_cannot_be_reloaded_says_why(facts: dict[str, object], code: str) -> None:
    """One that starts, one that does not know how, and a server that somebody else runs."""
    theirs = PoolSettings(name="theirs", engine="url", urls=("http://127.0.0.1:1",))
    beat = {"pool": "vanilla", "model": "demo", "target": "t", "url": "http://127.0.0.1:1", "reloadable": True}
    async with running_service(settings_with([POOL, theirs]), {}) as service:
        for name in ("one", "two"):
            said = {"replica": name, "clock_s": time.time(), **beat, **facts}
            await service.registry.announce(Heartbeat.model_validate(said), ttl_s=3600)
        await service.until(lambda: len(states(service)) == 2)
        assert await reload(service, "one") == (409, code)
        assert (await reload(service, "three"))[1] == "unknown_replica"
        assert not await service.registry.announce(Heartbeat.model_validate({"replica": "one", **beat}), ttl_s=1)
