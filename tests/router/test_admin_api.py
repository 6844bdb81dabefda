"""The Admin API as a whole: described, guarded, and of one piece with its table of routes."""

import re
from pathlib import Path

import jsonschema_rs
import pytest
from service import Service

DIALECT = "https://json-schema.org/draft/2020-12/schema"
Json = dict[str, object]


async def got(service: Service, path: str, status: int = 200, **options: object) -> dict[str, object]:
    """The decoded answer of a GET under /admin/v1."""
    return await said(service, "GET", path, status, **options)


async def said(service: Service, method: str, path: str, status: int = 200, **options: object) -> dict[str, object]:
    """The decoded answer of a request under /admin/v1."""
    async with service.session.request(method, f"/admin/v1{path}", **options) as answer:  # type: ignore[arg-type]
        body: dict[str, object] = await answer.json() if answer.status != 204 else {}
        assert answer.status == status, body
        return body


async def test_the_document_has_every_route_and_no_other(service: Service) -> None:
    """Generated from the same table, with schemas that are schemas and references that lead somewhere."""
    document = await got(service, "/openapi.json")
    paths, components = document["paths"], document["components"]
    assert isinstance(paths, dict)
    assert isinstance(components, dict)
    served = {(route.method.lower(), f"/admin/v1{route.path}") for route in service.ingress.admin.routes}
    assert {(method, path) for path, methods in paths.items() for method in methods} == served
    for schema in components["schemas"].values():
        jsonschema_rs.meta.validate({"$schema": DIALECT, **schema})
    assert set(re.findall(r"#/components/schemas/(\w+)", str(document))) <= components["schemas"].keys()


async def test_the_page_lists_every_route_with_its_role(service: Service) -> None:
    """docs/admin-api.md has what is served, and nothing else."""
    page = (Path(__file__).parents[2] / "docs" / "admin-api.md").read_text()
    listed = set(re.findall(r"^\| `(\w+) (/\S+)` \| (\w+) \|", page, re.MULTILINE))
    assert listed == {(route.method, route.path, str(route.role)) for route in service.ingress.admin.routes}


async def test_reading_answers_are_as_described(service: Service) -> None:
    """Every GET without a varying part is held against its own schema."""
    document = await got(service, "/openapi.json")
    checked = 0
    for route in service.ingress.admin.routes:
        alone = not route.places and not any(field.is_required() for field in route.query.model_fields.values())
        if route.method == "GET" and alone and route.path not in ("/openapi.json", "/keys"):
            answer = await got(service, route.path)
            paths = document["paths"]
            assert isinstance(paths, dict)
            schema = paths[f"/admin/v1{route.path}"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
            whole = {"$schema": DIALECT, "components": document["components"], **schema}
            jsonschema_rs.Draft202012Validator(whole).validate(answer)
            checked += 1
    assert checked >= 8


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing", 404, "unknown_route"),
        ("GET", "/policies/1/2/3", 404, "unknown_route"),
        ("PATCH", "/policies", 405, "method_not_allowed"),
        ("POST", "/policies/schema", 405, "method_not_allowed"),
        ("GET", "/events?limit=0", 400, "invalid_value"),
        ("GET", "/events?limit=1&limit=2", 400, "duplicate_field"),
        ("GET", "/events?colour=red", 400, "invalid_value"),
        ("GET", "/events?limit", 400, "invalid_value"),
        ("GET", "/keys", 409, "no_keys"),
        ("POST", "/policies/rollback", 415, "unsupported_media_type"),
        ("POST", "/classifier/reload", 409, "wrong_state"),
    ],
)
async def test_what_is_wrong_is_said(service: Service, method: str, path: str, status: int, code: str) -> None:
    """In the shape of every other route's errors."""
    error = (await said(service, method, path, status))["error"]
    assert isinstance(error, dict)
    assert error["code"] == code
    assert error["message"]


async def test_a_wrong_body_names_the_field(service: Service) -> None:
    """The field, the value and what is allowed; a field given twice is one too many."""
    error = (await said(service, "POST", "/policies/validate", 400, json={"documnt": {}}))["error"]
    assert isinstance(error, dict)
    assert "documnt" in str(error["message"])
    assert "document" in str(error["message"])
    twice = b'{"why": "a", "why": "b"}'
    headers = {"content-type": "application/json"}
    error = (await said(service, "POST", "/policies/rollback", 400, data=twice, headers=headers))["error"]
    assert isinstance(error, dict)
    assert error["code"] == "duplicate_field"


async def test_requests_are_counted_by_their_template(service: Service) -> None:
    """A path that varies is one series; one that is no route is none of its own."""
    await said(service, "GET", "/policies/77", 404)
    await said(service, "GET", "/policies/78", 404)
    await said(service, "GET", "/nothing/at/all", 404)
    assert service.total("requests_total", route="/admin/v1/policies/{version}", status="404") == 2
    assert service.total("requests_total", route="other", status="404") == 1
