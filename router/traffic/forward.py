"""From a decision to an engine's answer: the engine's request, its first bytes, and the answer passed back."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

import orjson

from engines.contract import SPEC_K, SPEC_TASK, EngineMetrics, parse_metrics
from policies.choice import Choice
from policies.quick import quick
from router.api.answer import account, portions
from router.api.body import ON_THE_LOOP_BYTES, Body, encode
from router.api.deadline import Deadline
from router.api.dialect import Dialect
from router.api.head import passed_on
from router.api.http import JSON, RawHeaders, Send
from router.api.request import STREAM_OPTIONS, XARGS, Generation
from router.api.sse import EventStream, error_at_once
from router.errors import DeadlineExceeded, EngineUnreachable, RequestError
from router.traffic import metering
from router.traffic.fleet import Endpoint, Flight
from router.traffic.upstream import Answer, Upstream

# Answers that say nothing of the request: the engine is going away, or is not the one that announced itself.
_NOT_THIS_ENGINE = frozenset({401, 502, 503, *range(300, 400)})

# Of an answer whose body is worded anew.
_OF_THE_BODY = frozenset({b"content-type", b"content-encoding"})


@quick
@dataclass(frozen=True, slots=True)
class Whole:
    """An engine's whole answer."""

    status: int
    headers: RawHeaders
    body: bytes


@dataclass(slots=True)
class Leg:
    """One request at one engine: the choice, what is in flight, the answer and the first of its bytes (or all).

    `finished` turns True when the engine has sent everything; `metrics` is then what it said of the request.
    `broke` is what cut the answer off after bytes had reached the client: the engine, or the deadline.
    """

    choice: Choice
    flight: Flight
    answer: Answer
    first: bytes
    finished: bool = False
    metrics: EngineMetrics | None = None
    broke: RequestError | None = None

    @property
    def failure(self) -> EngineUnreachable | None:
        """What the engine failed by after bytes had reached the client."""
        return self.broke if isinstance(self.broke, EngineUnreachable) else None

    def close(self) -> None:
        """Give the connection back, or drop it: an engine aborts what nobody reads."""
        if self.finished:
            self.answer.release()
        else:
            self.answer.close()


def engine_body(asked: Generation, k: int, *, speculative: bool, task: str | None = None) -> bytes:
    """The client's body with k for a speculative engine, and the usage chunk, which carries the metrics, asked for.

    `task` goes to engines whose drafter learns from past answers of it.

    What is added is written behind the client's own bytes, so that these (numbers, order, escapes) stay as sent.
    """
    writes = {name for name, wanted in ((XARGS, speculative), (STREAM_OPTIONS, asked.asks_usage)) if wanted}
    given: Body = {} if writes.isdisjoint(asked.gives) else orjson.loads(asked.raw)
    added: Body = {}
    if speculative:
        xargs = given.get(XARGS)
        told = {SPEC_K: k} if task is None else {SPEC_K: k, SPEC_TASK: task}
        added[XARGS] = {**(xargs if isinstance(xargs, dict) else {}), **told}
    if asked.asks_usage:
        # Usage in every chunk takes effect only together with the chunk that this client did not ask for.
        added[STREAM_OPTIONS] = {"include_usage": True}
    if given:
        return encode({**given, **added})
    return b"%b,%b" % (asked.raw.rstrip()[:-1], orjson.dumps(added)[1:]) if added else asked.raw


def engine_headers(headers: Mapping[str, str], endpoint: Endpoint) -> dict[str, str]:
    """What the engine gets of the client's headers, and its own key."""
    key = {"authorization": f"Bearer {endpoint.api_key}"} if endpoint.api_key else {}
    return {"content-type": "application/json", **passed_on(headers), **key}


async def open_leg(
    upstream: Upstream,
    choice: Choice,
    flight: Flight,
    endpoint: Endpoint,
    path: str,
    body: bytes,
    headers: dict[str, str],
    deadline: Deadline,
) -> Leg:
    """Send the request and wait for the first bytes of the answer, the whole of it where it does not stream.

    Until then nothing has reached the client, so that an EngineUnreachable may still be mended elsewhere.
    """
    answer = await _open(upstream, endpoint, path, body, headers, deadline)
    try:
        first = await (answer.first() if answer.streams else answer.body())
        if answer.streams and (failure := _failure(error_at_once(first))) is not None:
            raise failure
    except BaseException:
        answer.close()
        raise
    return Leg(choice, flight, answer, first)


