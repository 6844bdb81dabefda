"""An evaluation and a running service: its engines by name, and its acceptance store."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from engines.evaluation import Sample
from engines.registry import Heartbeat
from policies.knowledge import Knowledge
from policies.replica import Pool, Replica
from router.config.settings import EMBEDDED, Settings
from router.errors import SetupError
from router.evaluation import Probed, lesson_of
from router.state.redis_client import connect_to
from router.state.redis_registry import RedisRegistry
from router.state.redis_store import Keys, RedisStore
from router.state.store import Cursor, StoreError


@dataclass(frozen=True, slots=True)
class Identity:
    """What acceptance is kept by: the pool's model, target, drafter and method."""

    model: str
    target: str
    drafter: str | None
    method: str
    k_max: int = 0

    @classmethod
    def of(cls, beat: Heartbeat) -> Self | None:
        """As the replica announced it; None for one without a drafter."""
        return cls(beat.model, beat.target, beat.drafter, beat.method, beat.k_max) if beat.method else None

    @classmethod
    def named(cls, model: str | None, target: str | None, drafter: str | None, method: str | None) -> Self | None:
        """As the command's options say it; None where they leave something out."""
        return cls(model, target, drafter, method) if model and target and method else None


async def find_engine(settings: Settings, name: str) -> Heartbeat:
    """The first ready replica of that name, or of that pool; SetupError where there is none."""
    redis = connect_to(_shared(settings).redis)
    try:
        beats = await RedisRegistry(redis, Keys(settings.redis.prefix)).replicas()
    except StoreError as error:
        raise SetupError(f"{name!r} is no URL, and Redis cannot be asked for an engine of that name: {error}") from None
    finally:
        await redis.aclose()
    ready = [beat for beat in beats if beat.state == "ready"]
    found = next((beat for beat in ready if name in (beat.replica, beat.pool)), None)
    if found is None:
        there = ", ".join(sorted({beat.pool for beat in ready})) or "none"
        raise SetupError(f"{name!r} is neither a URL nor a ready pool or replica of the service; ready pools: {there}")
    return found


async def store_samples(
    settings: Settings, identity: Identity, samples: Sequence[Sample], k: int, temperature: float
) -> int:
    """Teach the store the answers at the largest k, one per prompt; how many there were.

    Answers at lower k say the same again, and a second round's greedy ones are the first's.
    """
    redis = connect_to(_shared(settings).redis)
    store = RedisStore(redis, Keys(settings.redis.prefix))
    engine = identity
    pool = Pool("evaluated", engine.model, engine.target, engine.drafter, engine.method, max(k, engine.k_max))
    knowledge, replica = Knowledge(settings.policy), Replica("evaluated", pool)
    chosen = [one for one in samples if one.engine == "drafter" and one.k == k and one.round == 0]
    try:
        knowledge.install((await store.changes(Cursor())).records, time.time())
        for one in chosen:
            probed = Probed(one.task, k, temperature, one.metrics)
            lesson = lesson_of(probed, replica, knowledge, time.time())
            knowledge.absorb(lesson.deltas, time.time())
            await store.merge(lesson.deltas)
            await store.emit(lesson.events)
    except StoreError as error:
        raise SetupError(f"--store: {error}") from None
    finally:
        await redis.aclose()
    return sum(one.metrics.steps is not None for one in chosen)


def _shared(settings: Settings) -> Settings:
    if settings.redis.url.get_secret_value() == EMBEDDED:
        raise SetupError(
            "redis.url is 'embedded': name the service's Redis with --config or ALPHAROUTE_REDIS__URL "
            "(`alpharoute serve` keeps its embedded one to itself)"
        )
    return settings
