"""Numbers, times and identifiers as people read them; times are UTC, for operators of one service sit in many zones."""

import json
import time

NOT_KNOWN = "–"


def clock(at_s: float | None, now_s: float) -> str:
    """A Unix time: the time of day, with the date where that is another one."""
    if at_s is None:
        return NOT_KNOWN
    at, now = time.gmtime(at_s), time.gmtime(now_s)
    return time.strftime("%H:%M:%S" if at[:3] == now[:3] else "%Y-%m-%d %H:%M", at)


def ago(seconds: float) -> str:
    """How long ago, in the unit that fits."""
    if seconds < 90:
        return f"{max(0.0, seconds):.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    if seconds < 48 * 3600:
        return f"{seconds / 3600:.0f} h"
    return f"{seconds / 86400:.0f} d"


def figure(value: object, unit: str = "", digits: int = 1) -> str:
    """A number with thousands kept apart, without digits that tell nothing."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return NOT_KNOWN
    # Large figures lose their fraction, small ones keep what they have.
    shown = f"{value:,.0f}" if float(value).is_integer() or abs(value) >= 1000 else f"{value:,.{digits}f}"
    return f"{shown}\N{NO-BREAK SPACE}{unit}" if unit else shown


def percent(share: object, digits: int = 0) -> str:
    """A share of 1 as per cent."""
    if not isinstance(share, (int, float)):
        return NOT_KNOWN
    return f"{share * 100:.{digits}f}\N{NO-BREAK SPACE}%"


def change(ratio: float) -> str:
    """A ratio of times as faster or slower."""
    share = ratio - 1
    if abs(share) < 0.0005:
        return "no change"
    return f"{abs(share) * 100:.1f}\N{NO-BREAK SPACE}% {'slower' if share > 0 else 'faster'}"


def span(seconds: float) -> str:
    """A length of time, two units at most."""
    if seconds < 60:
        return f"{seconds:.1f}\N{NO-BREAK SPACE}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}\N{NO-BREAK SPACE}min {rest}\N{NO-BREAK SPACE}s"
    return f"{minutes // 60:,}\N{NO-BREAK SPACE}h {minutes % 60}\N{NO-BREAK SPACE}min"


def value_text(value: object) -> str:
    """A value of a policy document, short."""
    if value is None:
        return "unset"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (dict, list)):
        return json.dumps(value, ensure_ascii=False)
    return str(value)
