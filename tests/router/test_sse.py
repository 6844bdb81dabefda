"""The event stream: what passes, what is kept, whatever way the bytes are cut."""

import itertools

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.api.sse import EventStream

USAGE = {"id": "c", "choices": [], "usage": {"completion_tokens": 3}, "metrics": {"generation_time_ms": 1.5}}
TEXTS = st.lists(st.text(max_size=20) | st.just('{"usage":{}}') | st.just("\n\n"), max_size=6)


def _event(body: object) -> bytes:
    return b"data: " + orjson.dumps(body) + b"\n\n"


def _content(text: str) -> bytes:
    return _event({"id": "c", "choices": [{"index": 0, "delta": {"content": text}}]})


def _cut(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
    return [data[a:b] for a, b in itertools.pairwise(places)]


@given(texts=TEXTS, cuts=st.lists(st.integers(min_value=0), max_size=8), wants=st.booleans())
def test_any_cutting_of_the_bytes_gives_the_same_stream(texts: list[str], cuts: list[int], wants: bool) -> None:
    """The client gets every event as sent, less the usage event unless it asked for it."""
    content = b"".join(_content(text) for text in texts)
    sent = content + _event(USAGE) + b"data: [DONE]\n\n"
    stream = EventStream(wants_usage=wants)
    got = b"".join(stream.feed(chunk) for chunk in _cut(sent, cuts)) + stream.end()
    assert got == (sent if wants else content + b"data: [DONE]\n\n")
    assert stream.usage == USAGE


def test_an_event_with_choices_is_not_the_usage_event() -> None:
    """With continuous usage every content event has a usage object; none of them is dropped."""
    event = _event({"choices": [{"index": 0, "delta": {"content": "a"}}], "usage": {"completion_tokens": 1}})
    stream = EventStream(wants_usage=False)
    assert stream.feed(event) == event
    assert stream.usage is None


def test_a_stream_cut_off_inside_an_event_keeps_what_came() -> None:
    """An engine that dies in the middle of an event leaves its bytes, not silence."""
    stream = EventStream(wants_usage=False)
    assert stream.feed(b'data: {"choi') == b""
    assert stream.end() == b'data: {"choi'


@given(cuts=st.lists(st.integers(min_value=0), max_size=8))
@pytest.mark.parametrize(
    "said",
    [
        b'data: {"error": {"message": "EngineCore", "code": 500}}\n\n',
        b'event: error\ndata: {"type":"error","error":{"message":"EngineCore","code":500}}\n\n',
        b'event: error\r\ndata: {"type":"error","message":"EngineCore","code":500}\r\n\r\n',
    ],
)
def test_an_engine_s_error_is_noted_and_passed_on(said: bytes, cuts: list[int]) -> None:
    """In each API's words, however the bytes are cut: the client gets it, the router knows."""
    sent = _content('"error"') + said + b"data: [DONE]\n\n"
    stream = EventStream(wants_usage=False)
    assert b"".join(stream.feed(chunk) for chunk in _cut(sent, cuts)) + stream.end() == sent
    assert stream.error is not None
    assert (stream.error["message"], stream.error["code"]) == ("EngineCore", 500)


@pytest.mark.parametrize("body", [{"choices": [], "error": None}, {"type": "x", "text": "error"}, ["error"]])
def test_a_word_is_no_error(body: object) -> None:
    """Events that only name errors are none."""
    stream = EventStream(wants_usage=False)
    assert stream.feed(_event(body)) == _event(body)
    assert stream.error is None
