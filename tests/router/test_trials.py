"""Shadow, canary, rollback and edits on routers that serve simulated engines."""

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncIterator, Callable, Collection

import pytest
from operators import router_over
from redis import Redis
from scripted import ScriptedEngine, answer
from service import CHAT, DRAFT, VANILLA, EngineServer, Service, running_service, settings_with, simulator

from policies.steering_reports import Canary
from router.admin.wiring import AdminStores
from router.config.traffic import DecisionSettings
from router.state.redis_store import Keys, connect
from router.state.store import MemoryRegistry, StoreError
from router.steering.running import SteeringStores, memory_stores, redis_stores
from router.steering.steering import Steering
from router.steering.versions import FILE

QUIET: dict[str, object] = {"exploration": {"enabled": False}, "guard": {"enabled": False}}
VANILLA_ONLY = {**QUIET, "kill_switch": True}
BAD = {**QUIET, "policy": "always_speculative"}
ALWAYS_VANILLA = {**QUIET, "policy": "always_vanilla"}
CREATIVE = "[task:creative_writing] a poem"


async def ask(service: Service, count: int = 1, statuses: Collection[int] = (200,)) -> list[str]:
    """So many chats at once; the k of each answer."""
    body = {"model": "demo", "messages": [{"role": "user", "content": CREATIVE}], "max_tokens": 32}
    headers = {"x-alpharoute-task": "creative_writing"}

    async def one() -> str:
        async with service.session.post("/v1/chat/completions", json=body, headers=headers) as got:
            assert got.status in statuses, await got.text()
            await got.read()
            return got.headers["x-alpharoute-k"]

    return await asyncio.gather(*(one() for _ in range(count)))


async def canary_report(steering: Steering, requests: int) -> Canary:
    """How a canary goes once so many requests were counted."""
    deadline = time.monotonic() + 10
    while True:
        status = await steering.status()
        assert status.canary is not None
        report = status.canary.report
        if report.rest.requests + report.canary.requests == requests:
            return report
        assert time.monotonic() < deadline, report
        await asyncio.sleep(0.05)


async def load_until_stopped(service: Service, statuses: Collection[int] = (200,)) -> None:
    """Requests until the canary, once taken up, has ended."""
    await until(lambda: service.ingress.pilot.canary is not None)
    began_s = time.monotonic()
    while service.ingress.pilot.canary is not None:
        assert time.monotonic() - began_s < 20, "it goes on"
        await ask(service, 10, statuses)


@contextlib.asynccontextmanager
async def routers(count: int, stores: SteeringStores, **parts: object) -> AsyncIterator[list[Service]]:
    """Routers that share policies and engines; time in the engines is told, not waited for."""
    facts = {"calibration": "cpu-demo", "time_scale": 0}
    registry = MemoryRegistry(time.monotonic)
    settings = settings_with(**{"policy": QUIET, **parts})  # type: ignore[arg-type]
    async with contextlib.AsyncExitStack() as stack:
        found: list[Service] = []
        for number in range(count):
            engines = {f"vanilla-{number}": simulator(VANILLA, **facts), f"draft-{number}": simulator(DRAFT, **facts)}
            shared = AdminStores(steering=stores)
            running = running_service(settings, engines, registry=registry, shared=shared, name=f"r{number}")
            found.append(await stack.enter_async_context(running))
        yield found


@contextlib.asynccontextmanager
async def shared_redis(url: str) -> AsyncIterator[SteeringStores]:
    """Stores over a Redis, under a prefix of their own."""
    client = connect(url, timeout_s=5)
    try:
        yield redis_stores(client, Keys(f"test-{uuid.uuid4().hex}"), DecisionSettings())
    finally:
        await client.aclose()


async def until(good: Callable[[], bool], limit_s: float = 20) -> float:
    """How long it took until a condition held, a deadline at most."""
    began_s = time.monotonic()
    while not good():
        assert time.monotonic() - began_s < limit_s, "the condition did not come true in time"
        await asyncio.sleep(0.005)
    return time.monotonic() - began_s


