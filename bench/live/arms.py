"""The arms that are compared: routers with other policies, each over its share of the same engines."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from typing import Literal

import aiohttp
import uvicorn

from bench.live.plan import Shot
from engines.registry import Heartbeat, Registry
from policies.document import Document
from router.config.settings import Settings
from router.service import Application, running_ingress
from router.state.redis_client import connect_to
from router.state.redis_registry import RedisRegistry
from router.state.redis_store import Keys, RedisStore
from router.tasks import load_classifier

Role = Literal["vanilla", "speculative"]

OURS = "adaptive"
WARM = "adaptive warm"
WORN = "worn"
"""The pool whose drafter has grown worse."""


@dataclass(frozen=True, slots=True)
class Arm:
    """A policy and the pools that a team with that policy would run; `labelled` sends each prompt's task along.

    An arm with one pool has two engines of it where an arm with both pools has one of each. A `warm` arm has answered
    other prompts of the workload before the first one that counts. `k` is the k_max that its pools must have.
    """

    name: str
    document: Document
    pools: tuple[Role, ...] = ("vanilla", "speculative")
    labelled: bool = False
    warm: bool = False
    k: int = 0


def _fixed_k(k: int) -> Document:
    rule = {"name": f"k={k}", "then": {"k": {"min": k, "max": k}}}
    return Document.model_validate({"policy": "always_speculative", "rules": [rule]})


def _threshold(k: int) -> Document:
    return Document.model_validate({"policy": "article_threshold", "article": {"k": k}})


VANILLA, FIXED = "always vanilla", "always k=4"

ARMS: Mapping[str, Arm] = {
    arm.name: arm
    for arm in (
        Arm(VANILLA, Document(policy="always_vanilla"), ("vanilla",)),
        Arm(FIXED, _fixed_k(4), ("speculative",), k=4),
        *(Arm(f"always k={k}", _fixed_k(k), ("speculative",), k=k) for k in (1, 2, 3, 6, 8)),
        Arm("article threshold", Document(policy="article_threshold"), k=4),
        *(Arm(f"article threshold k={k}", _threshold(k), k=k) for k in (6, 8)),
        Arm("batch schedule", Document(policy="batch_schedule"), ("speculative",)),
        Arm(OURS, Document()),
        Arm(f"{OURS} with given tasks", Document(), labelled=True),
        Arm(WARM, Document(), warm=True),
        Arm("observe only", Document(observe_only=True)),
    )
}
"""What a team does without us, what others publish, and ours with the tasks classified and given."""

STANDARD = (VANILLA, FIXED, OURS)


@dataclass(frozen=True, slots=True)
class Hit:
    """What one arm made of one shot; times in milliseconds, as the client saw them. `block` is what it was sent in."""

    arm: str
    shot: Shot
    block: int
    labelled: str
    pool: str
    k: int
    decision: str
    tokens: int
    elapsed_ms: float

    @property
    def ms_per_token(self) -> float:
        """Milliseconds per output token, all waiting included."""
        return self.elapsed_ms / max(1, self.tokens)


async def fire(session: aiohttp.ClientSession, arm: Arm, url: str, model: str, shot: Shot, block: int) -> Hit:
    """Send one request and time it; raises where the answer is not 200."""
    body = {
        "model": model,
        "messages": [{"role": "user", "content": shot.prompt}],
        "max_tokens": shot.max_tokens,
        "temperature": shot.temperature,
        "seed": shot.seed,
    }
    headers = {"x-alpharoute-task": shot.task} if arm.labelled else {}
    began_s = time.perf_counter()
    async with session.post(f"{url}/v1/chat/completions", json=body, headers=headers) as answer:
        data = await answer.json()
        elapsed_ms = (time.perf_counter() - began_s) * 1000
        if answer.status != 200:
            raise RuntimeError(f"{arm.name}: {answer.status}: {data}")
        said = {name: answer.headers[f"x-alpharoute-{name}"] for name in ("task", "pool", "k", "decision")}
    tokens = data["usage"]["completion_tokens"]
    return Hit(arm.name, shot, block, said["task"], said["pool"], int(said["k"]), said["decision"], tokens, elapsed_ms)


@dataclass(slots=True)
class Drafter:
    """Whether the speculative engines are those with the worn drafter, under the name of the good one."""

    worn: bool = False


IDLE_S = 3600
"""Longer than any arm waits for its turn."""

IDLE = {"running": 0, "waiting": 0, "kv_usage": 0.0}


@dataclass(frozen=True, slots=True)
class Share:
    """The part of the registry that one arm may use: engines of its pools, as many as every other arm has.

    `alone`: there is one client, so whenever an arm decides its engines are idle. A heartbeat may be half a second old
    and tell of the request of the arm before, which would pass for traffic of other routers.
    """

    registry: Registry
    arm: Arm
    engines: int
    drafter: Drafter
    alone: bool = False

    async def announce(self, heartbeat: Heartbeat, ttl_s: float) -> bool:
        """Not an arm's business."""
        raise NotImplementedError

    async def ask_reload(self, replica: str, turn: str, ttl_s: float) -> bool:
        """Not an arm's business."""
        raise NotImplementedError

    async def withdraw(self, replica: str) -> None:
        """Not an arm's business."""
        raise NotImplementedError

    async def replicas(self) -> list[Heartbeat]:
        """The first engines, by name, of each of its pools."""
        beats = sorted(await self.registry.replicas(), key=lambda beat: beat.replica)
        each = max(1, self.engines // len(self.arm.pools))
        worn = [beat for beat in beats if beat.pool == WORN]
        good = [beat for beat in beats if beat.k_max > 0 and beat.pool != WORN]
        drafting = [_in_place_of(g, w) for g, w in zip(good, worn, strict=True)] if self.drafter.worn else good
        by_role = {"vanilla": [beat for beat in beats if beat.k_max == 0], "speculative": drafting}
        found = [beat for role in self.arm.pools for beat in by_role[role][:each]]
        return [beat.model_copy(update=IDLE) for beat in found] if self.alone else found


def _in_place_of(good: Heartbeat, worn: Heartbeat) -> Heartbeat:
    """The worn engine's address and state under the good one's name, as where the weights behind a name are replaced.

    Of the swap the router hears what an engine always tells: the revision of its weights.
    """
    named = {name: getattr(good, name) for name in ("replica", "pool", "target", "drafter", "probe")}
    return worn.model_copy(update=named)


ALL_READY_S = 600.0
"""Longest wait for every engine: they load at once and measure one by one."""


async def probes(settings: Settings) -> dict[str, list[dict[str, float]]]:
    """What each engine measured at its start, by replica: milliseconds per step for each batch and k.

    Waits until all are ready: a service answers from its first engine of each pool on, and an arm's share may be the
    one that is still measuring. TimeoutError after `ALL_READY_S`.
    """
    redis, wanted = connect_to(settings.redis), sum(pool.replicas for pool in settings.pools)
    try:
        registry, until_s = RedisRegistry(redis, Keys(settings.redis.prefix)), time.monotonic() + ALL_READY_S
        beats = await registry.replicas()
        while sum(beat.state == "ready" for beat in beats) < wanted:
            if time.monotonic() > until_s:
                raise TimeoutError(
                    f"not ready after {ALL_READY_S:g} s: {[b.replica for b in beats if b.state != 'ready']}"
                )
            await asyncio.sleep(0.5)
            beats = await registry.replicas()
    finally:
        await redis.aclose()
    return {beat.replica: [asdict(point) for point in beat.probe] for beat in beats}


@asynccontextmanager
async def routers(
    settings: Settings, arms: Sequence[Arm], engines: int, drafter: Drafter, *, alone: bool
) -> AsyncIterator[dict[str, str]]:
    """One router per arm in this process, from a cold start, over engines of the deployed service; URLs by arm."""
    cold = secrets.token_hex(4)
    async with AsyncExitStack() as stack:
        redis = connect_to(settings.redis)
        stack.push_async_callback(redis.aclose)
        registry = RedisRegistry(redis, Keys(settings.redis.prefix))
        urls = {}
        for number, arm in enumerate(arms):
            own = settings.model_copy(update={"policy": arm.document})
            prefix = f"{settings.redis.prefix}-{cold}-{number}"
            urls[arm.name] = await stack.enter_async_context(
                _serving(own, prefix, Share(registry, arm, engines, drafter, alone))
            )
        yield urls


@asynccontextmanager
async def _serving(settings: Settings, prefix: str, registry: Registry) -> AsyncIterator[str]:
    redis = connect_to(settings.redis)
    store = RedisStore(redis, Keys(prefix))
    application = Application(running_ingress(settings, store, registry, load_classifier(settings.classifier)))
    # Arms take turns, so that one's connections are idle for long: they are not closed under its next request.
    config = uvicorn.Config(
        application, port=0, lifespan="on", log_level="warning", ws="none", timeout_keep_alive=IDLE_S
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:
        if serving.done():
            raise RuntimeError("an arm's router did not start")
        await asyncio.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        await serving
        await redis.aclose()
