"""Everything in a valid policy that looks like a slip: each with its path, the value, and what there is."""

from policies.deployment import Deployment, unknown_names
from policies.document import Document
from policies.errors import Problem
from policies.idle_pools import idle_pools
from policies.idle_rules import idle_rules, idle_windows
from policies.pool_reach import beyond_pools
from policies.unmet import aimless


def warnings_of(document: Document, deployment: Deployment | None = None) -> tuple[Problem, ...]:
    """What never decides anything; beside a deployment also what it has no name, no pool or no k for.

    None of it makes a policy wrong: what is named may be yet to come, and what is idle does no harm.
    """
    found = [*idle_rules(document), *idle_windows(document), *aimless(document)]
    if deployment is not None:
        found += [
            *unknown_names(document, deployment),
            *beyond_pools(document, deployment),
            *idle_pools(document, deployment),
        ]
    return tuple(found)


SHOWN_CHARS = 60


def said(warning: Problem) -> str:
    """A warning in a line: path, value, what is doubtful about it, the nearest right word, what there is."""
    value = repr(warning.value)
    shown = value if len(value) <= SHOWN_CHARS else f"{value[:SHOWN_CHARS]}…"
    hint = f"; did you mean {warning.nearest!r}?" if warning.nearest else ""
    there = f" (there are: {', '.join(warning.allowed)})" if warning.allowed else ""
    return f"{warning.path}: {shown}: {warning.message}{hint}{there}"
