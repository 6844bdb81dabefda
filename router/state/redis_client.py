"""Clients of Redis: one server, whichever server the Sentinels name, or a Cluster; encrypted where the URL says so."""

from typing import Any

from pydantic import SecretStr
from redis.asyncio import Redis
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from router.config.masking import masked
from router.config.redis_url import Address, parse_address
from router.config.settings import RedisSettings
from router.errors import SetupError

AsyncRedis = Any
"""redis-py's types leave out which of its commands are awaited."""

HEALTH_CHECK_S = 15
TOPOLOGY_ATTEMPTS = 3
"""How often a Cluster's client may look for the node that has our keys now, within one command."""


def connect(url: str, *, timeout_s: float) -> AsyncRedis:
    """A client for a URL with nothing else set; see `connect_to`."""
    return connect_to(RedisSettings(url=SecretStr(url), timeout_s=timeout_s))


async def check_answers(settings: RedisSettings) -> None:
    """Nothing where Redis answers; SetupError with its reason where it does not."""
    redis = connect_to(settings)
    try:
        await redis.ping()
    except (RedisError, OSError) as error:
        raise SetupError(f"redis.url: no answer from {masked(settings.url)}: {error}") from None
    finally:
        await redis.aclose()


def connect_to(settings: RedisSettings) -> AsyncRedis:
    """A client that connects when first used, waits `timeout_s` at most for each answer, and does not try again.

    Callers try again by themselves, for a command that changes something may have been carried out though its answer
    was lost. A Cluster's client alone follows keys that moved, which is safe: the node that refused did nothing.
    """
    address = parse_address(settings.url.get_secret_value())
    options = _options(settings, address)
    if address.kind == "cluster":
        nodes = [ClusterNode(host, port) for host, port in address.hosts]
        return RedisCluster(startup_nodes=nodes, retry=Retry(NoBackoff(), TOPOLOGY_ATTEMPTS), **options)
    options |= {"retry": Retry(NoBackoff(), 0), "db": address.database}
    if address.kind == "sentinel":
        return _by_sentinels(settings, address, options)
    if address.kind == "socket":
        return Redis(unix_socket_path=address.path, **options)
    ((host, port),) = address.hosts
    return Redis(host=host, port=port, **options)


class _Led(Redis):
    """A client that Sentinels lead to its server; closing it closes its connections to them."""

    sentinels: tuple[AsyncRedis, ...] = ()

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        """See Redis."""
        await super().aclose(close_connection_pool)
        for sentinel in self.sentinels:
            await sentinel.aclose()


def _by_sentinels(settings: RedisSettings, address: Address, options: dict[str, Any]) -> AsyncRedis:
    own = {**options, "db": 0, "username": settings.sentinel_username, "password": _text(settings.sentinel_password)}
    sentinel = Sentinel(list(address.hosts), sentinel_kwargs=own, **options)  # type: ignore[no-untyped-call]
    client = sentinel.master_for(address.name, redis_class=_Led)
    client.sentinels = tuple(sentinel.sentinels)
    return client


def _options(settings: RedisSettings, address: Address) -> dict[str, Any]:
    options: dict[str, Any] = {
        "username": address.username or settings.username,
        "password": address.password or _text(settings.password),
        "decode_responses": True,
        "socket_timeout": settings.timeout_s,
        "socket_connect_timeout": settings.timeout_s,
        "health_check_interval": HEALTH_CHECK_S,
    }
    if address.tls:
        files = {"ca_certs": settings.ca_file, "certfile": settings.cert_file, "keyfile": settings.key_file}
        options |= {"ssl": True, **{f"ssl_{name}": str(file) for name, file in files.items() if file is not None}}
    return options


def _text(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()