async def test_a_bad_canary_stops_by_itself() -> None:
    """A tenth of the requests gets a policy that sends them to a slow pool: within seconds it is a draft again, and
    everybody hears why."""
    stores = memory_stores()
    engines: dict[str, EngineServer] = {
        "vanilla-1": simulator(VANILLA, calibration="h100-8b-eagle", time_scale=0),
        "draft-1": simulator(DRAFT, calibration="cpu-demo", time_scale=0),
    }
    settings = settings_with(policy=ALWAYS_VANILLA)
    async with running_service(settings, engines, shared=AdminStores(steering=stores)) as service:
        steering = router_over(stores, policy=QUIET).steering
        await steering.create(BAD, "ana", "deeper for all")
        await steering.start_canary(1, 0.1, author="ana")
        await load_until_stopped(service)
        (stop, *_) = await steering.history()
        assert (stop.action, stop.by, stop.version) == ("stop", "alpharoute", 1)
        assert stop.why.startswith("time per token")
        assert (await steering.get(1)).state == "draft"
        assert set(await ask(service, 10)) == {"0"}
        await service.until(lambda: any(event.kind == "canary_stopped" for event in service.store.events))  # type: ignore[attr-defined]
        assert service.total("policy_events_total", kind="canary_stopped") == 1


async def test_a_canary_that_is_no_worse_goes_on() -> None:
    """The same policy under another number: nothing speaks against it, and both sides are counted."""
    stores = memory_stores()
    async with routers(1, stores) as (service,):
        steering = router_over(stores, policy=QUIET).steering
        await steering.create(QUIET, "ana")
        await steering.start_canary(1, 0.5)
        await until(lambda: service.ingress.pilot.canary is not None)
        for _ in range(20):
            await ask(service, 20)
        report = await canary_report(steering, 400)
        assert report.fault is None
        assert 120 < report.canary.requests < 280
        assert report.low < 0 < report.high


async def test_failing_requests_stop_a_canary() -> None:
    """A canary sent to a pool whose engine fails is stopped for its errors."""
    stores = memory_stores()
    broken = ScriptedEngine(answer(b'{"error": {"message": "broken"}}', status="500 Internal Server Error"))
    engines: dict[str, EngineServer] = {
        "vanilla-1": simulator(VANILLA, calibration="cpu-demo", time_scale=0),
        "draft-1": broken,
    }
    settings = settings_with(policy=ALWAYS_VANILLA, resilience={"breaker_failures": 1000})
    async with running_service(settings, engines, shared=AdminStores(steering=stores)) as service:
        steering = router_over(stores, policy=QUIET).steering
        await steering.create(BAD, "ana")
        await steering.start_canary(1, 0.5)
        await load_until_stopped(service, {200, 500})
        assert "error rate" in (await steering.history())[0].why


async def test_a_shadow_decides_and_does_not_act() -> None:
    """What it would have done differently is summed up over both routers; every answer is the active policy's."""
    stores = memory_stores()
    async with routers(2, stores) as both:
        steering = router_over(stores, policy=QUIET).steering
        await steering.create(VANILLA_ONLY, "ana")
        await steering.start_shadow(1, "ana")
        await until(lambda: all(service.ingress.pilot.shadow is not None for service in both))
        for service in both:
            await ask(service, 30)

        async def decided() -> int:
            status = await steering.status()
            assert status.shadow is not None
            return status.shadow.report.total.decisions + status.shadow.report.skipped

        deadline = time.monotonic() + 10
        while await decided() < 60:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
        assert (await steering.get(1)).state == "shadow"
        status = await steering.status()
        assert status.shadow is not None
        assert status.shadow.report.ks[0][1] == status.shadow.report.total.decisions


