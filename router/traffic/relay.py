"""Requests that generate no text: nothing is decided but which ready replica of the model is least busy."""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field, replace

from policies.replica import Replica
from router.api.body import Body, check_fields, decode, read_name, with_model
from router.api.deadline import Deadline
from router.api.dialect import ANTHROPIC, OPENAI, Dialect
from router.api.fields import COUNT_TOKENS_FIELDS, DETOKENIZE_FIELDS, EMBEDDINGS_FIELDS, TOKENIZE_FIELDS
from router.api.head import chosen
from router.errors import EngineUnreachable, NoEngine, NotConnected, NotFound
from router.traffic.fleet import Fleet
from router.traffic.forward import Whole, ask_whole
from router.traffic.record import Recorder
from router.traffic.retries import Retries
from router.traffic.upstream import Upstream

RETRY_AFTER_S = "5"

NO_ROUTE = b'{"detail":"Not Found"}'
"""What vLLM says of a route that its model has no use for: embeddings of one that generates, and the reverse."""


@dataclass(frozen=True, slots=True)
class PlainRoute:
    """One route that is passed on as it is."""

    path: str
    summary: str
    fields: frozenset[str]
    required: tuple[str, ...]
    dialect: Dialect = OPENAI


@dataclass(frozen=True, slots=True)
class Plain:
    """A request for such a route: the client's JSON, and the model it names."""

    route: PlainRoute
    raw: bytes
    body: Body
    model: str

    def under(self, model: str) -> "Plain":
        """The same for the name under which engines serve the model."""
        return self if model == self.model else replace(self, raw=with_model(self.raw, self.body, model), model=model)


def parse_plain(route: PlainRoute, raw: bytes, *, extra_fields: frozenset[str]) -> Plain:
    """Decode a body and check its fields' names; BadRequest names the first wrong one."""
    body = decode(raw)
    check_fields(body, route.fields | extra_fields)
    return Plain(route, raw, body, read_name(body, "model"))


@dataclass(slots=True)
class Relay:
    """Passes such requests on, with the breakers and the retries of all others.

    `own` counts those that this router has at each replica.
    """

    fleet: Fleet
    upstream: Upstream
    retries: Retries
    recorder: Recorder
    own: Counter[str] = field(default_factory=Counter)

    async def ask(self, asked: Plain, headers: dict[str, str], deadline: Deadline) -> Whole:
        """The first engine's whole answer; others are tried where one breaks off."""
        tried: list[str] = []
        failure: EngineUnreachable | None = None
        self.retries.asked()
        try:
            while (replica := self._least_busy(asked.model, tried)) is not None:
                tried.append(replica.name)
                last_resort = not self.fleet.endpoint(replica.name).breaker.well
                try:
                    return await self._ask(replica, asked, headers, deadline)
                except EngineUnreachable as error:
                    if not (last_resort and isinstance(error, NotConnected)):
                        failure = error
                    if not self.retries.again(replica.pool.name, error, len(tried)):
                        break
            message = f"No engine of model {asked.model!r} is ready."
            raise failure or NoEngine(message, code="no_engine", headers={"retry-after": RETRY_AFTER_S})
        finally:
            failure = None  # its traceback holds this frame, and with it the body, until the garbage is searched

    async def _ask(self, replica: Replica, asked: Plain, headers: dict[str, str], deadline: Deadline) -> Whole:
        endpoint, path = self.fleet.endpoint(replica.name), asked.route.path
        self.own[replica.name] += 1
        try:
            answer = await ask_whole(self.upstream, endpoint, path, asked.raw, headers, deadline)
        except EngineUnreachable as error:
            self.recorder.failed(replica.pool.name, replica.name, endpoint.breaker, error)
            raise
        finally:
            self.own[replica.name] -= 1
        self.recorder.came_to_its_end(replica.pool.name, replica.name, endpoint.breaker, answer.status)
        if answer.status == 404 and answer.body == NO_ROUTE:
            message = f"The engines of model {asked.model!r} do not serve {path}."
            raise NotFound(message, param="model", code="route_not_served")
        return replace(answer, headers=[*answer.headers, *chosen(replica.pool.name, replica.name)])

    def _least_busy(self, model: str, tried: Collection[str]) -> Replica | None:
        ready = [r for r in self.fleet.candidates(model) if r.state == "ready" and r.name not in tried]
        return min(ready, key=self._busy) if ready else None

    def _busy(self, replica: Replica) -> float:
        return (replica.running + replica.waiting + self.own[replica.name]) / replica.max_running


EMBEDDINGS = PlainRoute("/v1/embeddings", "Embed text", EMBEDDINGS_FIELDS, ("model",))
TOKENIZE = PlainRoute("/tokenize", "The tokens of a prompt or chat", TOKENIZE_FIELDS, ("model",))
DETOKENIZE = PlainRoute("/detokenize", "The text of tokens", DETOKENIZE_FIELDS, ("model", "tokens"))
COUNT_TOKENS = PlainRoute(
    "/v1/messages/count_tokens", "Count a message's tokens", COUNT_TOKENS_FIELDS, ("model", "messages"), ANTHROPIC
)
PLAIN_ROUTES = {route.path: route for route in (EMBEDDINGS, TOKENIZE, DETOKENIZE, COUNT_TOKENS)}
"""Routes that generate no text, by path."""
