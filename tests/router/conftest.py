"""Fixtures of the router's tests."""

from collections.abc import AsyncIterator

import pytest
from service import DRAFT, VANILLA, Service, running_service, settings_with, simulator

from router.config.settings import Settings


@pytest.fixture
def settings() -> Settings:
    """A vanilla and a speculative pool; what is shared is exchanged quickly."""
    return settings_with()


@pytest.fixture
async def service(settings: Settings) -> AsyncIterator[Service]:
    """One router, one engine in each pool."""
    engines = {"vanilla-1": simulator(VANILLA), "draft-1": simulator(DRAFT)}
    async with running_service(settings, engines) as running:
        yield running
