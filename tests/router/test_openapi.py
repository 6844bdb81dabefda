"""The OpenAPI document: whole, valid, and true of what the router does."""

import re

import jsonschema_rs
import pytest
from service import Service, settings_with

from router.errors import RequestError
from router.ingress import API_ROUTES

Json = dict[str, object]
DIALECT = "https://json-schema.org/draft/2020-12/schema"


async def document(service: Service) -> Json:
    """The document as it is served."""
    async with service.session.get("/openapi.json") as got:
        assert (got.status, got.content_type) == (200, "application/json")
        said: Json = await got.json()
        return said


async def test_every_route_is_in_it_and_no_other(service: Service) -> None:
    """What is served is described, generated from the same tables."""
    paths = (await document(service))["paths"]
    assert isinstance(paths, dict)
    assert paths.keys() == {*API_ROUTES, *service.ingress.status.pages, "/v1/models/{model}"}
    for path, methods in paths.items():
        assert methods.keys() == {"post" if path in API_ROUTES else "get"}


async def test_its_schemas_are_schemas_and_its_references_lead_somewhere(service: Service) -> None:
    """OpenAPI 3.1's schemas are JSON Schema 2020-12."""
    said = await document(service)
    components = said["components"]
    assert isinstance(components, dict)
    for schema in components["schemas"].values():
        jsonschema_rs.meta.validate({"$schema": DIALECT, **schema})
    references = set(re.findall(r"#/components/schemas/(\w+)", str(said)))
    assert references == components["schemas"].keys()


async def test_bodies_hold_exactly_the_fields_that_pass(service: Service) -> None:
    """An unknown field is refused by the router as by a validator of the document."""
    components = (await document(service))["components"]
    assert isinstance(components, dict)
    chat = jsonschema_rs.Draft202012Validator(components["schemas"]["ChatCompletions"])
    good = {"model": "demo", "messages": [{"role": "user", "content": "x"}]}
    for change, valid in (
        ({}, True),
        ({"temperature": 2.1}, False),
        ({"temprature": 1}, False),
        ({"messages": []}, False),
        ({"stream": None}, True),
        ({"n": 0}, False),
    ):
        body = {**good, **change}
        assert chat.is_valid(body) == valid
        async with service.session.post("/v1/chat/completions", json={**body, "max_tokens": 1}) as got:
            assert (got.status == 200) == valid


def statuses(kinds: list[type[RequestError]]) -> set[str]:
    """Of these errors and those below them."""
    public = [kind for kind in kinds if not kind.inside]
    return {str(kind.status) for kind in public} | {s for kind in public for s in statuses(kind.__subclasses__())}


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/tokenize"])
async def test_every_refusal_is_documented(service: Service, path: str) -> None:
    """Each status that an error of the router has."""
    paths = (await document(service))["paths"]
    assert isinstance(paths, dict)
    assert statuses(RequestError.__subclasses__()) <= paths[path]["post"]["responses"].keys()
    shape = "AnthropicError" if path == "/v1/messages" else "OpenAIError"
    assert shape in str(paths[path]["post"]["responses"]["400"])


async def test_it_knows_no_settings(service: Service) -> None:
    """The document is the same for everyone: it names no model, pool or key of this deployment."""
    said = str(await document(service))
    assert not [pool.name for pool in settings_with().pools if f"'{pool.name}'" in said]
    assert "engine-key" not in said
