"""One fault at a time, in seconds: what clients see, what is counted, and that nothing of it stays behind."""

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator, Mapping

import aiohttp
import pytest
from held_up import held_up
from scripted import ScriptedEngine, raw
from service import CHAT, DRAFT, VANILLA, Service, running_service, settings_with, simulator

from engines.simulator.failures import Failure
from router.admin.wiring import AdminStores
from router.state.marks import Mark
from router.traffic.breaker import Circuit

ASKED = {**CHAT, "max_tokens": 8}
LONG = {**CHAT, "max_tokens": 400, "ignore_eos": True}
QUICK = {"first_byte_s": 0.3, "silence_s": 0.3}


@contextlib.asynccontextmanager
async def replicas(count: int, **parts: Mapping[str, object]) -> AsyncIterator[Service]:
    """A vanilla pool of so many engines."""
    engines = {f"vanilla-{i}": simulator(VANILLA) for i in range(count)}
    async with running_service(settings_with([VANILLA], **parts), engines) as service:
        yield service


async def ask(service: Service, body: dict[str, object] = ASKED, **headers: str) -> tuple[int, str]:
    """Status, and the error's code or the replica that answered."""
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    async with service.session.post("/v1/chat/completions", json=body, headers=given) as got:
        said = await got.json()
        return got.status, got.headers["x-alpharoute-replica"] if got.status == 200 else said["error"]["code"]


def circuits(service: Service) -> dict[str, Circuit]:
    """Each replica's breaker."""
    return {name: circuit for _, name, circuit in service.ingress.fleet.circuits()}


async def test_a_hung_engine_that_announces_itself_gets_one_probe_per_back_off() -> None:
    """Time-outs open its breaker; its heartbeats do not close it, the first probe that it answers does."""
    resilience = {"breaker_failures": 2, "breaker_backoff_s": 0.2, "breaker_backoff_max_s": 0.4}
    async with replicas(1, limits=QUICK, resilience=resilience) as service:
        hung = service.simulator("vanilla-0").engine
        hung.failures.add(Failure.model_validate({"kind": "hang"}))
        assert {code for _, code in [await ask(service), await ask(service)]} == {"engine_timeout"}
        await service.announce("vanilla-0")
        await service.until(lambda: service.metric("breakers", pool="vanilla", state="open") == 1)
        await service.until(lambda: hung.tally.failed >= 4)
        assert await ask(service) == (503, "no_engine"), "no client waits for what may hang"
        hung.failures.clear()
        await service.until(lambda: circuits(service)["vanilla-0"] == Circuit.CLOSED)
        assert await ask(service) == (200, "vanilla-0")
        assert service.metric("breaker_turns_total", pool="vanilla", to="closed") == 1


def unhurried_clock(service: Service) -> None:
    """Each look of the fleet at its clock is 11 s after the one before, so that no test has to wait so long."""
    ticks = itertools.count(int(time.monotonic()) + 11, 11)
    service.ingress.fleet.clock_s = lambda: float(next(ticks))


async def given_up(service: Service, how: str) -> None:
    """A request that its client, or its deadline, ends before the engine has answered."""
    asking = asyncio.create_task(ask(service, x_request_timeout_ms="100" if how == "deadline" else "60000"))
    if how == "leaves":
        await service.until(lambda: asking.done() or service.metric("in_flight_requests", pool="vanilla") == 1)
        asking.cancel()
    await asyncio.wait({asking})
    await service.until(lambda: service.metric("in_flight_requests", pool="vanilla") == 0)


