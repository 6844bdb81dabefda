"""The Admin API as an OpenAPI 3.1 document, generated from its table of routes and the types of their answers."""

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

from pydantic import TypeAdapter

from router.admin.routes import PREFIX, AnyRoute, Nothing, Taken
from router.api.openapi_schemas import COMPONENTS
from router.errors import RequestError

Schema = dict[str, Any]

ALWAYS = frozenset({400, 401, 403, 404, 405, 429, 500, 503})
"""Statuses that the guard or the API itself may answer anywhere."""

WITH_BODY = frozenset({408, 413, 415})


def admin_document(routes: Sequence[AnyRoute]) -> Schema:
    """The document; every route in it is served and the other way round."""
    bodies = {route.body for route in routes if route.body is not Nothing}
    adapters: list[tuple[object, str, TypeAdapter[Any]]] = [
        *((route, "serialization", TypeAdapter[Any](route.answer)) for route in routes),
        *((body, "validation", TypeAdapter(body)) for body in bodies),
    ]
    schemas, shared = TypeAdapter.json_schemas(
        [(id(key), mode, adapter) for key, mode, adapter in adapters],  # type: ignore[misc]  # modes are literals
        ref_template="#/components/schemas/{model}",
    )
    paths: Schema = {}
    for route in routes:
        answer = schemas[id(route), "serialization"]
        body = None if route.body is Nothing else schemas[id(route.body), "validation"]
        paths.setdefault(PREFIX + route.path, {})[route.method.lower()] = _operation(route, body, answer)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Alpharoute: Admin API",
            "version": version("alpharoute"),
            "description": "What operators see and steer.",
        },
        "paths": paths,
        "components": {
            "schemas": {"OpenAIError": COMPONENTS["OpenAIError"], **shared.get("$defs", {})},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"key": []}],
    }


def _operation(route: AnyRoute, body: Schema | None, answer: Schema) -> Schema:
    said: Schema = {"description": route.summary}
    if route.status != 204:
        said["content"] = {"application/json": {"schema": answer}}
    operation: Schema = {
        "operationId": _name(route),
        "summary": route.summary,
        "description": f"Needs the role `{route.role}`.",
        "tags": [route.path.split("/")[1]],
        "parameters": [
            *map(_in_path, route.places),
            *_in_query(route.query),
            *([_if_match(428 in route.refuses)] if route.etag else []),
        ],
        "responses": {str(route.status): said, **_refusals(route)},
    }
    if body is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    return operation


def _if_match(needed: bool) -> Schema:
    return {
        "name": "if-match",
        "in": "header",
        "required": needed,
        "description": "The ETag of the version that the change was made on; * for whatever is there.",
        "schema": {"type": "string"},
    }


def _in_path(name: str) -> Schema:
    schema = {"type": "string", "minLength": 1, "maxLength": 256, "pattern": r"^[A-Za-z0-9][\w.-]*$"}
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _in_query(query: type[Taken]) -> list[Schema]:
    schema = query.model_json_schema()
    return [
        {
            "name": name,
            "in": "query",
            "required": name in schema.get("required", ()),
            "description": about.pop("description", ""),
            "schema": _plain(about),
        }
        for name, about in schema.get("properties", {}).items()
    ]


def _plain(schema: Schema) -> Schema:
    """A parameter is left out where it is unset: there is no null in a query."""
    options = [option for option in schema.get("anyOf", ()) if option.get("type") != "null"]
    rest = {name: value for name, value in schema.items() if name not in ("anyOf", "title", "default")}
    default = {"default": schema["default"]} if schema.get("default") is not None else {}
    return {**rest, **(options[0] if options else {}), **default}


def _refusals(route: AnyRoute) -> Schema:
    wanted = ALWAYS | route.refuses | (WITH_BODY if route.body is not Nothing else frozenset())
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/OpenAIError"}}}
    meanings = _meanings()
    return {str(code): {"description": meanings.get(code, "Refused."), "content": content} for code in sorted(wanted)}


def _meanings() -> Mapping[int, str]:
    found: dict[int, str] = {}
    waiting = list(RequestError.__subclasses__())
    while waiting:
        kind = waiting.pop(0)
        waiting += kind.__subclasses__()
        found.setdefault(kind.status, (kind.__doc__ or "").partition("\n")[0])
    return found


def _name(route: AnyRoute) -> str:
    words = route.path.replace("{", "by/").replace("}", "").replace("-", "/").replace("_", "/").split("/")
    return route.method.lower() + "".join(word.capitalize() for word in words if word)
