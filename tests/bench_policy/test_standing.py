"""The committed comparison: its plan, its files, and the tables of its README."""

from pathlib import Path

import pytest

from bench.policy.measure import Estimate
from bench.policy.protocol import CALIBRATIONS, entrants, scenarios
from bench.policy.report import COLUMNS, Row
from bench.policy.standing import keep, keep_text, main, plan, racers, read, rows_of
from bench.policy.tables import short


@pytest.mark.parametrize("calibration", CALIBRATIONS)
def test_the_plan_is_the_whole_protocol(calibration: str) -> None:
    """Every scenario of the protocol is run, ours among the entrants, all of them known by name."""
    assert plan(calibration).keys() == scenarios(calibration, 10).keys()
    for name in plan(calibration):
        assert "adaptive" in racers(calibration, name)
        assert len(entrants(racers(calibration, name))) == len(racers(calibration, name)) + 2


def test_one_scenario_replaces_its_own_figures_only(tmp_path: Path) -> None:
    """What ran before stays; the order is the protocol's."""
    first, second = ([Row("adaptive", {name: Estimate(value, 0, 1) for name in COLUMNS}, "")] for value in (1.0, 2.0))
    for name, rows in (("cpu-demo/load50", first), ("cpu-demo/load20", first), ("cpu-demo/load50", second)):
        keep(tmp_path / "c.json", name, rows)
        keep_text(tmp_path / "c.txt", f"{name}: {rows[0].figures['regret'].value}\nrow")
    found = read(tmp_path / "c.json")
    assert list(found) == ["cpu-demo/load20", "cpu-demo/load50"]
    assert rows_of(found["cpu-demo/load50"]) == second
    assert (tmp_path / "c.txt").read_text().split("\n\n")[0] == "cpu-demo/load50: 2.0\nrow"


def test_a_name_that_is_none_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """It is named beside what there is."""
    assert main(["cpu-demo/load21"]) == 2
    assert "cpu-demo/load21" in capsys.readouterr().err


@pytest.mark.parametrize(("value", "says"), [(0.04, ".0"), (-0.04, ".0"), (0.96, "1.0"), (-12.3, "−12"), (9.96, "10")])
def test_figures_are_short(value: float, says: str) -> None:
    """One decimal below ten, no zero before the point."""
    assert short(value) == says
