"""The event stream: what passes, what is kept, whatever way the bytes are cut."""

import itertools

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.api.sse import EventStream
from router.traffic.metering import Meter

USAGE = {"id": "c", "choices": [], "usage": {"completion_tokens": 3}, "metrics": {"generation_time_ms": 1.5}}
TEXTS = st.lists(st.text(max_size=20) | st.just('{"usage":{}}') | st.just("\n\n"), max_size=6)


def _event(body: object) -> bytes:
    return b"data: " + orjson.dumps(body) + b"\n\n"


def _content(text: str) -> bytes:
    return _event({"id": "c", "choices": [{"index": 0, "delta": {"content": text}}]})


def _cut(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
    return [data[a:b] for a, b in itertools.pairwise(places)]


@pytest.mark.parametrize("long_bytes", [len(_event(USAGE)) + 2, 1 << 20])
@given(
    texts=TEXTS,
    line=st.sampled_from([b"\n", b"\r\n"]),
    cuts=st.lists(st.integers(min_value=0), max_size=8),
    wants=st.booleans(),
)
def test_any_cutting_of_the_bytes_gives_the_same_stream(
    long_bytes: int, texts: list[str], line: bytes, cuts: list[int], wants: bool
) -> None:
    """The client gets every event as sent, less the usage event unless it asked for it; also where others are long."""
    content, usage, done = b"".join(_content(text * 9) for text in texts), _event(USAGE), b"data: [DONE]\n\n"
    sent, kept = ((content + part + done).replace(b"\n", line) for part in (usage, b""))
    stream = EventStream(wants_usage=wants, long_bytes=long_bytes)
    got = b"".join(stream.feed(chunk) for chunk in _cut(sent, cuts)) + stream.end()
    assert got == (sent if wants else kept)
    assert stream.usage == USAGE


def test_an_event_with_choices_is_not_the_usage_event(monkeypatch: pytest.MonkeyPatch) -> None:
    """With continuous usage every content event has a usage object; none of them is dropped, and none is read."""
    event = _event({"choices": [{"index": 0, "delta": {"content": '"choices":[]'}}], "usage": {"completion_tokens": 1}})
    stream = EventStream(wants_usage=False)
    with monkeypatch.context() as patched:
        patched.delattr(orjson, "loads")
        assert b"".join(stream.feed(chunk) for chunk in (event, event[:70], event[70:] + event)) == 3 * event
    assert stream.usage is None


@pytest.mark.parametrize("written", ['"choices":[]', '"choices": []', '"choices" : [\t]', '"usage":{},"choices":[ ]'])
def test_the_usage_event_is_known_however_it_is_written(written: str) -> None:
    """Servers other than vLLM put spaces, and members in another order."""
    event = f'data: {{{written}, "usage":{{"completion_tokens":3}}}}\n\n'.encode()
    stream = EventStream(wants_usage=False)
    assert stream.feed(event) == b""
    assert stream.usage is not None


MIB = 1 << 20
LONG = {
    "many members": _event({"choices": [], "logprobs": [{"token": "error", "usage": {}}] * 300_000}),
    "one text": _event({"choices": [{"text": "x" * 10 * MIB}]}),
}


@pytest.mark.parametrize("kind", LONG)
def test_of_a_long_event_little_is_held(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes on as it comes, unread; the events behind it are known again."""
    sent, chunk_bytes, held, most = LONG[kind], 64 * 1024, 0, 0
    stream, got, read = EventStream(wants_usage=False), list[bytes](), list[bytes]()
    with monkeypatch.context() as patched:
        patched.setattr(orjson, "loads", read.append)
        for at in range(0, len(sent), chunk_bytes):
            chunk = sent[at : at + chunk_bytes]
            got.append(stream.feed(chunk))
            held += len(chunk) - len(got[-1])
            most = max(most, held)
    assert b"".join(got) == sent
    assert most <= MIB
    assert not any(read)
    assert stream.feed(_event(USAGE)) == b""
    assert stream.usage == USAGE


def test_a_count_in_a_long_event_is_not_cut() -> None:
    """Wherever its chunks end, the tokens that the last event of a long answer tells are counted for its key."""
    sent = b'data: {"text":"' + b"x" * 90 + b'","usage":{"input_tokens":1234,"output_tokens":5678}}\n\n'
    for at in range(len(sent)):
        stream, meter = EventStream(wants_usage=False, long_bytes=64), Meter(0)
        for chunk in (sent[:at], sent[at:]):
            meter.passes(stream.feed(chunk))
        assert meter.counts == {"input_tokens": 1234, "output_tokens": 5678}


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
