"""Charts are plain data: what they draw is what they were given."""

import json

from router.console import charts


def test_lines_have_their_points_and_gaps() -> None:
    """A value that is not known is a gap; the axis begins where it is told."""
    options = charts.lines({"a": [(1.0, 2.0), (2.0, None)], "b": []}, "ms", low=0)
    assert [one["name"] for one in options["series"]] == ["a", "b"]
    assert options["series"][0]["data"] == [[1.0, 2.0], [2.0, None]]
    assert options["yAxis"]["min"] == 0
    assert options["legend"]["show"]


def test_a_single_moment_is_drawn_within_minutes() -> None:
    """Left alone the axis spans two days around it; two moments span their own time."""
    alone = charts.lines({"a": [(1e9, 2.0)], "b": [(1e9, 3.0)]}, "ms")["xAxis"]
    assert (alone["min"], alone["max"]) == (1e9 - charts.ALONE_MS, 1e9 + charts.ALONE_MS)
    assert "min" not in charts.lines({"a": [(1e9, 2.0), (2e9, 2.0)]}, "ms")["xAxis"]


def test_a_band_is_low_and_width() -> None:
    """ECharts stacks: the interval is drawn on its lower end. Drift is a line across, with its word."""
    point = {"at_s": 10.0, "alpha": 0.5, "low": 0.4, "high": 0.7, "drafts": 9.0}
    low, width, alpha = charts.band([point], [(10.5, "drift")])["series"]
    assert low["data"] == [[10_000.0, 0.4]]
    assert round(width["data"][0][1], 6) == 0.3
    assert alpha["data"] == [[10_000.0, 0.5]]
    assert alpha["markLine"]["data"] == [{"name": "drift", "xAxis": 10_500.0}]


def test_survival_of_one_record_has_its_interval() -> None:
    """Of several only the curves: bands on bands cannot be read."""
    curve = {"survival": [0.9, 0.5], "survival_intervals": [[0.8, 1.0], [0.4, 0.6]]}
    assert len(charts.survival({"a": curve})["series"]) == 3
    many = charts.survival({"a": curve, "b": {"survival": [0.4], "survival_intervals": [[0.3, 0.5]]}})
    assert [one["data"] for one in many["series"]] == [[0.9, 0.5], [0.4]]
    assert many["xAxis"]["data"] == ["1", "2"]
    assert charts.survival({})["series"] == []


def test_a_forest_is_coloured_by_what_is_certain() -> None:
    """Green where the whole interval is faster, red where it is slower, grey where it may be either."""
    rows = [
        {"task": "fast", "ratio": 0.8, "low": 0.7, "high": 0.9},
        {"task": "slow", "ratio": 1.2, "low": 1.1, "high": 1.3},
        {"task": "", "ratio": 1.0, "low": 0.9, "high": 1.1},
    ]
    drawn = {one["name"]: one for one in charts.forest(rows)["series"] if "name" in one}
    assert {name: one["lineStyle"]["color"] for name, one in drawn.items()} == {
        "fast": charts.GREEN,
        "slow": charts.RED,
        "all tasks": charts.GREY,
    }
    assert drawn["slow"]["data"] == [[10.0, "slow"], [20.0, "slow"], [30.0, "slow"]]


def test_options_are_json() -> None:
    """They go to the browser as they are: no NaN, no tuple keys."""
    options = [
        charts.pairs(["a"], [1], [2], "x"),
        charts.bars({"k = 4": 1.0}, "%"),
        charts.lines({"a": [(1.0, None)]}, "", high=1),
    ]
    for one in options:
        assert json.loads(json.dumps(one, allow_nan=False)) == one
