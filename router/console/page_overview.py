"""The overview: what routing does for the service now, and how that came about in the last half hour."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from router.console import charts, policy_reports
from router.console.frame import View
from router.console.page_events import kind_of
from router.console.pieces import Chart, Column, Figure, Table, box, card, text
from router.console.trail import Rates
from router.console.wording import ago, clock, figure, percent, span
from router.roles import CONSOLE

NEWEST_EVENTS = 6
COLLECTING = "Collecting: it is drawn from what is seen while this page is open."
_TASKS = (
    Column("task", "Task", kind="link"),
    Column("decisions", "Requests", number=True),
    Column("speculative", "Speculative", number=True, phone=False),
    Column("accepted", "Drafts accepted", number=True, phone=False),
    Column("ours", "ms per token", number=True),
    Column("vanilla", "vanilla, est.", number=True, phone=False),
    Column("gain", "Gain", number=True),
    Column("saved", "Saved", number=True, phone=False),
)


def build(view: View) -> None:
    """The page."""
    with box("title"):
        text("Overview", "h1")
        about = text("", "span", "quiet")
    with box("kpis"):
        figures = {
            name: Figure(name)
            for name in ("Requests", "Time per token", "Against vanilla", "Seconds saved", "Speculative", "In flight")
        }
    with box("two"):
        with card("Time per token"):
            tokens = Chart("time per token, as it is and as estimated without speculation", COLLECTING)
        with card("k in use"):
            ks = Chart("share of requests by k")
        with card("Requests per second"):
            requests = Chart("requests per second", COLLECTING)
        with card("Share served by speculation"):
            shares = Chart("share of requests served by speculation", COLLECTING)
    with box("two"):
        with card("Policy"):
            policy = box("stack")
        with card("Last events"):
            events = box("stack")

    with card("By task, since the routers started"):
        by_task = Table(_TASKS, "task", "No request was decided yet")

    async def show() -> None:
        totals = await view.get("/overview")
        trail = view.console.trail
        trail.add(totals)
        now, course = trail.now(), trail.course()
        when = "since the routers started" if now.window_s is None else f"the last {span(now.window_s)}"
        about.set_text(f"{when} · {totals['routers']} router{'' if totals['routers'] == 1 else 's'}")
        _figures(figures, now, totals)
        tokens.show(_times(course))
        requests.show(_course(course, "requests per second", lambda one: one.requests_per_s))
        shares.show(_course(course, "share", lambda one: one.speculative_share, high=1))
        ks.show(_ks(now.k))
        by_task.show([task_row(one) for one in totals["tasks"] if one["decisions"]])

    async def show_rest() -> None:
        status = await view.get("/policies/status")
        newest = (await view.get("/events", limit=str(NEWEST_EVENTS)))["events"]
        policy.clear()
        with policy:
            _policy(status)
        events.clear()
        with events:
            _events(newest)

    view.keep(show)
    view.keep(show_rest, 4.0)


def task_row(one: Mapping[str, Any]) -> dict[str, Any]:
    """A task's totals as a row."""
    tokens = one["output_tokens"]
    ours = one["generation_s"] / tokens * 1000 if tokens else None
    vanilla = (one["generation_s"] + one["saved_s"]) / tokens * 1000 if tokens else None
    return {
        "task": one["task"],
        "href": f"{CONSOLE}/decisions?task={quote(one['task'], safe='')}",
        "decisions": one["decisions"],
        "speculative": percent(one["speculative"] / one["decisions"]),
        "accepted": percent(one["accepted"] / one["proposed"]) if one["proposed"] else "–",
        "ours": figure(ours, digits=2),
        "vanilla": figure(vanilla, digits=2),
        "gain": f"{vanilla / ours:.2f}×" if ours and vanilla else "–",
        "saved": span(one["saved_s"]) if tokens else "–",
    }


def _figures(figures: Mapping[str, Figure], now: Rates, totals: Mapping[str, Any]) -> None:
    rate = "" if now.requests_per_s is None else f"{figure(now.requests_per_s, digits=2)} per second"
    failed = f"{figure(now.failed)} failed" if now.failed else rate
    figures["Requests"].show(figure(now.requests), failed)
    ours, vanilla = now.ms_per_token, now.vanilla_ms_per_token
    figures["Time per token"].show(figure(ours, "ms"), f"vanilla, est.: {figure(vanilla, 'ms')}")
    figures["Against vanilla"].show(f"{vanilla / ours:.2f}×" if ours and vanilla else "–", "as fast")
    whole = sum(one["saved_s"] for one in totals["tasks"])
    figures["Seconds saved"].show(span(now.saved_s), f"{span(whole)} since the start")
    figures["Speculative"].show(percent(now.speculative_share), "of requests")
    waiting = sum(pool["queued"] for pool in totals["pools"])
    running = sum(pool["in_flight"] for pool in totals["pools"])
    figures["In flight"].show(figure(running), f"{figure(waiting)} waiting")


Course = Sequence[tuple[float, Rates | None]]


def _course(
    course: Course, name: str, figure_of: Callable[[Rates], float | None], high: float | None = None
) -> dict[str, Any] | None:
    points = [(at, None if one is None else figure_of(one)) for at, one in course]
    return charts.lines({name: points}, "", low=0, high=high) if points else None


def _times(course: Course) -> dict[str, Any] | None:
    if not course:
        return None
    ours = [(at, None if one is None else one.ms_per_token) for at, one in course]
    vanilla = [(at, None if one is None else one.vanilla_ms_per_token) for at, one in course]
    return charts.lines({"as served": ours, "vanilla, estimated": vanilla}, "ms", low=0)


def _ks(counts: Mapping[str, float]) -> dict[str, Any] | None:
    whole = sum(counts.values())
    if not whole:
        return None
    shares = {k: round(100 * counts[k] / whole, 1) for k in sorted(counts, key=int)}
    return charts.bars({"vanilla" if k == "0" else f"k = {k}": share for k, share in shares.items()}, "% of requests")


def _policy(status: Mapping[str, Any]) -> None:
    now_s = time.time()
    active = int(status["active"])
    with box("row2"):
        text("in force", "span", "chip good")
        name = f"Version {active}" if active else f"The policy of the {status['source']}"
        text(name, "a").props(f'href="{CONSOLE}/policies"')
        if status["since_s"]:
            text(f"{status['by']} · {ago(now_s - status['since_s'])} ago", "span", "quiet")
    for kind in ("shadow", "canary"):
        if one := status.get(kind):
            with box("row2"):
                text(kind, "span", "chip warn")
                text(policy_reports.trial_line(kind, one["trial"], now_s), "span")


def _events(newest: list[Mapping[str, Any]]) -> None:
    if not newest:
        text("Nothing has happened yet.", classes="quiet")
    for one in newest:
        with box("row2"):
            text(clock(one["at_s"], time.time()), "span", "quiet mono")
            text(one["kind"].replace("_", " "), "span", f"chip {kind_of(one['kind'])}")
            text(f"{one['subject']}: {one['detail']}", "span", "small")
