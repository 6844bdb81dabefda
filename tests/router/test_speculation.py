"""Where a request goes and with which k, and that the engine was asked for just that."""

from collections.abc import AsyncIterator

import pytest
from scripted import ScriptedEngine, answer
from service import CHAT, DRAFT, VANILLA, Service, running_service, settings_with, simulator

STORED = {"model": "demo", "messages": [{"role": "user", "content": "[task:sql_generation] join"}], "max_tokens": 64}


@pytest.fixture
async def fixed() -> AsyncIterator[Service]:
    """Two pools, a policy that neither explores nor holds out, one xarg for clients."""
    policy = {"exploration": {"enabled": False}, "guard": {"enabled": False}}
    settings = settings_with(policy=policy, limits={"xargs": ["sim_task"]})
    async with running_service(settings, {"vanilla-1": simulator(VANILLA), "draft-1": simulator(DRAFT)}) as running:
        yield running


async def decided(
    service: Service, body: dict[str, object], headers: dict[str, str] | None = None
) -> tuple[str, str, int]:
    """Pool, replica and k as the answer's headers tell them."""
    async with service.session.post("/v1/chat/completions", json=body, headers=headers) as got:
        assert got.status == 200, await got.text()
        await got.read()
        said = {name.removeprefix("x-alpharoute-"): value for name, value in got.headers.items()}
    return said["pool"], said["replica"], int(said["k"])


@pytest.mark.parametrize("temperature", [0, 0.7, 1])
async def test_the_engine_was_asked_for_the_k_in_the_headers(fixed: Service, temperature: float) -> None:
    """What the answer says and what the simulator saw are one."""
    for wish in ("on", "off", "auto"):
        pool, replica, k = await decided(
            fixed, {**STORED, "temperature": temperature}, {"x-alpharoute-speculation": wish}
        )
        seen = fixed.recent(replica)
        assert (seen["k"], seen["temperature"]) == (k, temperature)
        assert replica.startswith(pool)


async def test_speculation_on_and_off_are_honoured(fixed: Service) -> None:
    """The client's wish wins over what would be fastest."""
    pool, _, k = await decided(fixed, STORED, {"x-alpharoute-speculation": "on"})
    assert (pool, k > 0) == ("draft", True)
    pool, _, k = await decided(fixed, STORED, {"x-alpharoute-speculation": " OFF "})
    assert (pool, k) == ("vanilla", 0)


async def test_several_answers_go_to_the_vanilla_pool(fixed: Service) -> None:
    """n > 1 decodes as a batch of its own."""
    assert await decided(fixed, {**STORED, "n": 2, "temperature": 1}) == ("vanilla", "vanilla-1", 0)


async def test_the_task_in_the_header_is_the_task_of_the_answer(fixed: Service) -> None:
    """An explicit task is used as named, in any case."""
    async with fixed.session.post(
        "/v1/chat/completions", json=STORED, headers={"x-alpharoute-task": " SQL_generation "}
    ) as got:
        assert got.headers["x-alpharoute-task"] == "sql_generation"


async def test_a_client_s_own_xargs_are_kept(fixed: Service) -> None:
    """What the operator allows reaches the engine beside the router's k."""
    body = {**STORED, "vllm_xargs": {"sim_task": "creative_writing"}}
    _, replica, k = await decided(fixed, body, {"x-alpharoute-speculation": "on"})
    seen = fixed.recent(replica)
    assert (seen["task"], seen["k"]) == ("creative_writing", k)


async def test_a_vanilla_engine_is_sent_the_client_s_bytes() -> None:
    """No k for an engine that has no drafter."""
    engine = ScriptedEngine(answer(b"{}"))
    async with (
        running_service(settings_with([VANILLA]), {"vanilla-1": engine}) as service,
        service.session.post("/v1/chat/completions", json=CHAT) as got,
    ):
        assert got.headers["x-alpharoute-k"] == "0"
    assert engine.asked[0].json == CHAT


async def test_off_in_a_speculative_pool_is_k_0() -> None:
    """Where there is no vanilla engine, a request without speculation asks for no drafts."""
    async with running_service(settings_with([DRAFT]), {"draft-1": simulator(DRAFT)}) as service:
        _, replica, k = await decided(service, STORED, {"x-alpharoute-speculation": "off"})
        assert (k, service.recent(replica)["k"]) == (0, 0)


@pytest.mark.parametrize(("method", "told"), [("ensemble", "sql_generation"), ("draft_model", None)])
async def test_an_ensemble_is_told_the_task(method: str, told: str | None) -> None:
    """Its history is kept by task; other engines get k alone, so that their requests stay as small."""
    engine = ScriptedEngine(answer(b'{"choices": []}'))
    pool = DRAFT.model_copy(update={"method": method})
    async with running_service(settings_with([pool]), {"draft-1": engine}) as running:
        headers = {"x-alpharoute-task": "sql_generation", "x-alpharoute-speculation": "on"}
        async with running.session.post("/v1/chat/completions", json=CHAT, headers=headers) as got:
            await got.read()
    xargs = engine.asked[-1].json["vllm_xargs"]
    assert isinstance(xargs, dict)
    assert xargs.get("spec_task") == told
    assert xargs["spec_k"] > 0