async def ask_whole(
    upstream: Upstream, endpoint: Endpoint, path: str, body: bytes, headers: dict[str, str], deadline: Deadline
) -> Whole:
    """Send a request that is answered in one piece; EngineUnreachable where the answer does not arrive whole."""
    answer = await _open(upstream, endpoint, path, body, headers, deadline)
    try:
        return Whole(answer.status, answer.headers(), await answer.body())
    finally:
        answer.close()


async def _open(
    upstream: Upstream, endpoint: Endpoint, path: str, body: bytes, headers: dict[str, str], deadline: Deadline
) -> Answer:
    answer = await upstream.post(endpoint.url + path, body, engine_headers(headers, endpoint), deadline)
    if answer.status in _NOT_THIS_ENGINE:
        answer.close()
        raise EngineUnreachable(f"The engine answered {answer.status}.", code=f"engine_{answer.status}")
    return answer


async def pass_on(leg: Leg, asked: Generation, send: Send, extra: RawHeaders) -> None:
    """Hand the answer to the client, byte for byte, less the usage chunk it did not ask for."""
    if leg.answer.streams:
        await _pass_stream(leg, asked, send, extra)
        return
    leg.finished = True
    if leg.answer.status == 200 and asked.route.measured:
        leg.metrics = parse_metrics(account(leg.first))
    whole = Whole(leg.answer.status, leg.answer.headers(), leg.first)
    await pass_whole(whole, asked.route.dialect, send, extra)


async def pass_whole(answer: Whole, dialect: Dialect, send: Send, extra: RawHeaders) -> None:
    """Hand over a whole answer; an engine's error that is not worded as the client's API does is worded anew.

    An error too long to be read in passing goes on as it came.
    """
    body, headers = answer.body, answer.headers
    short = len(body) <= ON_THE_LOOP_BYTES
    if answer.status >= 400 and short and not dialect.is_error(said := _decoded(body)):
        body = dialect.reworded(answer.status, _message(said))
        headers = [(name, value) for name, value in headers if name.lower() not in _OF_THE_BODY]
        headers.append((b"content-type", JSON))
    headers = [*headers, (b"content-length", str(len(body)).encode()), *extra]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    if not short:
        for portion in portions(body):
            await send({"type": "http.response.body", "body": portion, "more_body": True})
            await asyncio.sleep(0)  # a client that reads quickly never makes it wait
        body = b""
    await send({"type": "http.response.body", "body": body})


async def _pass_stream(leg: Leg, asked: Generation, send: Send, extra: RawHeaders) -> None:
    stream = EventStream(asked.wants_usage)
    headers = [*leg.answer.headers(), *extra]
    await send({"type": "http.response.start", "status": leg.answer.status, "headers": headers})
    chunk = leg.first
    try:
        while chunk:
            if out := stream.feed(chunk):
                await send({"type": "http.response.body", "body": out, "more_body": True})
            chunk = await leg.answer.chunk()
        last = stream.end()
        leg.finished = True
        leg.broke = _failure(stream.error)
        leg.metrics = parse_metrics(stream.usage) if stream.usage is not None else None
        metering.report(stream.usage)
    except (DeadlineExceeded, EngineUnreachable) as error:
        # The head is out: the only way left to say it is an error event, which the clients raise.
        leg.broke, last = error, asked.route.dialect.event(error)
    except BaseException:
        # Clients leave at an engine's error event, before the stream has ended.
        leg.broke = _failure(stream.error)
        raise
    await send({"type": "http.response.body", "body": last})


def _failure(said: Mapping[str, object] | None) -> EngineUnreachable | None:
    """What an error inside a stream says of the engine: None where there is none, or its code blames the request."""
    if said is None:
        return None
    code = said.get("code")
    status = code if isinstance(code, int) and 400 <= code <= 599 else 500
    if status < 500:
        return None
    return EngineUnreachable(f"The engine broke off with an error {status}.", code=f"engine_{status}")


def _message(said: object) -> str:
    """An engine's own words; vLLM says a few things (401, 404) in other shapes than the API's."""
    if isinstance(said, dict):
        said = next((said[name] for name in ("error", "detail", "message") if said.get(name)), said)
    if isinstance(said, dict) and isinstance(said.get("message"), str):
        said = said["message"]
    return said if isinstance(said, str) else orjson.dumps(said).decode()


def _decoded(body: bytes) -> object:
    """The JSON in a body; where it is none, its first characters."""
    try:
        decoded: object = orjson.loads(body)
    except orjson.JSONDecodeError:
        return body[:500].decode("utf-8", "replace")
    return decoded
