"""Pools and replicas as routing sees them, and the marks that take a replica out of traffic."""

import time
from collections.abc import Mapping
from typing import Any

from nicegui import ui

from router.console.frame import View
from router.console.pieces import Column, Figure, Table, box, card, text
from router.console.wording import ago, figure, percent

_COLUMNS = (
    Column("name", "Replica"),
    Column("pool", "Pool", phone=False),
    Column("state", "State", kind="chip"),
    Column("running", "Running", number=True),
    Column("waiting", "Waiting", number=True, phone=False),
    Column("kv", "KV cache", number=True, phone=False),
    Column("breaker", "Breaker", kind="chip", phone=False),
    Column("mark", "Mark", phone=False),
    Column("age", "Heartbeat", number=True, phone=False),
    Column("act", ""),
)
_BUTTONS = """<q-td :props="props" auto-width>
<q-btn flat dense size="sm" icon="more_vert" :aria-label="'Steer ' + props.row.name"
  @click="() => $parent.$emit('act', props.row.name)" /></q-td>"""
DOES = {
    "drain": "Drain: no new requests at all; those that run may finish.",
    "cordon": "Cordon: no new requests as long as another replica of its model can take them.",
    "uncordon": "Take the mark away: it gets requests again.",
    "reload": "Reload: finish what runs, restart the engine with the same settings, verify it, take it back.",
}

FORCED = ("drain", "reload")
"""What is refused where no other replica of the model gets requests, unless it is forced."""

DONE = {"reload": "asked to reload; its state says how it goes"}


def build(view: View) -> None:
    """The page."""
    text("Engines", "h1")
    with box("kpis"):
        figures = {name: Figure(name) for name in ("Replicas ready", "Requests running", "Waiting", "Fullest KV cache")}
    with card("Pools"):
        pools = Table(
            (
                Column("name", "Pool"),
                Column("model", "Model", phone=False),
                Column("drafter", "Drafter", phone=False),
                Column("method", "Method"),
                Column("k", "k up to", number=True),
                Column("replicas", "Ready", number=True),
                Column("load", "Load", number=True),
            ),
            "name",
            "No pool is known",
            search=False,
        )
    with card("Replicas"):
        table = Table(_COLUMNS, "name", "No engine has announced itself")
        table.add_buttons(_BUTTONS, lambda name: _steer(view, name))

    async def show() -> None:
        found = (await view.get("/engines"))["pools"]
        replicas = [one for pool in found for one in pool["replicas"]]
        _totals(figures, replicas)
        pools.show([pool_row(pool) for pool in found])
        table.show([row_of(one, time.time()) for one in replicas])

    view.keep(show)


def pool_row(pool: Mapping[str, Any]) -> dict[str, Any]:
    """A pool as a row."""
    replicas = pool["replicas"]
    room = sum(one["max_running"] for one in replicas)
    return {
        "name": pool["name"],
        "model": pool["model"],
        "drafter": (pool["drafter"] or "–").rsplit("/", 1)[-1],
        "method": pool["method"] or "vanilla",
        "k": pool["k_max"],
        "replicas": f"{sum(1 for one in replicas if one.get('receives', one['state'] == 'ready'))} / {len(replicas)}",
        "load": percent(sum(one["running"] for one in replicas) / room) if room else "–",
    }


def row_of(one: Mapping[str, Any], now_s: float) -> dict[str, Any]:
    """A replica as a row."""
    mark = one["mark"]
    state = f"{one['state']} ({one['phase']})" if one["phase"] else one["state"]
    if mark is not None:
        state = "drained" if one.get("drained") else f"{mark['kind']}ed"
    ready = one["state"] == "ready" and mark is None
    return {
        "name": one["name"],
        "pool": one["pool"],
        "state": state,
        "state_kind": "good" if ready else "warn",
        "running": one["running"],
        "waiting": one["waiting"],
        "kv": percent(one["kv_usage"]),
        "breaker": one["breaker"],
        "breaker_kind": "" if one["breaker"] == "closed" else "bad",
        "mark": "" if mark is None else f"{mark['by']}: {mark['why'] or 'no reason given'}",
        "age": f"{ago(now_s - one['heartbeat_s'])} ago",
    }


def _totals(figures: Mapping[str, Figure], replicas: list[Mapping[str, Any]]) -> None:
    ready = [one for one in replicas if one.get("receives", one["state"] == "ready")]
    figures["Replicas ready"].show(f"{len(ready)} / {len(replicas)}")
    figures["Requests running"].show(figure(sum(one["running"] for one in replicas)))
    figures["Waiting"].show(figure(sum(one["waiting"] for one in replicas)))
    fullest = max(replicas, key=lambda one: one["kv_usage"], default=None)
    if fullest is not None:
        figures["Fullest KV cache"].show(percent(fullest["kv_usage"]), fullest["name"])


def _steer(view: View, name: str) -> None:
    with ui.dialog(value=True) as dialog, ui.card():
        text(name, "h2")
        does = ui.radio(DOES, value="drain")
        force = ui.switch("Also where no other replica of its model gets requests meanwhile").props("dense")
        force.bind_visibility_from(does, "value", backward=lambda what: what in FORCED)
        why = ui.input("Why", placeholder="for whoever asks later").props("outlined dense").classes("full-width")

        async def act() -> None:
            asked = {"why": why.value or "", **({"force": force.value} if does.value in FORCED else {})}
            await view.send("POST", f"/engines/{name}/{does.value}", asked)
            ui.notify(f"{name}: {DONE.get(does.value or '', 'done')}", type="positive", position="bottom-right")
            dialog.close()

        with box("row2"):
            ui.button("Do it", on_click=lambda: view.guarded(act)).props("unelevated no-caps")
            ui.button("Cancel", on_click=dialog.close).props("flat no-caps")