@pytest.mark.redis
async def test_a_rollback_reaches_every_router(redis_url: str) -> None:
    """One call at one router; the other follows well within two seconds, and so do its answers."""
    async with shared_redis(redis_url) as stores, routers(2, stores) as (first, second):
        steering = router_over(stores, policy=QUIET).steering
        await steering.create(VANILLA_ONLY, "ana")
        await steering.activate(1, "ana")
        assert await until(lambda: second.ingress.pilot.version.id == 1) < 1
        assert set(await ask(second, 5)) == {"0"}
        await steering.rollback("ben", "customers complain")
        assert await until(lambda: second.ingress.pilot.version.id == FILE) < 2
        assert await until(lambda: first.ingress.pilot.version.id == FILE) < 2
        assert not second.ingress.pilot.knowledge.document.kill_switch
        assert second.metric("policy_version") == 0


@pytest.mark.redis
@pytest.mark.parametrize("edits", [30, pytest.param(600, marks=pytest.mark.slow)])
async def test_edits_under_load_fail_no_request(redis_url: str, edits: int) -> None:
    """Ten edits a second while both routers serve: every request is answered, all end with the last version."""
    async with shared_redis(redis_url) as stores, routers(2, stores) as both:
        steering = router_over(stores, policy=QUIET).steering
        editing = True

        async def load(service: Service) -> int:
            answered = 0
            while editing:
                answered += len(await ask(service, 4))
            return answered

        serving = [asyncio.create_task(load(service)) for service in both]
        for number in range(1, edits + 1):
            began_s = time.monotonic()
            draft = await steering.create({"tasks": {"sql_generation": {"k": {"max": number % 8 + 1}}}}, f"o{number}")
            await steering.activate(draft.id, f"o{number}")
            await asyncio.sleep(max(0.0, 0.1 - (time.monotonic() - began_s)))
        editing = False
        assert sum(await asyncio.gather(*serving)) > 50
        await until(lambda: all(service.ingress.pilot.version.id == edits for service in both), limit_s=5)
        assert len(await steering.history(2000)) == 2 * edits


@pytest.mark.redis
async def test_policies_outlive_a_redis_that_was_wiped(redis_url: str) -> None:
    """Routers go on with what they hold and give it back: active version, documents, what to roll back to."""
    async with shared_redis(redis_url) as stores, routers(2, stores) as both:
        steering = router_over(stores, policy=QUIET).steering
        for document in (VANILLA_ONLY, ALWAYS_VANILLA):
            draft = await steering.create(document, "ana")
            await steering.activate(draft.id, "ana")
        await until(lambda: [service.ingress.pilot.version.id for service in both] == [2, 2])
        revision = both[0].ingress.pilot.desk.revision
        with Redis.from_url(redis_url) as admin:
            for key in admin.scan_iter(f"{{{stores.versions._keys.prefix}}}:policy*"):  # type: ignore[attr-defined]
                admin.delete(key)
        await until(lambda: all(service.ingress.pilot.desk.revision > revision for service in both))
        assert [service.ingress.pilot.version.id for service in both] == [2, 2]
        assert (await steering.history())[0].action == "restore"
        assert (await steering.rollback("ana")).active == 1


