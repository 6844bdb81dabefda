"""One route of the Admin API: what it takes, what it answers, who may; and how a path finds its route."""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from router.errors import MethodNotAllowed, NotFound
from router.roles import Role, needed_role

PREFIX = "/admin/v1"


class Taken(BaseModel):
    """Base of everything taken from a client: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


Sentence = Annotated[str, Field(max_length=1000, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$")]
"""A line for people: other operators' terminals show it, so it holds no control characters."""


class Nothing(Taken):
    """No fields at all."""


Query = TypeVar("Query", bound=Taken)
Body = TypeVar("Body", bound=Taken)


@dataclass(frozen=True, slots=True)
class Asked(Generic[Query, Body]):
    """One request, read and checked: `who` is the id of its key, `place` the parts of the path that vary."""

    who: str
    place: Mapping[str, str]
    query: Query
    body: Body
    if_match: str | None = None


@dataclass(frozen=True, slots=True)
class Said:
    """An answer: what is written as JSON, and headers beside it."""

    body: object
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Route(Generic[Query, Body]):
    """What is served at a method and a path; `answer` is the type of the answer's body, `refuses` its own statuses."""

    method: str
    path: str
    answer: Any
    handler: Callable[[Asked[Query, Body]], Awaitable[Said]]
    query: type[Query]
    body: type[Body]
    status: int = 200
    refuses: frozenset[int] = frozenset()
    etag: bool = False

    @property
    def summary(self) -> str:
        """What it does in a line: the first of its handler's docstring."""
        return (self.handler.__doc__ or "").partition("\n")[0]

    @property
    def role(self) -> Role:
        """The role it needs, as the guard sees it."""
        return needed_role(self.method, PREFIX + self.path) or Role.CLIENT

    @property
    def places(self) -> list[str]:
        """Names of the parts of the path that vary."""
        return re.findall(r"\{(\w+)\}", self.path)


AnyRoute = Route[Any, Any]


def reading(
    path: str,
    answer: Any,
    handler: Callable[[Asked[Query, Nothing]], Awaitable[Said]],
    query: type[Query],
    *refuses: int,
) -> AnyRoute:
    """A GET."""
    return Route("GET", path, answer, handler, query, Nothing, refuses=frozenset(refuses), etag=412 in refuses)


def changing(
    method: str,
    path: str,
    answer: Any,
    handler: Callable[[Asked[Nothing, Body]], Awaitable[Said]],
    body: type[Body],
    *refuses: int,
    status: int = 200,
) -> AnyRoute:
    """A POST, PUT or DELETE, whose every fact is in its body."""
    return Route(method, path, answer, handler, Nothing, body, status, frozenset(refuses), etag=412 in refuses)


class Table:
    """Routes by path; of those that fit, one with fewer varying parts goes first."""

    def __init__(self, routes: Sequence[AnyRoute]) -> None:
        self.routes = tuple(routes)
        ordered = sorted(routes, key=lambda route: len(route.places))
        self._patterns = [(_pattern(route.path), route) for route in ordered]

    def find(self, method: str, path: str) -> tuple[AnyRoute, Mapping[str, str]]:
        """The route and the varying parts of the path; NotFound, or MethodNotAllowed with what is allowed."""
        sought = "GET" if method == "HEAD" else method
        fitting = [(match, route) for pattern, route in self._patterns if (match := pattern.fullmatch(path))]
        most = [(match, route) for match, route in fitting if len(route.places) == len(fitting[0][1].places)]
        for match, route in most:
            if route.method == sought:
                return route, match.groupdict()
        if not most:
            raise NotFound(
                f"There is no {path[:128]!r} here; {PREFIX}/openapi.json lists what is.", code="unknown_route"
            )
        allowed = ", ".join(sorted({route.method for _, route in most}))
        message = f"{path[:128]} takes {allowed}, not {method[:16]}."
        raise MethodNotAllowed(message, code="method_not_allowed", headers={"allow": allowed})


def _pattern(path: str) -> re.Pattern[str]:
    return re.compile(PREFIX + re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]{1,256})", re.escape(path)))
