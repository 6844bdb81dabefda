"""`python -m bench.policy.standing`: the committed comparison anew, as JSON, text, pictures and the tables of its
README."""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

import orjson

from bench.policy.measure import Estimate
from bench.policy.plot import draw
from bench.policy.protocol import CALIBRATIONS, STATIC, TUNED, entrants, scenarios
from bench.policy.report import Row, compare, table
from bench.policy.scenario import Scenario
from bench.policy.sheet import Figures
from bench.policy.tables import rewritten
from bench.provenance import provenance

FOLDER = Path("bench/results/policy")
PAGE = Path("docs/benchmarks.md")
"""It has one of the tables."""
SEEDS = (201, 202, 203, 204, 205)
"""Nothing was tuned on these."""

REQUESTS = {
    "cpu-demo": (1500, 1200, 1000),
    "h100-8b-eagle": (2000, 1200, 1000),
    "h100-8b-eagle-ngram": (1500, 1000, 800),
}
"""Of the loads, of what changes or is mislabelled, and of `SHORTER`."""
SHORTER = frozenset({"bursts", "routers4", "slow_replica", "two_vanilla"})

PROVENANCE = "provenance.json"
LONG, LONG_REQUESTS, LONG_LOADS = "h100-8b-eagle-long", 10_000, ("load80", "load110")


def plan(calibration: str) -> dict[str, Scenario]:
    """The scenarios of a calibration with as many requests as the committed figures have."""
    loads, most, shorter = REQUESTS[calibration]
    found = {}
    for name in scenarios(calibration, loads):
        requests = loads if name.startswith("load") else shorter if name in SHORTER else most
        found[name] = scenarios(calibration, requests)[name]
    return found


def racers(calibration: str, name: str) -> tuple[str, ...]:
    """Who runs beside vanilla and the oracle: whoever a target names in that scenario."""
    if name.startswith("noise"):
        return ("label_oracle", "adaptive")
    if not name.startswith("load"):
        return ("adaptive",)
    found = ["adaptive", "adaptive_no_vanilla", *STATIC, "vllm_schedule", "article_threshold", TUNED[calibration]]
    if (calibration, name) == ("cpu-demo", "load20"):
        found.append("observe_only")
    return tuple(found)


def run(calibration: str, names: list[str], folder: Path) -> None:
    """Run scenarios of one calibration, each written when it ends: a run that was cut short is gone on with by name."""
    for name, scenario in plan(calibration).items():
        if names and name not in names:
            continue
        rows = compare(scenario, entrants(racers(calibration, name)), SEEDS)
        text = table(f"{scenario.name}: {scenario.requests} requests, seeds {list(SEEDS)}", rows)
        print(text + "\n", flush=True)
        keep(folder / f"{calibration}.json", scenario.name, rows)
        keep_text(folder / f"{calibration}.txt", text)
        tell(folder / PROVENANCE, scenario.name)


def run_long(folder: Path) -> None:
    """Runs that are long enough for batches to settle: the loads above begin with empty engines and end in seconds."""
    for load in LONG_LOADS:
        scenario = scenarios("h100-8b-eagle", LONG_REQUESTS)[load]
        racers = ("adaptive", "adaptive_no_vanilla", *STATIC[:3], "vllm_schedule", TUNED["h100-8b-eagle"])
        rows = compare(scenario, entrants(racers), SEEDS[:1])
        print(table(f"{LONG}: {LONG_REQUESTS} requests, seed {SEEDS[0]}", rows) + "\n", flush=True)
        keep(folder / f"{LONG}.json", scenario.name, rows)
        tell(folder / PROVENANCE, f"{LONG}/{load}")


def tell(path: Path, name: str) -> None:
    """Note where one scenario's figures come from: command, seeds, commit, versions, machine."""
    found: dict[str, object] = orjson.loads(path.read_bytes()) if path.is_file() else {}
    found[name] = {"seeds": SEEDS[:1] if name.startswith(LONG) else SEEDS, **provenance()}
    path.write_bytes(orjson.dumps(found, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE | orjson.OPT_SORT_KEYS))


