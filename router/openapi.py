"""The OpenAPI 3.1 document, generated from the tables the router itself works by: routes, fields, errors, headers."""

from collections.abc import Iterable, Mapping
from importlib.metadata import version

import orjson

from classifiers.explicit import TASK_HEADER
from classifiers.feedback import FEEDBACK_HEADER
from router.api.deadline import TIMEOUT
from router.api.dialect import ANTHROPIC
from router.api.head import ANSWER_HEADERS, SEGMENT, SPECULATE
from router.api.openapi_schemas import COMPONENTS, FIELDS, FIELDS_BY_PATH, Schema
from router.api.request import ROUTES, SPECULATION, Route
from router.errors import RequestError
from router.traffic.relay import PLAIN_ROUTES, PlainRoute

_MEDIA = {"/metrics": "text/plain", "/console": "text/html"}

_PARAMETERS: list[Schema] = [
    {
        "name": name,
        "in": "header",
        "description": meaning,
        "schema": schema,
    }
    for name, meaning, schema in (
        (TASK_HEADER, "Names the task, so that it need not be guessed.", {"type": "string"}),
        (SEGMENT, "Names a segment that keeps its own acceptance.", {"type": "string"}),
        (SPECULATE, "Whether to speculate.", {"type": "string", "enum": list(SPECULATION), "default": "auto"}),
        (FEEDBACK_HEADER, "off keeps the prompt out of training feedback.", {"type": "string"}),
    )
]
_WITHIN: Schema = {
    "name": TIMEOUT,
    "in": "header",
    "description": "Longest wait for the whole answer; never more than the operator's own limit.",
    "schema": {"type": "integer", "minimum": 1},
}


def openapi_document(pages: Mapping[str, str]) -> bytes:
    """The document as JSON; `pages` are the GET routes with their summaries."""
    routes: list[Route | PlainRoute] = [*ROUTES.values(), *PLAIN_ROUTES.values()]
    paths: Schema = {route.path: {"post": _operation(route)} for route in routes}
    paths |= {path: {"get": _page(path, summary)} for path, summary in pages.items()}
    document = {
        "openapi": "3.1.0",
        "info": {
            "title": "Alpharoute",
            "version": version("alpharoute"),
            "description": "OpenAI's and Anthropic's APIs in front of vLLM, routed by task to the fastest k.",
        },
        "paths": paths,
        "components": {
            "schemas": {**COMPONENTS, **{_name(route.path): _body(route) for route in routes}},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        # With keys where the operator has set some, without where none are.
        "security": [{}, {"key": []}],
    }
    return orjson.dumps(document)


def _operation(route: Route | PlainRoute) -> Schema:
    routed = isinstance(route, Route)
    answer: Schema = {"application/json": {"schema": _ref("Answer")}}
    if routed:
        answer["text/event-stream"] = {"schema": _ref("Events")}
    headers = {name: {"description": said, "schema": {"type": "string"}} for name, said in ANSWER_HEADERS.items()}
    return {
        "operationId": _name(route.path),
        "summary": route.summary,
        "parameters": [*(_PARAMETERS if routed else []), _WITHIN],
        "requestBody": {"required": True, "content": {"application/json": {"schema": _ref(_name(route.path))}}},
        "responses": {
            "200": {"description": "The answer.", "content": answer, **({"headers": headers} if routed else {})},
            **_refusals("AnthropicError" if route.dialect is ANTHROPIC else "OpenAIError", _statuses()),
        },
    }


def _page(path: str, summary: str) -> Schema:
    named = [{"name": "model", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}]
    media: Schema = {_MEDIA.get(path, "application/json"): {}}
    codes = {"401", "403", "404", "405", "429"}
    return {
        "operationId": _name(path),
        "summary": summary,
        "parameters": named if "{model}" in path else [],
        "responses": {
            "200": {"description": summary, "content": media},
            **({"503": {"description": "Not ready.", "content": media}} if path == "/ready" else {}),
            **_refusals("OpenAIError", {code: said for code, said in _statuses().items() if code in codes}),
        },
    }


def _body(route: Route | PlainRoute) -> Schema:
    own = FIELDS_BY_PATH.get(route.path, {})
    read = FIELDS if isinstance(route, Route) else {"model": FIELDS["model"]}
    return {
        "type": "object",
        "properties": {field: own.get(field, read.get(field, {})) for field in sorted(route.fields)},
        "required": list(route.required),
        "additionalProperties": False,
    }


def _refusals(schema: str, statuses: Mapping[str, str]) -> Schema:
    content = {"application/json": {"schema": _ref(schema)}}
    said = {code: {"description": meaning, "content": content} for code, meaning in sorted(statuses.items())}
    return {**said, "default": {"description": "The engine's own refusal.", "content": content}}


def _statuses() -> dict[str, str]:
    """Every status with which the router refuses, by what its errors say of themselves."""
    found: dict[str, str] = {}
    for kind in _kinds(RequestError.__subclasses__()):
        said = (kind.__doc__ or "").partition("\n")[0]
        found[str(kind.status)] = f"{found[str(kind.status)]} {said}" if str(kind.status) in found else said
    return found


def _kinds(classes: Iterable[type[RequestError]]) -> Iterable[type[RequestError]]:
    for kind in classes:
        if not kind.inside:
            yield kind
            yield from _kinds(kind.__subclasses__())


def _name(path: str) -> str:
    """`/v1/chat/completions` as `ChatCompletions`."""
    words = path.removeprefix("/v1").replace("_", "/").replace("{", "by/").replace("}", "").replace(".", "/").split("/")
    return "".join(word.capitalize() for word in words if word)


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}
