"""Bodies that are small by their bytes and large once they are read."""

import contextlib
import json
import tracemalloc

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from service import CHAT, VANILLA, running_service, settings_with, simulator

from router.api.density import check_density
from router.errors import TooLarge

MANY = 2000
DENSE = {
    "lists": (b"[" + b",".join([b"[]"] * MANY) + b"]", "limits.body_fields"),
    "objects": (b"[" + b",".join([b"{}"] * MANY) + b"]", "limits.body_fields"),
    "lists in lists": (b"[" * MANY + b"]" * MANY, "limits.body_fields"),
    "fields": (orjson.dumps({str(i): i for i in range(MANY)}), "limits.body_fields"),
    "numbers": (b"[" + b",".join([b"1"] * MANY) + b"]", "limits.body_items"),
    "texts": (b"[" + b",".join([b'""'] * MANY) + b"]", "limits.body_items"),
    "more texts than can be": (
        b"[" + b",".join([b'""'] * 3 * MANY) + b"]",
        "limits.body_fields with limits.body_items",
    ),
}


@pytest.mark.parametrize("kind", DENSE)
def test_a_dense_body_is_refused_by_what_it_has_too_much_of(kind: str) -> None:
    """The message names how many there are, the setting, and what it allows."""
    raw, setting = DENSE[kind]
    with pytest.raises(TooLarge, match=rf"{setting} allows \d,\d\d\d") as error:
        check_density(raw, 1024, 1025)
    assert (error.value.status, error.value.code) == (413, "body_too_dense")
    check_density(raw, 4 * MANY, 4 * MANY)


SIZED = {
    "prose": {"content": "It was a dark and stormy night, and the rain fell. " * MANY},
    "turns": [{"role": "user", "content": f"hello there {i}"} for i in range(MANY)],
    "token ids": list(range(1000, 1000 + 20 * MANY)),
    "fractions": [i / 7 for i in range(20 * MANY)],
    "short texts": [f"é{i}" for i in range(20 * MANY)],
    "lists": [[] for _ in range(20 * MANY)],
    "objects": [{"k": 500} for _ in range(20 * MANY)],
    "fields": {f"key {i}": 500 for i in range(20 * MANY)},
}


@pytest.mark.parametrize("kind", SIZED)
def test_what_a_body_takes_is_known_before_it_is_read(kind: str) -> None:
    """Within a factor of three, where its bytes alone are twenty times too few."""
    raw = orjson.dumps(SIZED[kind])
    tracemalloc.start()
    decoded = orjson.loads(raw)
    took = len(raw) + tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert decoded
    assert took / 2 < check_density(raw, 10**9, 10**9) < 3 * took


TEXTS = {
    "brackets, colons and commas": "[{:,",
    "quotes": '"[,',
    "backslashes before quotes": '\\"[,',
    "JSON in JSON": json.dumps({"a": json.dumps({"b": [1, '"', "\\"]})}),
}


@pytest.mark.parametrize("text", TEXTS)
def test_what_stands_in_texts_does_not_count(text: str) -> None:
    """Code, logs and JSON within JSON may be long."""
    check_density(orjson.dumps({"messages": [{"role": "user", "content": TEXTS[text] * MANY}]}), 1024, 1025)


VALUES = st.recursive(
    st.none() | st.integers(-99, 99) | st.text(alphabet='ab[]{},:"\\', max_size=6),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(alphabet='a:"\\,[', max_size=4), inner, max_size=4)
    ),
)


def _fields(value: object) -> int:
    if isinstance(value, list):
        return 1 + sum(map(_fields, value))
    return 1 + len(value) + sum(map(_fields, value.values())) if isinstance(value, dict) else 0


def _commas(value: object) -> int:
    inner = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
    return max(0, len(inner) - 1) + sum(map(_commas, inner))


@given(VALUES)
def test_the_count_is_that_of_the_values(value: object) -> None:
    """Whatever the texts hold, what is allowed is let through and one less is refused."""
    raw, fields, commas = orjson.dumps(value), _fields(value), _commas(value)
    check_density(raw, fields, commas)
    for less in ((fields - 1, commas), (fields, commas - 1)):
        if min(less) >= 0:
            with pytest.raises(TooLarge):
                check_density(raw, *less)


@pytest.mark.parametrize("raw", [b'"' * 4000, b'{"a":"' + b'\\"' * 4000, b'{"a' + b"\\" * 4001, b'["a:",' * 4000])
def test_what_is_no_json_is_only_counted(raw: bytes) -> None:
    """What is wrong with it is said by who reads it; no count fails."""
    with contextlib.suppress(TooLarge):
        check_density(raw, 1024, 1024)


async def test_a_dense_body_is_answered_in_one_shape() -> None:
    """By every route that takes one, before anything is made of it; the next request is served."""
    limits = {"body_fields": 1024, "body_items": 1024}
    async with running_service(settings_with([VANILLA], limits=limits), {"vanilla-1": simulator(VANILLA)}) as service:
        head = {"content-type": "application/json"}
        dense = orjson.dumps({**CHAT, "metadata": [[]] * MANY})
        for path in ("/v1/chat/completions", "/v1/messages", "/v1/embeddings"):
            async with service.session.post(path, data=dense, headers=head) as got:
                assert got.status == 413
                assert "limits.body_fields allows 1,024" in (await got.json())["error"]["message"]
        async with service.session.post("/v1/chat/completions", data=orjson.dumps(CHAT), headers=head) as got:
            assert got.status == 200
