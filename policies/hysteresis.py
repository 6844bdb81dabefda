"""When to leave what a traffic class is used to: a better score is not enough, it must be better by more than its noise."""

from policies.document import Hysteresis
from policies.scoring import Option
from policies.words import Habit

CERTAIN = 0.5


def worth_changing(best: Option, kept: Option, rules: Hysteresis) -> bool:
    """True where `best` should replace `kept`: the gain beats max(gain, one standard error); leaving speculation is free."""
    if best.k == 0 and kept.k > 0:
        return True
    gain = kept.u_s / best.u_s - 1 if best.u_s > 0 else 0.0
    noise = (best.noise**2 + kept.noise**2) ** 0.5 * CERTAIN if best.k and kept.k else max(best.noise, kept.noise)
    if kept.k == 0 and best.k > 0 and kept.u_s / best.u_s * (1 - best.noise) <= rules.enter_bound:
        return False
    return gain > max(rules.gain, noise)


def settled(habit: Habit, now_s: float, rules: Hysteresis) -> bool:
    """True once a habit has lasted long enough, in time or in requests, to be changed."""
    return now_s - habit.since_s >= rules.dwell_s or habit.requests >= rules.dwell_requests
