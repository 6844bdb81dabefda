"""When to leave what a traffic class is used to: a better score is not enough, it must be better by more than its
noise."""

from policies.mechanisms import Hysteresis
from policies.scoring import Option


def worth_changing(best: Option, kept: Option, rules: Hysteresis) -> bool:
    """True where `best` should replace `kept`.

    Leaving speculation is free; entering it asks that even one standard error below the belief it would hardly be
    slower.
    """
    if best.u_s <= 0 or (best.k == 0 and kept.k > 0):
        return True
    gain = kept.u_s / best.u_s - 1
    if kept.k == 0 and best.k > 0 and (1 + gain) * (1 - best.noise) <= rules.enter_bound:
        return False
    return gain > rules.gain
