"""What a dry run, a shadow and a canary found, as figures and charts."""

from collections.abc import Mapping, Sequence
from typing import Any

from nicegui import ui

from router.console import charts
from router.console.pieces import box, grid, text
from router.console.wording import change, figure, percent, span

SHOWN_TASKS = 15
"""Tasks in the chart; the table below it has all."""


def dry_run(report: Mapping[str, Any]) -> None:
    """What would have been decided differently."""
    total = report["total"]
    for warning in report.get("warnings") or ():
        text(f"Warning: {warning['path']}: {warning['value']!r}: {warning['message']}", classes="warn small")
    if not report["decisions"]:
        text("No decision was recorded that could be replayed: send some requests first.", classes="quiet")
        _left_out(report)
        return
    verdict(total, report["decisions"])
    comparison(report)
    for note in report.get("notes") or ():
        text(note, classes="quiet small")
    _left_out(report)


def verdict(total: Mapping[str, Any], decisions: int) -> None:
    """The whole in one line."""
    low, high = float(total["low"]), float(total["high"])
    kind = "good" if high < 1 else "bad" if low > 1 else "warn"
    certain = "" if kind != "warn" else ", which may be chance"
    with box(f"banner {kind}"):
        text(
            f"Time per token: {change(float(total['ratio']))}{certain} "
            f"(95 %: {change(low)} to {change(high)}), over {decisions:,} decisions. "
            f"Another pool for {percent(total['pool_changed'])}, another k for {percent(total['k_changed'])}."
        )


def comparison(report: Mapping[str, Any]) -> None:
    """Charts and the table by task of a dry run or a shadow."""
    tasks: Sequence[Mapping[str, Any]] = report["tasks"]
    with box("two"):
        with box(""):
            text("Predicted time per token, change by task", "h2")
            ui.echart(charts.forest(tasks[:SHOWN_TASKS])).classes("chart").props(
                'role="img" aria-label="change by task"'
            )
        with box(""):
            text("k chosen", "h2")
            _paired(report["ks"], "decisions by k", key=int)
        with box(""):
            text("Pool chosen", "h2")
            _paired(report["pools"], "decisions by pool", key=str)
    rows = [
        (
            one["task"] or "all",
            f"{one['decisions']:,}",
            percent(one["pool_changed"]),
            _pair(one["mean_k"], ""),
            _pair(one["ms_per_token"], "ms"),
            change(float(one["ratio"])),
            f"{change(float(one['low']))} to {change(float(one['high']))}",
        )
        for one in [*tasks, report["total"]]
    ]
    heads = ("Task", "Decisions", "Other pool", "Mean k", "Per token", "Change", "95 % interval")
    grid(heads, rows, numbers=frozenset({1, 2}))


def canary(report: Mapping[str, Any]) -> None:
    """A canary against the rest of the traffic."""
    rest, arm = report["rest"], report["canary"]
    rows = [
        ("Requests", figure(arm["requests"]), figure(rest["requests"])),
        ("Time per token", _measured(arm, "ms_per_token"), _measured(rest, "ms_per_token")),
        ("p99 of it", _measured(arm, "p99_ms_per_token"), _measured(rest, "p99_ms_per_token")),
        ("Errors", figure(arm["errors"]), figure(rest["errors"])),
        ("Guard trips", figure(arm["guard_trips"]), figure(rest["guard_trips"])),
    ]
    with box("narrow"):
        grid(("", "canary", "rest"), rows, numbers=frozenset({1, 2}))
    if arm["measured"] and rest["measured"]:
        low, high = change(1 + float(report["low"])), change(1 + float(report["high"]))
        text(
            f"Canary: {change(1 + float(report['slower']))} ({low} to {high}, at any time it is read).", classes="small"
        )
    else:
        text("Too few requests were measured to compare them.", classes="quiet small")
    if report.get("fault"):
        with box("banner bad"):
            text(f"It must stop: {report['fault']}")


def trial_line(kind: str, trial: Mapping[str, Any], now_s: float) -> str:
    """What is tried, in a sentence."""
    share = f" on {percent(trial['share'])} of {'the segments' if trial.get('unit') == 'segment' else 'requests'}"
    among = f" of {', '.join(trial['segments'])}" if trial.get("segments") else ""
    who = f", started by {trial['by']}" if trial.get("by") else ""
    where = f"{share}{among}" if kind == "canary" else ", deciding beside the active one without acting"
    return f"Version {trial['version']}{where} for {span(max(0.0, now_s - trial['since_s']))}{who}."


def _paired(counts: Mapping[str, Sequence[int]], label: str, *, key: type[int] | type[str]) -> None:
    names = sorted(counts, key=key)
    now, then = ([counts[name][at] for name in names] for at in (0, 1))
    chart = ui.echart(charts.pairs(names, now, then, "decisions")).classes("chart")
    chart.props(f'role="img" aria-label="{label}"')


def _pair(pair: Sequence[float], unit: str) -> str:
    now, then = figure(pair[0], digits=2), figure(pair[1], unit, digits=2)
    return f"{now} → {then}"


def _measured(arm: Mapping[str, Any], name: str) -> str:
    """A time of a side; nothing where none was measured."""
    return figure(arm[name] if arm["measured"] else None, "ms")


def _left_out(report: Mapping[str, Any]) -> None:
    if report.get("left_out"):
        reasons = ", ".join(f"{count:,} {why}" for why, count in report["left_out"].items())
        text(f"Left out: {reasons}.", classes="quiet small")