def keep(path: Path, name: str, rows: list[Row]) -> None:
    """Put one scenario's figures into a file of many, in the protocol's order."""
    found = read(path) | {name: {row.policy: row.as_json() for row in rows}}
    order = [f"{c}/{s}" for c in CALIBRATIONS for s in scenarios(c, LONG_REQUESTS)]
    plain = {key: found[key] for key in order if key in found}
    path.write_bytes(orjson.dumps(plain, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


def keep_text(path: Path, text: str) -> None:
    """Replace the paragraph that begins as this one does, or add it."""
    parts = path.read_text(encoding="utf-8").rstrip().split("\n\n") if path.is_file() else []
    name = text.partition(":")[0]
    at = next((i for i, part in enumerate(parts) if part.partition(":")[0] == name), len(parts))
    parts[at : at + 1] = [text]
    path.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def read(path: Path) -> Figures:
    """The figures of a file, none where there is none yet."""
    found: Figures = orjson.loads(path.read_bytes()) if path.is_file() else {}
    return found


def all_figures(folder: Path) -> dict[str, Figures]:
    """What the tables are made of: the figures by calibration, and those of the long runs as `long`."""
    names = {calibration: calibration for calibration in CALIBRATIONS} | {"long": LONG}
    return {key: read(folder / f"{name}.json") for key, name in names.items()}


def picture(figures: Figures, path: Path) -> None:
    """Draw the loads, if they ran."""
    loads = {name: rows_of(policies) for name, policies in figures.items() if "/load" in name}
    if loads:
        draw(loads, path)


def rows_of(policies: Mapping[str, Mapping[str, Mapping[str, float | None]]]) -> list[Row]:
    """The rows that were written, without their worst tasks' names."""

    def number(value: float | None) -> float:
        return float("nan") if value is None else value

    return [
        Row(policy, {name: Estimate(*(number(v) for v in one.values())) for name, one in figures.items()}, "")
        for policy, figures in policies.items()
    ]


def write_up(folder: Path) -> None:
    """Draw the pictures and put the tables into their pages, from what the files hold."""
    files = all_figures(folder)
    for calibration in CALIBRATIONS:
        picture(files[calibration], folder / f"{calibration}.png")
    for page in (folder / "README.md", *((PAGE,) if folder == FOLDER else ())):
        if page.is_file():
            page.write_text(rewritten(page.read_text(encoding="utf-8"), files), encoding="utf-8")


def main(arguments: list[str] | None = None) -> int:
    """Run what is named, everything if nothing is; 2 with the reason where a name is none."""
    parser = argparse.ArgumentParser(prog="python -m bench.policy.standing", description=__doc__)
    parser.add_argument("names", nargs="*", help=f"{', '.join(REQUESTS)}, one of their scenarios as C/S, or long")
    parser.add_argument("--folder", type=Path, default=FOLDER, help=f"where the files lie, default {FOLDER}")
    parser.add_argument("--no-runs", action="store_true", help="only pictures and tables, from the files as they are")
    options = parser.parse_args(arguments)
    known = [*REQUESTS, *(f"{c}/{s}" for c in REQUESTS for s in plan(c)), "long"]
    wrong = [name for name in options.names if name not in known]
    if wrong:
        print(f"bench.policy.standing: {wrong[0]!r}: not one of {', '.join(known)}", file=sys.stderr)
        return 2
    for calibration in REQUESTS if not options.no_runs else ():
        named = [name.partition("/")[2] for name in options.names if name.startswith(f"{calibration}/")]
        if named or calibration in options.names or not options.names:
            run(calibration, [] if calibration in options.names else named, options.folder)
    if not options.no_runs and (not options.names or "long" in options.names):
        run_long(options.folder)
    write_up(options.folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
