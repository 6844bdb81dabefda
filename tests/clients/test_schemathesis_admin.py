"""The Admin API under requests that schemathesis makes up from its own OpenAPI document.

As for the client API: none fails the router, and every answer is as described. More, and others each time:
`FUZZ_EXAMPLES=500 pytest tests/clients/test_schemathesis_admin.py --timeout=0`.
"""

import os
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance
from threaded import threaded

from router.admin.acceptance import AcceptanceRoutes
from router.admin.classifier import ClassifierRoutes
from router.admin.decisions import DecisionRoutes
from router.admin.engines import EngineRoutes
from router.admin.events import EventRoutes
from router.admin.keys import KeyRoutes
from router.admin.overview import OverviewRoutes
from router.admin.policies import PolicyRoutes
from router.admin.routes import AnyRoute, Nothing
from router.admin.setup import SettingsRoutes

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "10"))
EXPLORING = "FUZZ_EXAMPLES" in os.environ
MODES = schemathesis.GenerationMode
KNOWN = {"version": ["1", "2", "active"], "replica": ["draft-1", "vanilla-1"], "request_id": ["none"], "id": ["team"]}


@pytest.fixture(scope="module")
def document() -> Iterator[schemathesis.BaseSchema]:
    """The document of a router of its own: what is made up here changes it."""
    with threaded() as service:
        yield schemathesis.openapi.from_url(f"{service.url}/admin/v1/openapi.json")


PARTS: tuple[Any, ...] = (
    PolicyRoutes,
    DecisionRoutes,
    AcceptanceRoutes,
    OverviewRoutes,
    EngineRoutes,
    EventRoutes,
    ClassifierRoutes,
    KeyRoutes,
    SettingsRoutes,
)
# The table alone, for collecting tests starts nothing.
ROUTES: list[AnyRoute] = [route for part in PARTS for route in part(*(None for _ in fields(part))).routes()]
ASKED = [
    (route.method, f"/admin/v1{route.path}", mode)
    for route in ROUTES
    for mode in (MODES.POSITIVE, MODES.NEGATIVE)
    if mode is MODES.POSITIVE or route.body is not Nothing or route.query is not Nothing
]


def test_no_route_is_left_out(document: schemathesis.BaseSchema) -> None:
    """Every route of the document is among those asked below."""
    described = {(method.upper(), path) for path in document for method in document[path]}
    asked = {(method, path) for method, path, _ in ASKED}
    assert described - asked == {("GET", "/admin/v1/openapi.json")}


@pytest.mark.parametrize(("method", "path", "mode"), ASKED)
def test_every_route_keeps_to_its_description(
    document: schemathesis.BaseSchema, method: str, path: str, mode: schemathesis.GenerationMode
) -> None:
    """No 5xx; statuses, content types and bodies as described; what the document forbids is refused."""

    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), derandomize=not EXPLORING)
    @given(case=document[path][method].as_strategy(generation_mode=mode))
    def keeps(case: Any) -> None:
        for number, name in enumerate(case.path_parameters or {}):
            known = KNOWN[name]
            case.path_parameters[name] = known[(len(str(case.body)) + number) % len(known)]
        # A version that is not there, a life cycle that does not go there: the schema of a body cannot know.
        case.call_and_validate(excluded_checks=[positive_data_acceptance], timeout=20)

    keeps()
