"""Charts as ECharts options: plain data in, plain data out; every colour is readable on light and on dark."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

Options = dict[str, Any]
Points = Sequence[tuple[float, float | None]]

BLUE, GREEN, AMBER, RED, VIOLET, GREY = "#3b82f6", "#10b981", "#f59e0b", "#ef4444", "#8b5cf6", "#8b95a5"
PALETTE = [BLUE, GREEN, AMBER, VIOLET, RED, "#14b8a6", "#ec4899", "#84cc16", "#f97316", "#06b6d4"]
ALONE_MS = 6e5
_LINE = "rgba(139,149,165,.22)"


def lines(series: Mapping[str, Points], unit: str, *, low: float | None = None, high: float | None = None) -> Options:
    """Lines over time by name; times are Unix ms."""
    drawn = [_line(name, points) for name, points in series.items()]
    value_axis: Options = {**_value_axis(unit), "scale": low is None}
    if low is not None:
        value_axis["min"] = low
    if high is not None:
        value_axis["max"] = high
    times = {at_ms for points in series.values() for at_ms, _ in points}
    return {**_frame(legend=len(drawn) > 1), "xAxis": _time_axis(times), "yAxis": value_axis, "series": drawn}


def bars(shares: Mapping[str, float], unit: str, colour: str = BLUE) -> Options:
    """One bar per name."""
    return {
        **_frame(legend=False),
        "xAxis": {"type": "category", "data": list(shares), **_axis()},
        "yAxis": _value_axis(unit),
        "series": [
            {"type": "bar", "data": list(shares.values()), "itemStyle": {"color": colour}, "barMaxWidth": 36},
        ],
    }


def band(points: Sequence[Mapping[str, float]], marks: Iterable[tuple[float, str]]) -> Options:
    """Acceptance over time with its interval, and marks (Unix s, words) as lines across."""
    at = [point["at_s"] * 1000 for point in points]
    lows = [point["low"] for point in points]
    widths = [max(0.0, point["high"] - point["low"]) for point in points]
    invisible = {"lineStyle": {"opacity": 0}, "symbol": "none", "stack": "interval", "silent": True}
    alpha = _line("acceptance α", [(t, point["alpha"]) for t, point in zip(at, points, strict=True)], BLUE)
    alpha["showSymbol"] = len(points) < 3
    alpha["markLine"] = {
        "symbol": "none",
        "lineStyle": {"color": RED, "type": "dashed"},
        "label": {"formatter": "{b}", "color": RED, "position": "insideEndTop"},
        "data": [{"name": words, "xAxis": at_s * 1000} for at_s, words in marks],
    }
    return {
        **_frame(legend=False),
        "xAxis": _time_axis(at),
        "yAxis": {**_value_axis(""), "min": 0, "max": 1},
        "series": [
            {"type": "line", "name": "low", "data": [list(one) for one in zip(at, lows, strict=True)], **invisible},
            {
                "type": "line",
                "name": "interval",
                "data": [list(one) for one in zip(at, widths, strict=True)],
                "areaStyle": {"color": BLUE, "opacity": 0.18},
                **invisible,
            },
            alpha,
        ],
    }


def survival(curves: Mapping[str, Mapping[str, Any]]) -> Options:
    """P(the first i drafts hold) by position; intervals are drawn of a curve that is alone."""
    drawn: list[Options] = []
    longest = max((len(curve["survival"]) for curve in curves.values()), default=1)
    for colour, (name, curve) in zip(PALETTE * 10, curves.items(), strict=False):
        held = curve["survival"]
        one = _line(name, [(float(i), value) for i, value in enumerate(held, 1)], colour)
        one.update(data=held, showSymbol=True, symbolSize=6)
        drawn.append(one)
        if len(curves) == 1:
            drawn += _interval(curve.get("survival_intervals") or [], colour)
    return {
        **_frame(legend=len(curves) > 1),
        "xAxis": {"type": "category", "data": [str(i) for i in range(1, longest + 1)], **_axis()},
        "yAxis": {**_value_axis(""), "min": 0, "max": 1},
        "series": drawn,
    }


def pairs(names: Sequence[str], now: Sequence[float], then: Sequence[float], unit: str) -> Options:
    """Two bars per name: as it is now, as it would be then."""
    return {
        **_frame(legend=True),
        "xAxis": {"type": "category", "data": list(names), **_axis()},
        "yAxis": _value_axis(unit),
        "series": [
            {"name": "now", "type": "bar", "data": list(now), "itemStyle": {"color": GREY}, "barMaxWidth": 28},
            {"name": "then", "type": "bar", "data": list(then), "itemStyle": {"color": BLUE}, "barMaxWidth": 28},
        ],
    }


def forest(rows: Sequence[Mapping[str, Any]]) -> Options:
    """Change of the predicted time per token by task, per cent with its interval: left of 0 is faster.

    A row has `task`, `ratio`, `low` and `high` (then over now).
    """
    ordered = sorted(rows, key=lambda row: -float(row["ratio"]))
    names = [row["task"] or "all tasks" for row in ordered]
    return {
        **_frame(legend=False),
        "grid": {"left": 8, "right": 24, "top": 8, "bottom": 8, "containLabel": True},
        "xAxis": {**_value_axis(""), "axisLabel": {"color": GREY, "formatter": "{value} %"}},
        "yAxis": {"type": "category", "data": names, **_axis()},
        "series": [
            {
                "type": "line",
                "silent": True,
                "symbol": "none",
                "data": [],
                "markLine": {"symbol": "none", "silent": True, "label": {"show": False}, "data": [{"xAxis": 0}]},
            },
            *(_whisker(name, row) for name, row in zip(names, ordered, strict=True)),
        ],
    }


def _whisker(name: str, row: Mapping[str, Any]) -> Options:
    low, middle, high = ((float(row[part]) - 1) * 100 for part in ("low", "ratio", "high"))
    colour = GREEN if high < 0 else RED if low > 0 else GREY
    return {
        "type": "line",
        "name": name,
        "data": [[round(value, 2), name] for value in (low, middle, high)],
        "lineStyle": {"color": colour, "width": 2},
        "itemStyle": {"color": colour},
        "symbol": "circle",
        "symbolSize": 7,
    }


def _interval(intervals: Sequence[Sequence[float]], colour: str) -> list[Options]:
    hidden = {"type": "line", "lineStyle": {"opacity": 0}, "symbol": "none", "stack": "interval", "silent": True}
    widths = [high - low for low, high in intervals]
    area = {"areaStyle": {"color": colour, "opacity": 0.18}}
    return [
        {**hidden, "name": "low", "data": [low for low, _ in intervals]},
        {**hidden, "name": "interval", "data": widths, **area},
    ]


def _line(name: str, points: Points, colour: str | None = None) -> Options:
    return {
        "type": "line",
        "name": name,
        "data": [list(point) for point in points],
        "showSymbol": len(points) < 2,
        "lineStyle": {"width": 2, **({"color": colour} if colour else {})},
        **({"itemStyle": {"color": colour}} if colour else {}),
    }


def _frame(*, legend: bool) -> Options:
    return {
        "backgroundColor": "transparent",
        "color": PALETTE,
        "useUTC": True,
        "animation": False,
        "textStyle": {"fontFamily": "inherit", "color": GREY},
        "grid": {"left": 8, "right": 16, "top": 36 if legend else 24, "bottom": 8, "containLabel": True},
        "tooltip": {"trigger": "axis", "confine": True},
        "legend": {"show": legend, "type": "scroll", "top": 0, "textStyle": {"color": GREY}},
    }


def _axis() -> Options:
    return {
        "axisLabel": {"color": GREY, "hideOverlap": True},
        "axisLine": {"lineStyle": {"color": _LINE}},
        "axisTick": {"show": False},
        "nameTextStyle": {"color": GREY},
    }


def _time_axis(at_ms: Collection[float]) -> Options:
    """Around a single point ten minutes each way: left alone, the axis would span two days."""
    limits = {"min": min(at_ms) - ALONE_MS, "max": max(at_ms) + ALONE_MS} if len(at_ms) == 1 else {}
    return {"type": "time", **_axis(), "splitLine": {"show": False}, **limits}


def _value_axis(unit: str) -> Options:
    return {
        "type": "value",
        "name": unit,
        **_axis(),
        "nameTextStyle": {"color": GREY, "align": "left"},
        "splitLine": {"lineStyle": {"color": _LINE}},
    }
