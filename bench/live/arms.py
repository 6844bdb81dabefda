"""The arms that are compared: the deployed service, and routers with other policies over the same engines."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import aiohttp
import uvicorn

from bench.live.plan import Shot
from policies.document import Document
from router.redis_store import Keys, RedisRegistry, RedisStore, connect
from router.service import Application, running_ingress
from router.settings import Settings
from router.tasks import load_classifier

OURS = "adaptive"

BASELINES: Mapping[str, Document] = {
    "always vanilla": Document(policy="always_vanilla"),
    "always k=4": Document.model_validate(
        {"policy": "always_speculative", "rules": [{"name": "k=4", "then": {"k": {"min": 4, "max": 4}}}]}
    ),
}
"""What a team does without us: speculation off for all, or on for all."""


@dataclass(frozen=True, slots=True)
class Hit:
    """What one arm made of one shot; times in milliseconds, as the client saw them."""

    arm: str
    shot: Shot
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


async def fire(session: aiohttp.ClientSession, arm: str, url: str, model: str, shot: Shot, *, label: bool) -> Hit:
    """Send one request and time it; raises where the answer is not 200."""
    body = {
        "model": model,
        "messages": [{"role": "user", "content": shot.prompt}],
        "max_tokens": shot.max_tokens,
        "temperature": shot.temperature,
        "seed": shot.seed,
    }
    headers = {"x-alpharoute-task": shot.task} if label else {}
    began_s = time.perf_counter()
    async with session.post(f"{url}/v1/chat/completions", json=body, headers=headers) as answer:
        data = await answer.json()
        elapsed_ms = (time.perf_counter() - began_s) * 1000
        if answer.status != 200:
            raise RuntimeError(f"{arm}: {answer.status}: {data}")
        said = {name: answer.headers[f"x-alpharoute-{name}"] for name in ("task", "pool", "k", "decision")}
    tokens = data["usage"]["completion_tokens"]
    return Hit(arm, shot, said["task"], said["pool"], int(said["k"]), said["decision"], tokens, elapsed_ms)


@asynccontextmanager
async def baseline_urls(settings: Settings, documents: Mapping[str, Document]) -> AsyncIterator[dict[str, str]]:
    """One router per document in this process, over the registry of the deployed service; URLs by arm."""
    async with AsyncExitStack() as stack:
        urls = {}
        for number, (arm, document) in enumerate(documents.items()):
            own = settings.model_copy(update={"policy": document})
            urls[arm] = await stack.enter_async_context(_serving(own, f"{settings.redis.prefix}-arm{number}"))
        yield urls


@asynccontextmanager
async def _serving(settings: Settings, prefix: str) -> AsyncIterator[str]:
    redis = connect(settings.redis.url.get_secret_value(), timeout_s=5)
    store, registry = RedisStore(redis, Keys(prefix)), RedisRegistry(redis, Keys(settings.redis.prefix))
    application = Application(running_ingress(settings, store, registry, load_classifier(settings.classifier)))
    server = uvicorn.Server(uvicorn.Config(application, port=0, lifespan="on", log_level="warning", ws="none"))
    serving = asyncio.create_task(server.serve())
    while not server.started:
        if serving.done():
            raise RuntimeError("a baseline's router did not start")
        await asyncio.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        await serving
        await redis.aclose()
