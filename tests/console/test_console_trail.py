"""Rates from totals: what happened between two looks."""

from router.console.trail import KEPT_S, Trail, rates


def overview(at_s: float, requests: int, *, k: dict[str, int] | None = None, failed: int = 0) -> dict[str, object]:
    """Totals of a service with one task, ten tokens a request, 0.1 s each, saving 0.05 s each."""
    task = {
        "task": "sql",
        "decisions": requests,
        "speculative": requests // 2,
        "output_tokens": requests * 10,
        "generation_s": requests * 0.1,
        "saved_s": requests * 0.05,
    }
    return {"at_s": at_s, "requests": requests, "failed": failed, "k": k or {"4": requests}, "tasks": [task]}


def test_rates_are_differences() -> None:
    """A figure per second is over the time between two overviews; times per token are of the tokens between them."""
    found = rates(overview(160.0, 220, k={"0": 20, "4": 200}), overview(100.0, 100, k={"4": 100}))
    assert found.window_s == 60.0
    assert found.requests == 120
    assert found.requests_per_s == 2.0
    assert found.ms_per_token is not None
    assert round(found.ms_per_token, 6) == 10.0
    assert found.vanilla_ms_per_token is not None
    assert round(found.vanilla_ms_per_token, 6) == 15.0
    assert round(found.saved_s, 6) == 6.0
    assert found.speculative_share == 0.5
    assert found.k == {"0": 20, "4": 100}


def test_without_a_look_before_all_is_since_the_start() -> None:
    """The first to open the page sees totals, and no rate."""
    trail = Trail()
    trail.add(overview(100.0, 50))
    assert trail.now() == rates(overview(100.0, 50), None)
    assert trail.now().window_s is None
    assert trail.now().requests_per_s is None
    assert trail.course() == []


def test_nothing_is_said_of_a_service_that_did_nothing() -> None:
    """No token, no time per token: None, not zero."""
    idle = rates(overview(160.0, 100), overview(100.0, 100))
    assert idle.ms_per_token is idle.vanilla_ms_per_token is idle.speculative_share is None
    assert idle.requests_per_s == 0.0
    assert idle.k == {}


def test_now_is_the_last_minute() -> None:
    """Older looks do not count, and looks of several browsers at once are one."""
    trail = Trail()
    for second in range(301):
        trail.add(overview(1000.0 + second, second * 10))
    assert len(trail.points) <= 201
    now = trail.now()
    assert now.window_s is not None
    assert 55 <= now.window_s <= 62
    assert now.requests_per_s == 10.0
    assert all(one is not None and one.requests_per_s == 10.0 for _, one in trail.course())


def test_a_gap_is_drawn_as_one() -> None:
    """Where nobody looked for minutes no line is drawn across."""
    trail = Trail()
    for at_s in (*range(0, 60, 2), *range(600, 660, 2)):
        trail.add(overview(1000.0 + at_s, at_s * 10))
    assert None in [one for _, one in trail.course()]


def test_restarted_routers_begin_anew() -> None:
    """Totals that fell are of other processes: a difference would be nonsense."""
    trail = Trail()
    trail.add(overview(1000.0, 5000))
    trail.add(overview(1030.0, 40))
    assert trail.now().requests == 40
    assert trail.now().window_s is None


def test_only_half_an_hour_is_kept() -> None:
    """The console runs for months."""
    trail = Trail()
    for at_s in range(0, 7200, 10):
        trail.add(overview(float(at_s), at_s))
    assert len(trail.points) <= KEPT_S / 10 + 1
