"""Fixtures that several rooms share: a real Redis, and real vLLM as the product deploys it."""

import asyncio
from collections.abc import Iterator

import pytest
from deployed import Deployed, deployed
from hypothesis import settings

from engines.registry import Heartbeat
from router.local.embedded_redis import EmbeddedRedis

# How long an example takes says more of what else the machine does than of the code.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """A real redis-server for the whole run; tests keep apart by their key prefix."""
    with EmbeddedRedis() as redis:
        yield redis.url


@pytest.fixture(scope="session")
def vllm_service(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    """The demo pair on real vLLM as `alpharoute serve` deploys it, with two routers: one for all tests that need it."""
    folder = tmp_path_factory.mktemp("vllm")
    with deployed(redis_url, folder, env={"ALPHAROUTE_ROUTER__REPLICAS": "2"}) as service:
        yield service


@pytest.fixture
def vllm_engines(vllm_service: Deployed) -> dict[str, Heartbeat]:
    """The engines of that service by pool, to be asked directly; read anew, for a test may have one replaced."""
    return {beat.pool: beat for beat in asyncio.run(vllm_service.heartbeats())}


@pytest.fixture
def vllm_vanilla_url(vllm_engines: dict[str, Heartbeat]) -> str:
    """Base URL of the vanilla engine."""
    return vllm_engines["vanilla"].url


@pytest.fixture
def vllm_vanilla_key(vllm_engines: dict[str, Heartbeat]) -> str | None:
    """The key it wants."""
    return vllm_engines["vanilla"].api_key


@pytest.fixture
def vllm_speculative_url(vllm_engines: dict[str, Heartbeat]) -> str:
    """Base URL of the speculative engine."""
    return vllm_engines["draft"].url


@pytest.fixture
def vllm_speculative_key(vllm_engines: dict[str, Heartbeat]) -> str | None:
    """The key it wants."""
    return vllm_engines["draft"].api_key


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whichever test comes first waits for the service to start, and for the demo pair where it must be trained yet."""
    for item in items:
        asks = "vllm_service" in getattr(item, "fixturenames", ())
        if asks or (item.get_closest_marker("vllm") and not item.get_closest_marker("timeout")):
            item.add_marker(pytest.mark.timeout(1200), append=False)
