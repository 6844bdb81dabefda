"""From a decision to an engine's answer: the engine's request, another replica where one breaks off, the bytes back."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

import orjson

from engines.contract import SPEC_K, EngineMetrics, parse_metrics
from policies.words import Choice
from router.errors import EngineUnreachable
from router.fleet import Endpoint, Flight
from router.head import PASSED_ON
from router.http import JSON, RawHeaders, Send
from router.request import Generation
from router.sse import EventStream, error_event
from router.upstream import Answer, Upstream

# Answers that say nothing of the request: the engine is going away, or is not the one that announced itself.
_NOT_THIS_ENGINE = frozenset({401, 502, 503})


@dataclass(slots=True)
class Leg:
    """One request at one engine: the choice, what is in flight, the answer and the first of its bytes.

    `finished` turns True when the engine has sent everything; `metrics` is then what it said of the request.
    `failure` is set where the engine broke off after bytes had reached the client.
    """

    choice: Choice
    flight: Flight
    answer: Answer
    first: bytes
    rest: AsyncIterator[bytes]
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
    """The client's body with k for a speculative engine, and the usage chunk, which carries the metrics, asked for."""
    body = dict(asked.body)
    if speculative:
        xargs = body.get("vllm_xargs")
        body["vllm_xargs"] = {**xargs, SPEC_K: k} if isinstance(xargs, dict) else {SPEC_K: k}
    if asked.stream and not asked.wants_usage:
        options = body.get("stream_options")
        body["stream_options"] = {**(options if isinstance(options, dict) else {}), "include_usage": True}
    return orjson.dumps(body)


def engine_headers(headers: Mapping[str, str], endpoint: Endpoint) -> dict[str, str]:
    """What the engine gets of the client's headers, and its own key."""
    kept = {name: headers[name] for name in PASSED_ON if name in headers}
    key = {"authorization": f"Bearer {endpoint.api_key}"} if endpoint.api_key else {}
    return {"content-type": "application/json", **kept, **key}


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
        chunks = answer.chunks()
        first = await anext(chunks, b"") if answer.streams else await answer.body()
    except BaseException:
        answer.close()
        raise
    return Leg(choice, flight, answer, first, chunks)


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
        leg.metrics = parse_metrics(orjson.loads(body))
    elif not body.lstrip().startswith(b'{"error":{'):
        body, headers = _as_error(body, leg.answer.status), [(b"content-type", JSON)]
    headers += [(b"content-length", str(len(body)).encode()), *extra]
    await send({"type": "http.response.start", "status": leg.answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _pass_stream(leg: Leg, stream: EventStream, send: Send, extra: RawHeaders) -> None:
    headers = [*leg.answer.headers(), *extra]
    await send({"type": "http.response.start", "status": leg.answer.status, "headers": headers})
    last = b""
    try:
        async for out in _through(leg, stream):
            await send({"type": "http.response.body", "body": out, "more_body": True})
    except EngineUnreachable as error:
        # The head is out: the only way left to say it is an error event, which the OpenAI clients raise.
        leg.failure, last = error, error_event(error.body())
    await send({"type": "http.response.body", "body": last})


async def _through(leg: Leg, stream: EventStream) -> AsyncIterator[bytes]:
    if out := stream.feed(leg.first):
        yield out
    async for chunk in leg.rest:
        if out := stream.feed(chunk):
            yield out
    leg.finished = True
    leg.metrics = parse_metrics(stream.usage) if stream.usage is not None else None
    if out := stream.end():
        yield out


def _as_error(body: bytes, status: int) -> bytes:
    """An engine's own words as an OpenAI error object; vLLM says a few things (401, 404) in other shapes."""
    try:
        said = orjson.loads(body)
    except orjson.JSONDecodeError:
        said = body.decode("utf-8", "replace")[:500]
    message = said.get("error", said.get("detail", said)) if isinstance(said, dict) else said
    text = message if isinstance(message, str) else orjson.dumps(message).decode()
    return orjson.dumps({"error": {"message": text, "type": "engine_error", "param": None, "code": status}})
