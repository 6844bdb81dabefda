"""The committed comparison: its plan, its files, and the tables of its README."""

from pathlib import Path

import pytest

from bench.policy.measure import Estimate
from bench.policy.protocol import CALIBRATIONS, entrants, scenarios
from bench.policy.report import COLUMNS, Row
from bench.policy.rivals import over_best
from bench.policy.sheet import Sheet, short
from bench.policy.standing import (
    FOLDER,
    PAGE,
    all_figures,
    keep,
    keep_text,
    main,
    plan,
    racers,
    read,
    rows_of,
    write_up,
)
from bench.policy.tables import rewritten


@pytest.mark.parametrize("calibration", CALIBRATIONS)
def test_the_plan_is_the_whole_protocol(calibration: str) -> None:
    """Every scenario of the protocol is run, ours among the entrants, all of them known by name."""
    assert plan(calibration).keys() == scenarios(calibration, 10).keys()
    for name in plan(calibration):
        assert "adaptive" in racers(calibration, name)
        assert len(entrants(racers(calibration, name))) == len(racers(calibration, name)) + 2


def test_the_committed_tables_are_of_the_committed_figures() -> None:
    """Writing the README's tables anew from the files beside it changes nothing."""
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    files = all_figures(FOLDER)
    assert rewritten(readme, files) == readme
    page = PAGE.read_text(encoding="utf-8")
    assert "<!-- /simulated -->" in page
    assert rewritten(page, files) == page
    files["cpu-demo"]["cpu-demo/load20"]["adaptive"]["cold_start_regret"]["value"] = 0.5
    assert "**50**" in rewritten(readme, files)


def test_a_static_k_that_is_faster_than_ours_is_said_to_be() -> None:
    """The best one in hindsight is named, and ours below it is bold, on the same replicas and on ours."""
    figures = read(FOLDER / "h100-8b-eagle.json")
    sheet = Sheet("h100-8b-eagle", figures)
    for name, speedup in (("static_k1", 1.1), ("static_k2", 1.4), ("static_k3", 1.3), ("static_k4", 1.0)):
        figures["h100-8b-eagle/load20"][name]["speedup"]["value"] = speedup
    figures["h100-8b-eagle/load20"]["adaptive"]["speedup"]["value"] = 1.33
    figures["h100-8b-eagle/load20"]["adaptive_no_vanilla"]["speedup"]["value"] = 1.47
    assert over_best("adaptive")(sheet).startswith("**−5.0** (k=2), ")
    assert over_best("adaptive_no_vanilla")(sheet).startswith("+5.0 (k=2), ")


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


def test_pictures_are_of_the_loads_and_wait_for_them(tmp_path: Path) -> None:
    """A folder with another scenario alone gets no picture, one with a load does."""
    rows = [Row("adaptive", {name: Estimate(1.0, 0.5, 1.5) for name in COLUMNS}, "")]
    keep(tmp_path / "cpu-demo.json", "cpu-demo/bursts", rows)
    write_up(tmp_path)
    assert not (tmp_path / "cpu-demo.png").exists()
    keep(tmp_path / "cpu-demo.json", "cpu-demo/load50", rows)
    write_up(tmp_path)
    assert (tmp_path / "cpu-demo.png").stat().st_size > 1000


def test_a_name_that_is_none_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """It is named beside what there is."""
    assert main(["cpu-demo/load21"]) == 2
    assert "cpu-demo/load21" in capsys.readouterr().err


@pytest.mark.parametrize(("value", "says"), [(0.04, ".0"), (-0.04, ".0"), (0.96, "1.0"), (-12.3, "−12"), (9.96, "10")])
def test_figures_are_short(value: float, says: str) -> None:
    """One decimal below ten, no zero before the point."""
    assert short(value) == says
