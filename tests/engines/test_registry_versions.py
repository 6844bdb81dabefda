"""Heartbeats of other versions, as a rolling upgrade has them."""

import json
import logging

import pytest

from engines.registry import Heartbeat, HeartbeatReader

KNOWN = Heartbeat(replica="a-1", pool="a", model="m", target="t", url="http://x")


def _text(**more: object) -> str:
    return json.dumps({**KNOWN.model_dump(mode="json"), **more})


def test_unknown_fields_are_ignored_counted_and_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """A newer replica serves under an older router."""
    reader = HeartbeatReader()
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert reader.read(_text(zone="b", rack=2)) == KNOWN
    assert sorted(reader.unknown.values()) == [3, 3]
    assert [record.getMessage().count("'zone'") for record in caplog.records].count(1) == 1
    assert len(caplog.records) == 2


def test_missing_fields_have_their_defaults() -> None:
    """An older replica serves under a newer router."""
    text = json.dumps({"replica": "a-1", "pool": "a", "model": "m", "target": "t", "url": "http://x"})
    assert HeartbeatReader().read(text) == KNOWN


def test_what_does_not_fit_is_left_out_and_told_by_field(caplog: pytest.LogCaptureFixture) -> None:
    """A state of the future must not be routed to; values, which may be keys, are not printed."""
    reader = HeartbeatReader()
    assert reader.read(_text(state="paused", api_key="sk-1")) is None
    assert reader.read("no json") is None
    assert "state: Input should be" in caplog.text
    assert "sk-1" not in caplog.text
