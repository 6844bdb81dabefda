"""The console: one page that shows what the router knows, rendered here, without scripts or anything from elsewhere."""

import time
from collections.abc import Iterable, Sequence
from html import escape

from engines.registry import Heartbeat
from router.observe.overview import AcceptanceRow, DecisionRow

_STYLE = """
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif; }
body { max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem } h2 { font-size: 1.1rem; margin-top: 2rem }
.scroll { overflow-x: auto }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
th, td { text-align: left; padding: .25rem .75rem .25rem 0; border-bottom: 1px solid #8884; white-space: nowrap }
td.number, th.number { text-align: right }
meter { width: 6rem; vertical-align: middle }
.quiet { opacity: .7 }
"""

_PAGE = """<!doctype html>
<html lang="en"><head>
<meta charset="utf-8"><meta name="viewport" content="width=device-width"><meta http-equiv="refresh" content="5">
<title>Alpharoute</title><style>{style}</style>
</head><body><h1>Alpharoute</h1>
{body}
</body></html>
"""
_ENGINES = ("pool", "replica", "state", "drafter", "#k up to", "#running", "#waiting", "#KV")
_ACCEPTANCE = ("task", "temperature", "drafter", "#α", "", "survival", "#drafts")
_DECISIONS = ("time", "task", "#temperature", "pool", "#k", "reason", "#ms per token", "#vanilla")


def render(
    heartbeats: Sequence[Heartbeat],
    acceptance: Sequence[AcceptanceRow],
    decisions: Sequence[DecisionRow],
    synced_ago_s: float | None,
) -> bytes:
    """The page as UTF-8 HTML."""
    age = "has not been reached yet" if synced_ago_s is None else f"was read {synced_ago_s:.1f} s ago"
    parts = [
        f'<p class="quiet">What the routers share {age}. This page renews itself every 5 s.</p>',
        "<h2>Engines</h2>",
        _table(_ENGINES, map(_engine, heartbeats)),
        "<h2>Acceptance by task</h2>",
        _table(_ACCEPTANCE, map(_accepted, acceptance)),
        "<h2>Last decisions of this router</h2>",
        _table(_DECISIONS, map(_decision, decisions[:40])),
    ]
    return _PAGE.format(style=_STYLE, body="\n".join(parts)).encode()


def _engine(beat: Heartbeat) -> tuple[str, ...]:
    state = f"{beat.state} ({beat.phase})" if beat.phase else beat.state
    numbers = (str(beat.k_max), str(beat.running), str(beat.waiting), f"{beat.kv_usage:.0%}")
    return (_text(beat.pool), _text(beat.replica), _text(state), _text(beat.drafter or beat.method or "–"), *numbers)


def _accepted(row: AcceptanceRow) -> tuple[str, ...]:
    meter = f'<meter min="0" max="1" value="{row.alpha:.3f}">{row.alpha:.2f}</meter>'
    survival = " ".join(f"{share:.2f}" for share in row.survival)
    names = (_text(row.task), _text(row.temperature), _text(row.drafter.rsplit("/", 1)[-1]))
    return (*names, f"{row.alpha:.2f}", meter, survival, f"{row.drafts:.0f}")


def _decision(row: DecisionRow) -> tuple[str, ...]:
    clock = time.strftime("%H:%M:%S", time.localtime(row.at_s))
    vanilla = "–" if row.vanilla_ms_per_token is None else f"{row.vanilla_ms_per_token:.1f}"
    numbers = (f"{row.expected_ms_per_token:.1f}", vanilla)
    return (clock, _text(row.task), f"{row.temperature:g}", _text(row.pool), str(row.k), _text(row.reason), *numbers)


def _table(columns: Sequence[str], rows: Iterable[tuple[str, ...]]) -> str:
    """A table; a column whose name begins with # holds numbers."""
    classes = [' class="number"' if column.startswith("#") else "" for column in columns]
    head = "".join(f"<th{kind}>{_text(name.lstrip('#'))}</th>" for name, kind in zip(columns, classes, strict=True))
    lines = [
        "<tr>" + "".join(f"<td{kind}>{cell}</td>" for cell, kind in zip(row, classes, strict=True)) + "</tr>"
        for row in rows
    ]
    body = "".join(lines) or f'<tr><td colspan="{len(columns)}" class="quiet">nothing yet</td></tr>'
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _text(text: str) -> str:
    return escape(text)
