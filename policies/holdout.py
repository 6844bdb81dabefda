"""Never slower than vanilla, and knowing it: a small randomised hold-out and an interval that may be read at any
time."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from policies.choice import Reason
from policies.event import Event
from policies.mechanisms import Guard
from policies.outcome import Outcome
from policies.records import AHEAD_S, Delta, Record, Shrink
from policies.request import Request

HALF_LIFE_S = 6 * 3600.0
"""What is kept decides what can be seen at all: a task with one request in five seconds holds out some fourteen an
hour. Changes are the drift alarm's part; this one finds that the model was wrong all along."""
MIXTURE = 0.2
"""ρ of the normal mixture: tightest near n ≈ 1/ρ² = 25 held out, what few requests reach."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Speculation against its hold-out: mean log ratio of time per token (positive: slower) and its always-valid lower
    bound."""

    mean: float
    low: float
    held_out: float


def canary_key(request: Request) -> str:
    """The record of a task's hold-out sums."""
    return f"canary:{request.model}|{request.task}"


def guard_key(request: Request) -> str:
    """The record of how long a task is off speculation."""
    return f"guard:{request.model}|{request.task}"


def held_out(choice_excess: float, rules: Guard, uniform: float) -> bool:
    """Whether this draw sends a speculative choice to vanilla; dear hold-outs are rarer, so that the cost stays in
    budget.

    `choice_excess` is vanilla's predicted time over the choice's, less 1. Draws from the top of [0, 1), as
    exploration draws
    from the bottom.
    """
    if not rules.enabled or choice_excess < -0.5:
        return False
    share = min(rules.hold_out, rules.budget / max(choice_excess, 1e-6))
    return uniform >= 1 - share


def canary_fields(outcome: Outcome) -> dict[str, float]:
    """The sums of one request: y = log(time per token / vanilla's prediction when it was decided), by arm.

    Dividing by the prediction takes out the load, which both arms share; it is fixed before the arm is drawn.
    """
    choice = outcome.choice
    if not outcome.timed or outcome.output_tokens < 2 or not choice.vanilla_tpot_s:
        return {}
    y = math.log(outcome.generation_s / (outcome.output_tokens - 1) / choice.vanilla_tpot_s)
    # At k = 0 only what the draw sent there: a class whose habit is vanilla was not drawn.
    if choice.reason not in ({Reason.HOLD_OUT} if choice.k == 0 else {Reason.FASTEST, Reason.HELD}):
        return {}
    arm = "0" if choice.k == 0 else "1"
    return {f"n{arm}": 1.0, f"y{arm}": y, f"q{arm}": y * y}


def verdict(fields: Mapping[str, float], rules: Guard) -> Verdict | None:
    """Compare the arms; None with fewer than two requests in either.

    Asymptotic confidence sequence of a mean (Waudby-Smith et al. 2021, normal mixture) on n = n0·n1/(n0 + n1).
    """
    n0, n1 = fields.get("n0", 0.0), fields.get("n1", 0.0)
    if n0 < 2 or n1 < 2:
        return None
    mean0, mean1 = fields["y0"] / n0, fields["y1"] / n1
    spread0 = max(0.0, fields["q0"] / n0 - mean0 * mean0)
    spread1 = max(0.0, fields["q1"] / n1 - mean1 * mean1)
    n = n0 * n1 / (n0 + n1)
    deviation = math.sqrt(n * (spread0 / n0 + spread1 / n1)) + 0.02
    wide, difference = radius(n, deviation, rules.confidence), mean1 - mean0
    return Verdict(difference, difference - wide, n0)


def radius(n: float, deviation: float, confidence: float) -> float:
    """Half the width of the normal mixture's confidence sequence after n observations of this standard deviation."""
    grown = n * MIXTURE * MIXTURE + 1
    return deviation * math.sqrt(2 * grown / (n * MIXTURE) ** 2 * math.log(math.sqrt(grown) / (1 - confidence)))


def off_delta(request: Request, state: Record, seconds: float, now_s: float) -> Delta:
    """Take the task off speculation: from now on, in place of any time before.

    Times that a wrong clock wrote must not outlast the next trip; of routers that trip together the first is heard.
    """
    return Delta(guard_key(request), {"+since": now_s, "+until": now_s + seconds}, shrink=Shrink(state.epoch, 0.0))


def is_off(fields: Mapping[str, float], now_s: float) -> bool:
    """True while a tripped guard keeps the task on vanilla; one that has not been yet was tripped by a wrong clock."""
    return fields.get("+since", 0.0) - AHEAD_S <= now_s < fields.get("+until", 0.0)


def tripped(found: Verdict | None, fields: Mapping[str, float], now_s: float) -> bool:
    """True where speculation is surely slower than its hold-out and the guard is not off already."""
    return found is not None and found.low > 0 and not is_off(fields, now_s)


def off_s(fields: Mapping[str, float], rules: Guard, now_s: float) -> float:
    """How long to stay off: `off_s`, or twice the last time where that ended within the longest time, up to
    `off_max_s`."""
    since, until = fields.get("+since", 0.0), fields.get("+until", 0.0)
    if since - AHEAD_S > now_s or now_s - until > rules.off_max_s:
        return rules.off_s
    return min(2 * (until - since), rules.off_max_s) or rules.off_s


def guard_event(request: Request, found: Verdict, epoch: int, seconds: float, now_s: float) -> Event:
    """The event of a tripped guard: one per epoch of the hold-out's sums."""
    slower = math.exp(found.mean) - 1
    against = f"its hold-out of {found.held_out:.0f} requests"
    detail = f"speculation was {slower:.0%} slower than {against}; off for {seconds:.0f} s"
    return Event("guard_tripped", f"{request.model}/{request.task}", now_s, detail, f"{canary_key(request)}@{epoch}")
