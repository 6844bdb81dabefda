"""Requests that schemathesis makes up from the OpenAPI document: none fails the router, and every answer is as it says.

A few per route here, the same each time. More, and others each time:
`FUZZ_EXAMPLES=1000 pytest tests/clients/test_schemathesis.py --timeout=0`.
"""

import os
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, assume, given, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

from router.api.body import MAX_NAME_CHARS
from router.api.deadline import TIMEOUT
from router.ingress import API_ROUTES

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "12"))
EXPLORING = "FUZZ_EXAMPLES" in os.environ

# n multiplies the engine's work, and the simulator sets it no bound.
MOST_ANSWERS = 3

PAGES = ["/health", "/v1/models", "/v1/models/{model}", "/openapi.json", "/metrics"]


@pytest.fixture(scope="session")
def document(simulated: str) -> schemathesis.BaseSchema:
    """The document of a running router, which is asked at its own address."""
    return schemathesis.openapi.from_url(f"{simulated}/openapi.json")


MODES = schemathesis.GenerationMode
ASKED = [
    *((path, "POST", mode) for path in API_ROUTES for mode in (MODES.POSITIVE, MODES.NEGATIVE)),
    *((path, "GET", MODES.POSITIVE) for path in PAGES),  # a page takes nothing that could be wrong
]


@pytest.mark.parametrize(("path", "method", "mode"), ASKED)
def test_every_route_keeps_to_its_description(
    document: schemathesis.BaseSchema, path: str, method: str, mode: schemathesis.GenerationMode
) -> None:
    """No 5xx; statuses, content types and error shapes as described; what the document forbids is refused."""

    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), derandomize=not EXPLORING)
    @given(case=document[path][method].as_strategy(generation_mode=mode))
    def keeps(case: Any) -> None:
        # Some of what it takes for a wrong number reads as one in a header.
        assume(mode is MODES.POSITIVE or TIMEOUT not in (case.headers or {}))
        _tame(case)
        # What the engine refuses of its own fields is no fault of the router's: it documents what it reads itself.
        case.call_and_validate(excluded_checks=[positive_data_acceptance], timeout=20)

    keeps()


CHAT = [{"role": "user", "content": "names"}]
STREAMED: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": CHAT},
    "/v1/completions": {"prompt": "names"},
    "/v1/responses": {"input": "names"},
    "/v1/messages": {"messages": CHAT, "max_tokens": 8},
}


@pytest.mark.parametrize("path", STREAMED)
def test_streams_keep_to_their_description(document: schemathesis.BaseSchema, path: str) -> None:
    """Made-up bodies seldom ask for a stream."""
    body: Any = {"model": "demo", "stream": True, **STREAMED[path]}
    case = document[path]["POST"].Case(body=body, media_type="application/json")
    answer = case.call_and_validate(excluded_checks=[positive_data_acceptance], timeout=20)
    assert answer.headers["content-type"][0].startswith("text/event-stream")


def _tame(case: Any) -> None:
    """Ask for a model that is there, or all of them end at an unknown one, for few answers, and in no hurry."""
    body, headers = case.body, case.headers or {}
    if isinstance(body, dict):
        if isinstance(body.get("model"), str) and 0 < len(body["model"]) <= MAX_NAME_CHARS:
            body["model"] = "demo"
        if isinstance(body.get("n"), int):
            body["n"] = min(body["n"], MOST_ANSWERS)
    if TIMEOUT in headers:
        headers[TIMEOUT] = "20000"
