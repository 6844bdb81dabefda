"""The figures of one calibration, and how a cell of a table shows one."""

from collections.abc import Callable

Figures = dict[str, dict[str, dict[str, dict[str, float | None]]]]
"""scenario → policy → figure → value, low, high."""

LOADS = ("load20", "load50", "load80", "load110")


class Sheet:
    """The figures of one calibration, by scenario, policy and name."""

    def __init__(self, calibration: str, figures: Figures) -> None:
        self.calibration, self.figures = calibration, figures

    def has(self, scenario: str, policy: str = "adaptive") -> bool:
        """Whether that policy ran in that scenario."""
        return policy in self.figures.get(f"{self.calibration}/{scenario}", {})

    def value(self, scenario: str, name: str, policy: str = "adaptive", part: str = "value") -> float:
        """One figure, nan where the scenario does not show it."""
        found = self.figures[f"{self.calibration}/{scenario}"][policy][name][part]
        return float("nan") if found is None else found

    def percent(self, scenario: str, name: str, policy: str = "adaptive", part: str = "value") -> float:
        """A regret in %, or a ratio in % above 1."""
        value = self.value(scenario, name, policy, part)
        return 100 * (value if "regret" in name else value - 1)

    def ahead(self, scenario: str, ours: str, theirs: str) -> float:
        """By how much ours is faster, in %."""
        return 100 * (self.value(scenario, "speedup", ours) / self.value(scenario, "speedup", theirs) - 1)


Cell = Callable[[Sheet], str]


def short(value: float, sign: bool = False) -> str:
    """One decimal below ten and of differences, none above; no zero before the point, a true minus."""
    digits = 0 if abs(value) >= 9.95 and not sign else 1
    text = f"{abs(value):.{digits}f}".removeprefix("0") if abs(value) < 0.95 else f"{abs(value):.{digits}f}"
    small = float(f"{value:.{digits}f}")
    return ("−" if small < 0 else "+" if sign else "") + text


def judged(value: float, missed: bool, sign: bool = False, more: str = "") -> str:
    """A figure, bold where it misses."""
    return f"**{short(value, sign)}**{more}" if missed else short(value, sign)
