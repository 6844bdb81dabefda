"""What `alpharoute policy` shows as tables."""

from rich.table import Table
from rich.text import Text

from router.commands.client import Row, moment, share


def canary_table(found: Row) -> Table:
    """How a canary goes beside the rest."""
    trial, report = found["trial"], found["report"]
    title = f"Version {trial['version']} serves {share(trial['share'])} as a canary since {moment(trial['since_s'])}"
    table = Table("", "requests", "ms per token", "p99", "errors", "guard trips", title=title)
    for name in ("rest", "canary"):
        arm = report[name]
        times = (arm["ms_per_token"], arm["p99_ms_per_token"])
        cells = (f"{ms:.2f}" if arm["measured"] else "–" for ms in times)
        table.add_row(name, str(arm["requests"]), *cells, str(arm["errors"]), str(arm["guard_trips"]))
    table.caption = _verdict(report)
    return table


def _verdict(report: Row) -> str:
    """What the comparison comes to; nothing measured is no equality."""
    if report["fault"]:
        return f"it must stop: {report['fault']}"
    if not (report["rest"]["measured"] and report["canary"]["measured"]):
        return "too few requests were measured to compare them"
    return f"slower by {report['slower']:+.1%} ({report['low']:+.1%} to {report['high']:+.1%}); no fault"


def comparison_table(title: str, found: Row) -> Table:
    """What a policy would change, or has, by task."""
    table = Table(
        "task", "decisions", "other pool", "other k", "mean k", "ms per token", "time then / now", title=title
    )
    for row in [*found["tasks"], found["total"]]:
        k, ms = row["mean_k"], row["ms_per_token"]
        table.add_row(
            row["task"] or "all",
            str(row["decisions"]),
            share(row["pool_changed"]),
            share(row["k_changed"]),
            f"{k[0]:.1f} → {k[1]:.1f}",
            f"{ms[0]:.2f} → {ms[1]:.2f}",
            f"{row['ratio']:.3f} ({row['low']:.3f}–{row['high']:.3f})",
            style="bold" if not row["task"] else "",
        )
    return table


def changes_table(rows: list[Row]) -> Table:
    """What differs, field by field."""
    table = Table("field", "before", "after")
    for row in rows:
        table.add_row(Text(row["path"]), Text(_said(row["before"]), style="red"), Text(_said(row["after"]), "green"))
    return table


def _said(value: object) -> str:
    return "–" if value is None else str(value)
