"""The Admin API as a whole: a request is read, checked and answered by its route."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import parse_qsl

from pydantic import ValidationError

from router.access.guard import WHO
from router.admin.errors import Unavailable, as_json
from router.admin.openapi import admin_document
from router.admin.routes import PREFIX, AnyRoute, Asked, Nothing, Said, Table, Taken, reading
from router.api.body import decode
from router.api.http import JSON, RawHeaders, Receive, Scope, read_body
from router.errors import BadRequest
from router.state.store import StoreError

NOBODY = "anyone"
"""Who it was where no keys are needed."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer of the Admin API."""

    status: int
    body: bytes
    headers: RawHeaders
    content_type: bytes = JSON


@dataclass(frozen=True, slots=True)
class Found:
    """The route of a request, and the parts of its path that vary."""

    route: AnyRoute
    place: Mapping[str, str]

    @property
    def path(self) -> str:
        """The path as a template, for metrics."""
        return PREFIX + self.route.path


class AdminApi:
    """Answers everything under /admin/v1."""

    def __init__(self, routes: Sequence[AnyRoute], body_bytes: int, body_s: float) -> None:
        """At most `body_bytes` of a body are read, within `body_s` seconds."""
        self._table = Table([*routes, reading("/openapi.json", dict[str, object], self._document, Nothing)])
        self._body_bytes = body_bytes
        self._body_s = body_s

    @property
    def routes(self) -> Sequence[AnyRoute]:
        """Every route there is."""
        return self._table.routes

    def find(self, scope: Scope) -> Found:
        """The route of a request; raises NotFound and MethodNotAllowed."""
        return Found(*self._table.find(scope["method"], scope["path"]))

    async def answer(self, found: Found, scope: Scope, headers: dict[str, str], receive: Receive) -> Answer:
        """One request; raises RequestError."""
        route = found.route
        query = _checked(route.query, _query(scope))
        body: Taken = Nothing()
        if route.body is not Nothing:
            raw = await read_body(headers, receive, limit_bytes=self._body_bytes, limit_s=self._body_s)
            decode(raw)  # refuses what two readers could take differently
            body = _checked(route.body, raw)
        asked = Asked(scope.get(WHO) or NOBODY, found.place, query, body, headers.get("if-match"))
        try:
            said = await route.handler(asked)
        except StoreError as error:
            message = f"Redis is away, so this cannot be done now: {error}"
            raise Unavailable(message, code="redis_away", headers={"retry-after": "1"}) from None
        extra = [(name.encode(), value.encode()) for name, value in said.headers.items()]
        written = b"" if route.status == 204 else as_json(said.body)
        return Answer(route.status, written, extra)

    async def _document(self, asked: Asked[Nothing, Nothing]) -> Said:
        """This API as an OpenAPI 3.1 document."""
        return Said(admin_document(self._table.routes))


def _query(scope: Scope) -> dict[str, object]:
    text = scope.get("query_string", b"").decode("latin-1")
    try:
        pairs = parse_qsl(text, keep_blank_values=True, strict_parsing=bool(text), max_num_fields=32, errors="strict")
    except ValueError:
        raise BadRequest("The query is not NAME=VALUE&NAME=VALUE.", param="query", code="invalid_value") from None
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(name for name, _ in pairs if sum(other == name for other, _ in pairs) > 1)
        raise BadRequest(f"The parameter {twice[:64]!r} is given twice.", param=twice[:64], code="duplicate_field")
    return dict(found)


def _checked(model: type[Taken], data: dict[str, object] | bytes) -> Taken:
    """The data as the model; BadRequest names the first field that is wrong, its value and what is allowed."""
    try:
        # The text of a query stands for numbers too; JSON has types of its own.
        return model.model_validate_json(data, strict=True) if isinstance(data, bytes) else model.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        path = ".".join(str(part)[:64] for part in first["loc"]) or "body"
        if first["type"] == "extra_forbidden":
            message = f"Unknown field {path!r}; allowed: {', '.join(sorted(model.model_fields)) or 'none'}."
        elif first["type"] == "missing":
            message = f"The field {path!r} is needed."
        elif first["type"].startswith(("datetime_", "timezone_")):
            wanted = "a moment with a time zone, as 2027-01-31T00:00:00Z"
            message = f"{path}: {str(first['input'])[:128]!r} must be {wanted}, not a span of time."
        else:
            message = f"{path}: {str(first['input'])[:128]!r}: {first['msg']}"
        raise BadRequest(message, param=path, code="invalid_value") from None