@pytest.mark.parametrize("how", ["leaves", "deadline"])
async def test_an_engine_that_hangs_is_found_out_by_clients_that_do_not_wait(
    how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They give up long before `first_byte_s`: after enough of them the router asks for itself, and leaves it out."""
    monkeypatch.setattr("router.traffic.probes.LIMIT_S", 0.1)
    resilience = {"breaker_failures": 3, "breaker_backoff_s": 3600, "breaker_backoff_max_s": 3600}
    async with replicas(1, resilience=resilience) as service, asyncio.timeout(30):
        unhurried_clock(service)
        breaker = service.ingress.fleet.endpoint("vanilla-0").breaker
        service.simulator("vanilla-0").engine.failures.add(Failure.model_validate({"kind": "hang"}))
        while breaker.well:
            await given_up(service, how)
        assert service.metric("breaker_turns_total", pool="vanilla", to="open") >= 1
        assert service.total("engine_failures_total") == 0, "a suspicion is no failure"
        assert await ask(service) == (503, "no_engine")


async def test_clients_that_give_up_on_an_engine_that_is_well_cost_it_one_token() -> None:
    """It was slow for them: the probe is answered, requests went out all the while, and no breaker turns."""
    async with replicas(1, resilience={"breaker_failures": 2}) as service:
        unhurried_clock(service)
        engine, breaker = service.simulator("vanilla-0").engine, service.ingress.fleet.endpoint("vanilla-0").breaker
        engine.failures.add(Failure.model_validate({"kind": "hang", "requests": 2}))
        asking = [asyncio.create_task(ask(service)) for _ in range(2)]
        await service.until(lambda: engine.tally.failed == 2)
        for task in asking:
            task.cancel()
        await service.until(lambda: engine.tally.served == 1)
        await service.until(lambda: breaker.silences == 0)
        assert await ask(service) == (200, "vanilla-0")
        assert service.total("breaker_turns_total") == 0


async def test_quick_aborts_and_clients_errors_make_no_engine_suspect() -> None:
    """However many there are: no probe is sent, and no breaker opens."""
    async with replicas(1, resilience={"breaker_failures": 1}) as service:
        engine, breaker = service.simulator("vanilla-0").engine, service.ingress.fleet.endpoint("vanilla-0").breaker
        service.ingress.fleet.clock_s = lambda: 0.0  # however long this machine takes, they are quick
        engine.failures.add(Failure.model_validate({"kind": "hang", "requests": 5}))
        asking = [asyncio.create_task(ask(service)) for _ in range(5)]
        await service.until(lambda: engine.tally.failed == 5)
        for task in asking:
            task.cancel()
        await service.until(lambda: service.metric("in_flight_requests", pool="vanilla") == 0)
        assert (breaker.silences, service.ingress.fleet.suspects()) == (0, [])
        unhurried_clock(service)
        for _ in range(5):
            assert (await ask(service, {**ASKED, "top_p": 9}))[0] == 400
        assert (breaker.silences, service.ingress.fleet.suspects()) == (0, [])


async def test_an_engine_that_refuses_and_never_answers_may_hang_all_the_same() -> None:
    """vLLM's server checks requests before its core gets them: a 4xx is no first byte of that core."""
    async with replicas(1, resilience={"breaker_failures": 9}) as service:
        breaker = service.ingress.fleet.endpoint("vanilla-0").breaker
        breaker.unheard(60)
        assert (await ask(service, {**ASKED, "top_p": 9}))[0] == 400
        assert breaker.silences == 1
        assert (await ask(service))[0] == 200
        assert breaker.silences == 0


async def test_an_engine_that_is_gone_costs_no_client_anything_after_the_first() -> None:
    """Its breaker is tried by probes; requests go to the other replica meanwhile, at the first attempt."""
    resilience = {"breaker_backoff_s": 0.05, "breaker_backoff_max_s": 0.05}
    async with replicas(2, resilience=resilience) as service:
        service.simulator("vanilla-0").kill()
        while circuits(service)["vanilla-0"] == Circuit.CLOSED:
            assert await ask(service) == (200, "vanilla-1")
        probes = service.metric("breaker_turns_total", pool="vanilla", to="open")
        retries = service.metric("retries_total", pool="vanilla")
        assert retries <= 1
        await service.until(lambda: service.metric("breaker_turns_total", pool="vanilla", to="open") > probes + 5)
        assert {await ask(service) for _ in range(20)} == {(200, "vanilla-1")}
        assert service.metric("retries_total", pool="vanilla") == retries


async def test_routes_that_generate_nothing_have_the_same_breakers_and_budget() -> None:
    """What tokenize finds out is known to chat, and an outage is not amplified by it either."""
    resilience = {"retry_share": 0, "retry_floor": 3, "breaker_failures": 4, "breaker_backoff_s": 30}
    tokens = {"model": "demo", "prompt": "hello"}
    engines = {f"vanilla-{i}": ScriptedEngine(raw(b"")) for i in range(3)}
    async with running_service(settings_with([VANILLA], resilience=resilience), engines) as service:
        for _ in range(12):
            async with service.session.post("/tokenize", json=tokens) as got:
                assert got.status in (502, 503)
        assert set(circuits(service).values()) == {Circuit.OPEN}
        assert service.metric("retries_total", pool="vanilla") == 3
        assert service.total("retries_refused_total", reason="budget") > 3
        assert sum(len(engine.asked) for engine in engines.values()) == 12
        assert await ask(service) == (503, "no_engine")


async def test_a_client_cannot_trip_a_breaker() -> None:
    """However many 4xx its requests earn."""
    async with replicas(1, resilience={"breaker_failures": 1}) as service:
        for _ in range(10):
            async with service.session.post("/v1/chat/completions", json={**ASKED, "top_p": 9}) as got:
                assert got.status == 400
        assert circuits(service) == {"vanilla-0": Circuit.CLOSED}
        assert await ask(service) == (200, "vanilla-0")


async def test_an_engine_that_only_errs_is_left_out() -> None:
    """Answers of 500 are passed on, and enough of them in a row open the breaker: the other replica serves all."""
    async with replicas(2, resilience={"breaker_failures": 2, "breaker_backoff_s": 30}) as service:
        service.simulator("vanilla-0").engine.failures.add(Failure.model_validate({"kind": "error", "status": 500}))
        seen = [(await ask(service))[0] for _ in range(30)]
        assert seen.count(500) == 2
        assert circuits(service) == {"vanilla-0": Circuit.OPEN, "vanilla-1": Circuit.CLOSED}


async def test_an_outage_is_not_amplified() -> None:
    """With every engine broken, requests reach engines hardly more often than clients asked."""
    resilience = {"retry_share": 0.1, "retry_floor": 3, "breaker_failures": 10_000}
    async with replicas(3, resilience=resilience) as service:
        for name in service.engines:
            service.simulator(name).engine.failures.add(Failure.model_validate({"kind": "refuse"}))
        answers = await asyncio.gather(*(ask(service) for _ in range(60)))
        assert set(answers) == {(502, "engine_lost")}
        asked = sum(service.simulator(name).engine.tally.failed for name in service.engines)
        assert 60 <= asked <= 60 + 3 + 6
        assert service.total("retries_refused_total", reason="budget") >= 50


async def test_a_deadline_bounds_the_whole_and_is_passed_down(service: Service) -> None:
    """Whatever the engine does, the client hears a 504 that names its header; the engine's work is ended."""
    for name in service.engines:
        service.simulator(name).engine.failures.add(Failure.model_validate({"kind": "hang"}))
    assert await ask(service, x_request_timeout_ms="200") == (504, "deadline_exceeded")
    assert service.total("engine_failures_total") == 0
    assert service.total("client_deadlines_total") == 1, "whoever alerts on 5xx leaves it out"
    assert service.total("aborted_requests_total") == 0, "its client stayed"
    await service.until(lambda: sum(service.simulator(name).engine.tally.failed for name in service.engines) == 1)
    assert service.metric("in_flight_requests", pool="vanilla") == 0


async def test_a_deadline_ends_a_stream_that_has_begun() -> None:
    """With an error event, and the engine is told to stop."""
    engine = simulator(VANILLA, calibration="cpu-demo", time_scale=2)
    async with running_service(settings_with([VANILLA]), {"vanilla-1": engine}) as service:
        headers = {"x-request-timeout-ms": "400"}
        body = {**LONG, "stream": True}
        async with service.session.post("/v1/chat/completions", json=body, headers=headers) as got:
            *_, last, end = (await got.read()).split(b"\n\n")
        assert (got.status, end) == (200, b"")
        assert b'"code":"deadline_exceeded"' in last
        await service.until(lambda: service.total("client_deadlines_total") == 1)
        await service.until(lambda: engine.engine.tally.aborted == 1)
        assert service.total("aborted_requests_total") == 0, "its client stayed"
        assert circuits(service)["vanilla-1"] == Circuit.CLOSED


async def test_a_pool_that_is_wholly_down_is_replaced_with_a_counted_reason(service: Service) -> None:
    """Its requests are answered by the other pool; which, for which and why is counted."""
    service.simulator("vanilla-1").kill()
    for _ in range(4):
        status, replica = await ask(service, {**ASKED, "n": 2, "temperature": 1})
        assert (status, replica) == (200, "draft-1")
    assert service.metric("fallbacks_total", pool="vanilla", to="draft", reason="down") >= 3


@contextlib.asynccontextmanager
async def narrow(**queue: object) -> AsyncIterator[Service]:
    """One slow engine that takes two requests."""
    engine = simulator(VANILLA, calibration="cpu-demo", time_scale=2)
    limits = {"segments": ["default", "gold"]}
    settings = settings_with([VANILLA], queue={"concurrency": 1, **queue}, limits=limits)
    async with running_service(settings, {"vanilla-1": engine}) as service:
        await service.announce("vanilla-1", max_running=2)
        await service.until(lambda: service.ingress.fleet.replicas("demo")[0].max_running == 2)
        yield service


async def filled(service: Service, group: asyncio.TaskGroup, count: int) -> list["asyncio.Task[tuple[int, str]]"]:
    """So many requests inside the engine that do not end by themselves."""
    tasks = [group.create_task(ask(service, {**LONG, "max_tokens": 4000})) for _ in range(count)]
    await service.until(lambda: service.metric("in_flight_requests", pool="vanilla") == count)
    return tasks


async def test_past_its_bounds_a_pool_answers_429_and_the_important_wait_in_front() -> None:
    """Two inside, one in the queue: an equal is turned away with Retry-After, a more important one takes its place."""
    async with narrow(size=1, priorities={"gold": 1}) as service, asyncio.TaskGroup() as group:
        inside = await filled(service, group, 2)
        waits = group.create_task(ask(service))
        await service.until(lambda: service.metric("queued_requests", pool="vanilla") == 1)
        async with service.session.post("/v1/chat/completions", json=ASKED) as got:
            assert got.status == 429
            assert int(got.headers["retry-after"]) >= 1
        gold = group.create_task(ask(service, x_alpharoute_segment="gold"))
        assert await waits == (429, "pool_full")
        inside[0].cancel()
        assert (await gold)[0] == 200
        inside[1].cancel()
    assert service.metric("queue_seconds_count", pool="vanilla") == 3
    assert service.metric("queued_requests", pool="vanilla") == 0


async def test_one_that_waits_may_leave_or_run_out_of_time() -> None:
    """Its place is free at once and no engine hears of it."""
    async with narrow(size=5, wait_s=30) as service, asyncio.TaskGroup() as group:
        inside = await filled(service, group, 2)
        assert await ask(service, x_request_timeout_ms="100") == (504, "deadline_exceeded")
        leaves = group.create_task(ask(service))
        await service.until(lambda: service.metric("queued_requests", pool="vanilla") == 1)
        leaves.cancel()
        await service.until(lambda: service.metric("queued_requests", pool="vanilla") == 0)
        assert len(service.simulator("vanilla-1").engine.batch.running) == 2
        for task in inside:
            task.cancel()


async def test_room_made_by_another_router_is_noticed() -> None:
    """The engine's heartbeat tells of it; nobody of this router has left."""
    async with replicas(1, queue={"concurrency": 1}) as service:
        await service.announce("vanilla-0", max_running=2, running=2)
        await service.until(lambda: service.ingress.fleet.replicas("demo")[0].running == 2)
        waits = asyncio.create_task(ask(service))
        await service.until(lambda: service.metric("queued_requests", pool="vanilla") == 1)
        await service.announce("vanilla-0", max_running=2, running=0)
        assert await waits == (200, "vanilla-0")


@contextlib.asynccontextmanager
async def five_waiting(shared: AdminStores) -> AsyncIterator[tuple[Service, list["asyncio.Task[tuple[int, str]]"]]]:
    """They wait for the vanilla pool, full of another router's requests; the only other engine still starts."""
    engines = {"vanilla-1": simulator(VANILLA), "draft-1": simulator(DRAFT)}
    settings = settings_with(queue={"concurrency": 1})
    async with running_service(settings, engines, shared=shared) as service:
        await service.announce("vanilla-1", **FULL)
        await service.announce("draft-1", state="starting")
        fleet = service.ingress.fleet
        await service.until(lambda: fleet.takes("vanilla") and not fleet.takes("draft"))
        await service.until(lambda: not fleet.has_room("vanilla", 1))
        asking = [asyncio.create_task(ask(service)) for _ in range(5)]
        await service.until(lambda: service.metric("queued_requests", pool="vanilla") == 5)
        yield service, asking


FULL = {"max_running": 2, "running": 2}


@pytest.mark.parametrize("how", ["reload", "drain", "cordon"])
async def test_requests_that_wait_for_a_pool_that_is_out_go_to_another(how: str) -> None:
    """Its engine still holds what it held, so that no place comes free: they are answered all the same, at once."""
    shared = AdminStores()
    async with five_waiting(shared) as (service, asking):
        await service.announce("draft-1")
        await service.until(lambda: service.ingress.fleet.takes("draft"))
        assert service.metric("queued_requests", pool="vanilla") == 5
        if how == "reload":
            await service.announce("vanilla-1", **FULL, state="draining")
        else:
            await shared.marks.put("vanilla-1", Mark("drain" if how == "drain" else "cordon", "me", 0.0))
        assert set(await asyncio.wait_for(asyncio.gather(*asking), 10)) == {(200, "draft-1")}
        assert service.metric("queued_requests", pool="vanilla") == 0


async def test_requests_that_wait_hear_it_when_no_engine_is_left() -> None:
    """As a newcomer does, and not after `queue.wait_s` that a pool is full."""
    async with five_waiting(AdminStores()) as (service, asking):
        await service.announce("vanilla-1", **FULL, state="draining")
        assert set(await asyncio.wait_for(asyncio.gather(*asking), 10)) == {(503, "no_engine")}


async def test_a_router_that_drains_says_so_and_finishes_what_runs() -> None:
    """/ready turns 503 while streams go on to their end; new requests are answered until nobody sends any."""
    engine = simulator(VANILLA, calibration="cpu-demo", time_scale=5)
    async with running_service(settings_with([VANILLA]), {"vanilla-1": engine}) as service:
        got = await service.session.post("/v1/chat/completions", json={**LONG, "max_tokens": 60, "stream": True})
        await got.content.readany()
        draining = asyncio.create_task(service.ingress.drain(10))
        await service.until(lambda: service.ingress.status.draining)
        async with service.session.get("/ready") as ready:
            assert (ready.status, (await ready.json())["status"]) == (503, "draining")
        assert (await ask(service))[0] == 200
        assert not draining.done()
        assert b"data: [DONE]" in await got.read()
        assert await asyncio.wait_for(draining, 5)


async def test_a_drain_has_an_end() -> None:
    """What still runs after `drain_s` does not keep a router alive."""
    async with replicas(1) as service:
        service.simulator("vanilla-0").engine.failures.add(Failure.model_validate({"kind": "hang"}))
        asking = asyncio.create_task(ask(service))
        await service.until(lambda: service.ingress.running == 1)
        assert not await service.ingress.drain(0.05)
        asking.cancel()


@pytest.mark.parametrize("header", ["x-session-id", None])
async def test_a_session_stays_with_one_replica_while_that_is_not_busier(header: str | None) -> None:
    """By the client's name for it, or by how its prompt begins; many sessions use every replica."""
    policy = {"exploration": {"enabled": False}, "guard": {"enabled": False}}
    engines = {f"draft-{i}": simulator(DRAFT) for i in range(3)}
    async with running_service(settings_with([DRAFT], policy=policy), engines) as service:
        served: dict[int, set[str]] = {session: set() for session in range(12)}
        for turn in range(3):
            for session, names in served.items():
                first = {
                    "role": "user",
                    "content": f"[task:sql_generation] {session if header is None else turn} " * 200,
                }
                headers = {} if header is None else {header.replace("-", "_"): f"s{session}"}
                more = [{"role": "assistant", "content": "x"}, {"role": "user", "content": "go on"}] * turn
                status, replica = await ask(service, {**ASKED, "messages": [first, *more]}, **headers)
                assert status == 200
                names.add(replica)
        assert {len(names) for names in served.values()} == {1}
        assert len(set[str]().union(*served.values())) == 3


async def test_an_engine_that_dies_mid_stream_opens_its_breaker() -> None:
    """Good first bytes do not hide that no answer comes to its end."""
    async with replicas(1, resilience={"breaker_failures": 2, "breaker_backoff_s": 30}) as service:
        service.simulator("vanilla-0").engine.failures.add(
            Failure.model_validate({"kind": "die_mid_stream", "after_chunks": 3})
        )
        for _ in range(2):
            async with service.session.post("/v1/chat/completions", json={**ASKED, "stream": True}) as got:
                assert b"engine_lost" in await got.read()
        assert circuits(service)["vanilla-0"] == Circuit.OPEN


async def test_an_engine_that_is_gone_is_left_out_at_the_first_refused_connection() -> None:
    """Nobody waits for more witnesses: the request and all later ones go to the other replica."""
    async with replicas(2) as service:
        service.simulator("vanilla-0").kill()
        assert {await ask(service) for _ in range(10)} == {(200, "vanilla-1")}
        assert service.total("engine_failures_total") <= 1
        with contextlib.suppress(aiohttp.ClientError):
            assert circuits(service)["vanilla-1"] == Circuit.CLOSED


async def test_a_router_that_stands_still_blames_no_engine() -> None:
    """Held up again and again for as long as a connection may take, it still connects, and no breaker opens."""
    async with replicas(3, limits={"connect_s": 0.05}) as service:
        asking = [asyncio.create_task(ask(service)) for _ in range(12)]
        await held_up(40, 0.03)
        assert {status for status, _ in await asyncio.gather(*asking)} == {200}
        assert service.total("engine_failures_total") == 0
        assert set(circuits(service).values()) == {Circuit.CLOSED}


async def test_engines_that_are_back_answer_before_a_probe_finds_out() -> None:
    """All were gone, so that every breaker is open for half a minute: where none is left, a connection decides."""
    async with replicas(2, resilience={"breaker_backoff_s": 30}) as service:
        for name in service.engines:
            service.simulator(name).kill()
        assert await ask(service) == (502, "engine_not_connected"), "which is what happened to this one"
        assert await ask(service) == (503, "no_engine")
        assert set(circuits(service).values()) == {Circuit.OPEN}
        port = int(service.engines["vanilla-1"].url.rpartition(":")[2])
        again = simulator(VANILLA)
        await again.start("127.0.0.1", port)
        try:
            assert {await ask(service) for _ in range(10)} == {(200, "vanilla-1")}, "the other is tried, and fails over"
            async with service.session.post("/tokenize", json={"model": "demo", "prompt": "hello"}) as got:
                assert got.status == 200
        finally:
            await again.stop()
        assert circuits(service)["vanilla-1"] == Circuit.OPEN