async def test_a_store_that_is_away_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests are served by what is held, and readiness says so."""
    stores = memory_stores()
    async with routers(1, stores) as (service,):
        steering = router_over(stores, policy=QUIET).steering
        await steering.create(VANILLA_ONLY, "ana")
        await steering.activate(1, "ana")
        await until(lambda: service.ingress.pilot.version.id == 1)

        async def away() -> None:
            raise StoreError("away")

        monkeypatch.setattr(stores.versions, "desk", away)
        await until(lambda: service.ingress.pilot.status().problem is not None)
        assert set(await ask(service, 3)) == {"0"}
        async with service.session.get("/ready") as got:
            assert got.status == 200
            policy = (await got.json())["policy"]
        assert (policy["version"], policy["source"]) == (1, "store")
        assert "away" in policy["problem"]


async def test_a_dry_run_over_what_was_decided() -> None:
    """The log holds features and outcomes and no text; a draft that forbids speculation moves every decision."""
    stores = memory_stores()
    async with routers(1, stores) as (service,):
        steering = router_over(stores, policy=QUIET).steering
        await ask(service, 15)
        decisions: list[object] = []
        deadline = time.monotonic() + 10
        while len(decisions) < 15:
            assert time.monotonic() < deadline
            decisions = list(await steering.decisions())
            await asyncio.sleep(0.02)
        assert "poem" not in repr(decisions)
        await steering.create(VANILLA_ONLY, "ana")
        report = await steering.dry_run(1)
        assert report.decisions == 15
        assert report.ks[0][1] == 15
        assert report.notes
        assert [task.task for task in report.tasks] == ["creative_writing"]


async def test_caps_reach_the_engine_and_the_client() -> None:
    """A rule caps the temperature: the engine is asked so, the answer says so; other requests stay as they were."""
    rule = {"when": {"task": ["creative_writing"]}, "then": {"temperature_max": 0.4, "top_p_max": 0.9, "mode": "off"}}
    stores = memory_stores()
    async with routers(1, stores, policy={**QUIET, "rules": [rule]}) as (service,):
        body = {
            "model": "demo",
            "messages": [{"role": "user", "content": "hello"}],
            "max_tokens": 4,
            "temperature": 1.5,
        }
        for task, told, temperature in (("creative_writing", "temperature=0.4, top_p=0.9", 0.4), ("other", None, 1.5)):
            headers = {"x-alpharoute-task": task}
            async with service.session.post("/v1/chat/completions", json=body, headers=headers) as got:
                assert got.status == 200, await got.text()
                assert got.headers.get("x-alpharoute-capped") == told
                assert service.recent(got.headers["x-alpharoute-replica"])["temperature"] == temperature


async def test_what_a_client_does_not_say_is_the_model_s_own() -> None:
    """A model that samples at .6 by itself is neither capped upwards to .8 nor counted among the hot ones."""
    rule = {"name": "cool", "when": {}, "then": {"temperature_max": 0.8, "top_p_max": 0.9}}
    async with routers(1, memory_stores(), policy={**QUIET, "rules": [rule]}) as (service,):
        for name in service.engines:
            await service.announce(name, sampling={"temperature": 0.6, "top_p": 0.95})
        await service.until(lambda: service.ingress.fleet.sampling("demo").temperature == 0.6)
        for said, told, meant in (
            ({}, "top_p=0.9", 0.6),
            ({"temperature": 1.5, "top_p": 0.5}, "temperature=0.8", 0.8),
        ):
            async with service.session.post("/v1/chat/completions", json={**CHAT, "max_tokens": 4, **said}) as got:
                assert got.status == 200, await got.text()
                assert got.headers["x-alpharoute-capped"] == told
                asked = service.recent(got.headers["x-alpharoute-replica"])
            assert asked["temperature"] == (0.8 if said else 1.0), "what was not capped is the engine's to choose"
            number = got.headers["x-request-id"]

            async def told_of(number: str = number, meant: float = meant) -> bool:
                async with service.session.get(f"/admin/v1/decisions/{number}") as explained:
                    return explained.status == 200 and f"temperature {meant:g}," in await explained.text()

            await service.until_async(told_of)


async def test_a_rule_may_ask_for_a_header() -> None:
    """Only headers that rules name are looked at."""
    rule = {"when": {"headers": {"X-Team": ["search"]}}, "then": {"speculation": "off"}}
    stores = memory_stores()
    async with routers(1, stores, policy={**QUIET, "rules": [rule]}) as (service,):
        assert service.ingress.pilot.header_names == {"x-team"}
        body = {**CHAT, "max_tokens": 40}
        for team, decision in (("search", "rule"), ("other", None)):
            headers = {"x-team": team, "x-alpharoute-task": "sql_generation", "x-alpharoute-segment": "default"}
            async with service.session.post("/v1/chat/completions", json=body, headers=headers) as got:
                assert got.status == 200
                assert (got.headers["x-alpharoute-decision"] == "rule") is (decision == "rule")
