"""Fixtures that several rooms share: a real Redis."""

from collections.abc import Iterator

import pytest

from router.embedded_redis import EmbeddedRedis


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """A real redis-server for the whole run; tests keep apart by their key prefix."""
    with EmbeddedRedis() as redis:
        yield redis.url
