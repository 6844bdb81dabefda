"""From a decision to an engine's answer: the engine's request, its first bytes, and the answer passed back."""

from collections.abc import Mapping
from dataclasses import dataclass

import orjson

from engines.contract import SPEC_K, EngineMetrics, parse_metrics
from policies.words import Choice
from router.errors import BadRequest, EngineUnreachable
from router.fleet import Endpoint, Flight
from router.head import passed_on
from router.http import JSON, RawHeaders, Send
from router.request import Body, Generation
from router.sse import EventStream, error_event
from router.upstream import Answer, Upstream

# Answers that say nothing of the request: the engine is going away, or is not the one that announced itself.
_NOT_THIS_ENGINE = frozenset({401, 502, 503, *range(300, 400)})

# Of an answer whose body is worded anew.
_OF_THE_BODY = frozenset({b"content-type", b"content-encoding"})


@dataclass(slots=True)
class Leg:
    """One request at one engine: the choice, what is in flight, the answer and the first of its bytes (or all).

    `finished` turns True when the engine has sent everything; `metrics` is then what it said of the request.
    `failure` is set where the engine broke off after bytes had reached the client.
    """

    choice: Choice
    flight: Flight
    answer: Answer
    first: bytes
    finished: bool = False
    metrics: EngineMetrics | None = None
    failure: EngineUnreachable | None = None

    def close(self) -> None:
        """Give the connection back, or drop it: an engine aborts what nobody reads."""
        if self.finished:
            self.answer.release()
        else:
            self.answer.close()


def engine_body(asked: Generation, k: int, *, speculative: bool) -> bytes:
    """The client's body with k for a speculative engine, and the usage chunk, which carries the metrics, asked for.

    What is added is written behind the client's own bytes, so that these (numbers, order, escapes) stay as sent.
    """
    added: Body = {}
    if speculative:
        xargs = asked.body.get("vllm_xargs")
        added["vllm_xargs"] = {**(xargs if isinstance(xargs, dict) else {}), SPEC_K: k}
    if asked.stream and not asked.wants_usage:
        # Usage in every chunk takes effect only together with the chunk that this client did not ask for.
        added["stream_options"] = {"include_usage": True}
    if not added:
        return asked.raw
    if asked.body.keys().isdisjoint(added):
        return b"%b,%b" % (asked.raw.rstrip()[:-1], orjson.dumps(added)[1:])
    try:
        return orjson.dumps({**asked.body, **added})
    except TypeError:
        # orjson writes fewer levels than it reads.
        raise BadRequest("The body is nested too deeply.", code="invalid_json") from None


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
) -> Leg:
    """Send the request and wait for the first bytes of the answer, the whole of it where it does not stream.

    Until then nothing has reached the client, so that an EngineUnreachable may still be mended elsewhere.
    """
    answer = await upstream.post(endpoint.url + path, body, engine_headers(headers, endpoint))
    try:
        if answer.status in _NOT_THIS_ENGINE:
            raise EngineUnreachable(f"The engine answered {answer.status}.", code=f"engine_{answer.status}")
        first = await (answer.chunk() if answer.streams else answer.body())
    except BaseException:
        answer.close()
        raise
    return Leg(choice, flight, answer, first)


async def pass_on(leg: Leg, asked: Generation, send: Send, extra: RawHeaders) -> None:
    """Hand the answer to the client, byte for byte, less the usage chunk it did not ask for."""
    if leg.answer.streams:
        await _pass_stream(leg, EventStream(asked.wants_usage), send, extra)
    else:
        await _pass_whole(leg, send, extra)


async def _pass_whole(leg: Leg, send: Send, extra: RawHeaders) -> None:
    leg.finished = True
    body, headers = leg.first, leg.answer.headers()
    if leg.answer.status == 200:
        leg.metrics = _metrics(body)
    elif not _is_error_object(body):
        body = _as_error_object(body, leg.answer.status)
        headers = [(name, value) for name, value in headers if name.lower() not in _OF_THE_BODY]
        headers.append((b"content-type", JSON))
    headers += [(b"content-length", str(len(body)).encode()), *extra]
    await send({"type": "http.response.start", "status": leg.answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _pass_stream(leg: Leg, stream: EventStream, send: Send, extra: RawHeaders) -> None:
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
        leg.metrics = parse_metrics(stream.usage) if stream.usage is not None else None
    except EngineUnreachable as error:
        # The head is out: the only way left to say it is an error event, which the OpenAI clients raise.
        leg.failure, last = error, error_event(error.body())
    await send({"type": "http.response.body", "body": last})


def _metrics(body: bytes) -> EngineMetrics | None:
    said = _decoded(body)
    return parse_metrics(said) if isinstance(said, dict) else None


def _is_error_object(body: bytes) -> bool:
    said = _decoded(body)
    error = said.get("error") if isinstance(said, dict) else None
    return isinstance(error, dict) and isinstance(error.get("message"), str)


def _as_error_object(body: bytes, status: int) -> bytes:
    """An engine's own words as an OpenAI error object; vLLM says a few things (401, 404) in other shapes."""
    said = _decoded(body)
    if isinstance(said, dict):
        said = next((said[name] for name in ("error", "detail", "message") if said.get(name)), said)
    text = said if isinstance(said, str) else orjson.dumps(said).decode()
    return orjson.dumps({"error": {"message": text, "type": "engine_error", "param": None, "code": status}})


def _decoded(body: bytes) -> object:
    """The JSON in a body; where it is none, its first characters."""
    try:
        decoded: object = orjson.loads(body)
    except orjson.JSONDecodeError:
        return body[:500].decode("utf-8", "replace")
    return decoded
