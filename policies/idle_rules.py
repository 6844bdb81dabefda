"""Rules and windows that never change anything: what they ask for never holds, or others decide it all in their place.

Every finding holds for any request; of what might matter after all nothing is said.
"""

from collections.abc import Iterator, Sequence

from policies.coverage import LISTS, covers
from policies.document import Document
from policies.errors import Problem
from policies.rules import Hours, Rule, Then, When, Window

RANGES = ("temperature", "prompt_tokens", "output_tokens", "load")
"""What rules ask a range of, from `_above` to `_at_most`."""

MOST = {"temperature_above": 2.0}
"""What no request has more of."""

LEAST = {"temperature_at_most": 0.0, "prompt_tokens_at_most": 0, "max_tokens_below": 2, "confidence_below": 1e-9}
"""What a bound must be for any request to keep to it."""

MOST_COMPARED = 300
"""Rules, or windows, up to which each is compared with each other: the time grows with the square."""

ALONE = ("pools", "objective", "priority", "temperature_max", "top_p_max")
"""What a rule sets that nothing else it sets has a part in; k and the mode have one in each other."""


def idle_rules(document: Document) -> Iterator[Problem]:
    """A warning for each rule that decides nothing, whatever the request."""
    rules = document.rules
    for i, rule in enumerate(rules):
        never = list(_never(f"rules.{i}.when", rule.when))
        yield from never or _without_effect(i, rules)
        if rule.when.hours is not None:
            yield from _round_the_clock(f"rules.{i}.when.hours", rule.when.hours)


def _never(path: str, when: When) -> Iterator[Problem]:
    """Why no request meets the conditions."""
    for name in LISTS:
        if getattr(when, name) == ():
            yield Problem(f"{path}.{name}", [], f"never holds: no {name} is listed; leave it out for all")
    for name in RANGES:
        above, at_most = getattr(when, f"{name}_above"), getattr(when, f"{name}_at_most")
        if above is not None and at_most is not None and above >= at_most:
            said = f"never holds: above {above!r} and at most {at_most!r}"
            yield Problem(f"{path}.{name}_above", above, said)
    for name, most in MOST.items():
        if (asked := getattr(when, name)) is not None and asked >= most:
            yield Problem(f"{path}.{name}", asked, f"never holds: no request has more than {most:g}")
    for name, least in LEAST.items():
        if (asked := getattr(when, name)) is not None and asked < least:
            yield Problem(f"{path}.{name}", asked, "never holds: no request has so little")
    if when.hours is not None and when.hours.days == ():
        yield Problem(f"{path}.hours.days", [], NO_DAY)


NO_DAY = "never opens: no day is listed; leave days out for every day"


def _without_effect(at: int, rules: Sequence[Rule]) -> Iterator[Problem]:
    rule, left = rules[at], set(_sets(rules[at].then))
    if not left:
        yield Problem(f"rules.{at}.then", {}, "changes nothing: it sets no field")
        return
    over = []
    for i in range(at + 1, len(rules) if len(rules) <= MOST_COMPARED else 0):
        if left & _sets_anew(rules[i].then) and covers(rules[i].when, rule.when):
            left -= _sets_anew(rules[i].then)
            over.append(f"rules.{i}")
    if not left:
        said = f"decides nothing: later rules win, and {' and '.join(over)} set all of it wherever it applies"
        yield Problem(f"rules.{at}", rule.name, said)


def _sets(then: Then) -> Iterator[str]:
    """What a rule sets; `off` is a mode that leaves no k, or a k of 0."""
    yield from (name for name in ALONE if getattr(then, name) is not None)
    off = then.wanted == "vanilla" or (then.k is not None and then.k.max == 0)
    if off:
        yield "off"
    if then.wanted is not None and not off:
        yield "mode"
    if then.k is not None and not off:
        yield "k"


def _sets_anew(then: Then) -> set[str]:
    """What is as a rule says wherever it applies, whatever rules before it said."""
    found = {name for name in ALONE if getattr(then, name) is not None}
    if then.wanted is not None:
        found.add("mode")
    if then.k is not None or then.wanted == "vanilla":
        found.add("k")
    if then.wanted == "vanilla" or (then.wanted is not None and then.k is not None):
        found.add("off")
    return found


def idle_windows(document: Document) -> Iterator[Problem]:
    """A warning for each window that never opens, or that caps nothing while another is open."""
    for i, window in enumerate(document.windows):
        path = f"windows.{i}"
        if window.days == ():
            yield Problem(f"{path}.days", [], NO_DAY)
        elif (stricter := _stricter(i, document.windows)) is not None:
            said = f"caps nothing: windows.{stricter} is open at the same hours and caps k at no more"
            yield Problem(f"{path}.k_max", window.k_max, said)
        yield from _round_the_clock(path, window)


def _stricter(at: int, windows: Sequence[Window]) -> int | None:
    """The window that leaves another nothing to cap; of two that are alike, the first."""
    own = windows[at]
    for i, other in enumerate(windows if len(windows) <= MOST_COMPARED else ()):
        wider = other.segment in (None, own.segment) and _hours(other) == _hours(own)
        alike = (other.k_max, other.segment) == (own.k_max, own.segment)
        if i != at and wider and other.k_max <= own.k_max and not (alike and i > at):
            return i
    return None


def _hours(window: Window) -> tuple[object, ...]:
    return tuple(getattr(window, name) for name in Hours.model_fields)


def _round_the_clock(path: str, hours: Hours) -> Iterator[Problem]:
    if hours.from_hour == hours.to_hour:
        said = "is from_hour too, so it is open for 24 hours; write 0 to 24 where that is meant"
        yield Problem(f"{path}.to_hour", hours.to_hour, said)
