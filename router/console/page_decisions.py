"""The decision inspector: find one, and see what was known, what every alternative was predicted to take, and why."""

import math
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from nicegui import ui

from router.console.frame import View
from router.console.pieces import Column, Table, box, card, facts, text
from router.console.wording import NOT_KNOWN, clock, figure, percent
from router.roles import CONSOLE

SEARCHED = {"request_id": "Request id", "task": "Task", "pool": "Pool", "replica": "Replica", "reason": "Reason"}
_COLUMNS = (
    Column("at", "Time (UTC)"),
    Column("request_id", "Request", kind="link"),
    Column("task", "Task"),
    Column("temperature", "Temperature", number=True, phone=False),
    Column("pool", "Pool", phone=False),
    Column("replica", "Replica", phone=False),
    Column("k", "k", number=True),
    Column("reason", "Reason", phone=False),
    Column("expected", "predicted ms", number=True),
    Column("vanilla", "vanilla, est.", number=True, phone=False),
    Column("measured", "measured", number=True, phone=False),
)


def build(view: View) -> None:
    """The page; `?id=` explains one decision."""
    text("Decisions", "h1")
    if wanted := view.query.get("id"):
        _explained(view, wanted)
    with card("Search"), box("row2"):
        inputs = {}
        for name, label in SEARCHED.items():
            inputs[name] = ui.input(label, value=view.query.get(name, "")).props(
                "outlined dense clearable debounce=300"
            )
    with card("Newest first"):
        table = Table(_COLUMNS, "id", "No decision fits", search=False)

    async def show() -> None:
        asked = {name: (field.value or "").strip() for name, field in inputs.items()}
        found = (await view.get("/decisions", **asked, limit="200"))["decisions"]
        table.show([row_of(one, at, time.time()) for at, one in enumerate(found)])

    for field in inputs.values():
        field.on_value_change(lambda: view.guarded(show))
    view.keep(show)


def row_of(one: Mapping[str, Any], at: int, now_s: float) -> dict[str, Any]:
    """A decision as a row; `at` tells apart those of one request."""
    return {
        "id": f"{one['request_id']}/{at}",
        "href": f"{CONSOLE}/decisions?id={quote(one['request_id'], safe='')}",
        "at": clock(one["at_s"], now_s),
        "request_id": one["request_id"][:18],
        "task": one["task"],
        "temperature": f"{one['temperature']:g}",
        "pool": one["pool"],
        "replica": one["replica"],
        "k": one["k"],
        "reason": one["reason"].replace("_", " "),
        "expected": figure(one["expected_ms_per_token"]),
        "vanilla": figure(one["vanilla_ms_per_token"]),
        "measured": figure(one.get("measured_ms_per_token")) if one.get("status") != "failed" else "failed",
    }


def _explained(view: View, request_id: str) -> None:
    with card():
        with box("row2"):
            text("Decision", "h2")
            text(request_id, "span", "mono")
            text("Close", "a").props(f'href="{CONSOLE}/decisions"')
        room = box("stack")

    async def show() -> None:
        told = await view.get("/decisions/explain", request_id=request_id)
        room.clear()
        with room:
            explain(told)

    ui.timer(0.05, lambda: view.guarded(show), once=True)


def explain(told: Mapping[str, Any]) -> None:
    """One decision in full: in sentences, every alternative's score, what was known of the request, how it went."""
    one = told["decision"]
    for sentence in told["sentences"]:
        text(sentence)
    text("Score of every alternative: predicted ms per token, with what it costs others and the wait", "h2")
    _scores(one)
    with box("two"):
        with box(""):
            text("The request, as it was taken", "h2")
            facts({name: said for name, said in flat(one["request"]).items() if said not in (NOT_KNOWN, "")})
        with box(""):
            text("How it was decided and how it went", "h2")
            plain = {name: value for name, value in one.items() if name not in ("request", "alternatives")}
            facts({**flat(plain), "at_s": f"{clock(one['at_s'], time.time())} UTC"})


def _scores(one: Mapping[str, Any]) -> None:
    alternatives = one["alternatives"]
    ks = range(max((len(other["u_ms"]) for other in alternatives), default=0))
    if not ks:
        text("The rule in force keeps no scores; these replicas there were:", classes="quiet")
    with box("scroll"), box("grid", "table"):
        with box("", "thead"), box("", "tr"):
            for head in (
                "replica",
                "pool",
                "running",
                "KV",
                *(f"k = {k}" if k else "vanilla" for k in ks),
                "limited by",
            ):
                text(head, "th", "num" if head.startswith(("k =", "vanilla")) else "")
        with box("", "tbody"):
            for other in alternatives:
                _alternative(one, other, ks)
    text(
        "Boxed: what was chosen. Grey: not allowed there. A replica without drafter has only vanilla.",
        classes="quiet small",
    )


def _alternative(one: Mapping[str, Any], other: Mapping[str, Any], ks: range) -> None:
    engine = other["engine"]
    is_chosen = engine["name"] == one["replica"]
    with box("chosen" if is_chosen else "", "tr"):
        for words in (engine["name"], engine["pool"]["name"], figure(engine["running"]), percent(engine["kv_usage"])):
            text(words, "td")
        for k in ks:
            score = other["u_ms"][k] if k < len(other["u_ms"]) else None
            allowed = other["low"] <= k <= other["high"]
            look = "num picked" if is_chosen and k == one["k"] else "num" if allowed else "num quiet"
            text(score_text(score), "td", look)
        text((other["blocked"] or "").replace("_", " "), "td", "quiet")


def score_text(score: float | None) -> str:
    """A score; one that is not finite (a k that an engine does not have) is none."""
    return NOT_KNOWN if score is None or not math.isfinite(score) else f"{score:.2f}"


def flat(part: Mapping[str, Any], before: str = "") -> dict[str, str]:
    """Nested facts as one list of dotted names and texts."""
    found: dict[str, str] = {}
    for name, value in part.items():
        if isinstance(value, Mapping):
            found.update(flat(value, f"{before}{name}."))
        else:
            found[f"{before}{name}"] = said(value)
    return found


def said(value: object) -> str:
    """A fact as text."""
    if value is None:
        return NOT_KNOWN
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(said(one) for one in value)
    return str(value)
