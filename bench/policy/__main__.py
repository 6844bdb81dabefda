"""`python -m bench.policy`: every policy side by side in virtual time, with the figures' intervals."""

import argparse
import sys
import time
from pathlib import Path

import orjson

from bench.policy.decisions import time_decisions
from bench.policy.plot import draw
from bench.policy.protocol import CALIBRATIONS, ENTRANTS, entrants, scenarios
from bench.policy.report import Row, compare, table
from bench.policy.scenario import Scenario, load_scenario

REQUESTS = 4000


def main(arguments: list[str] | None = None) -> int:
    """Parse, run, print; 2 with the reason on standard error where an option is wrong."""
    options = _parser().parse_args(arguments)
    if options.time_decisions:
        print(time_decisions(options.requests or REQUESTS, options.seed).line())
        return 0
    try:
        _check(options)
        chosen = _chosen(options)
        racers = entrants(tuple(options.policy or ()))
    except ValueError as error:
        print(f"bench.policy: {error}", file=sys.stderr)
        return 2
    seeds = [options.seed + i for i in range(options.seeds)]
    started = time.perf_counter()
    found: dict[str, list[Row]] = {}
    for name, scenario in chosen.items():
        try:
            found[name] = compare(scenario, racers, seeds, options.traces)
        except (OSError, ValueError) as error:
            print(f"bench.policy: {name}: {error}", file=sys.stderr)
            return 2
        print(table(f"{name}: {scenario.requests} requests, seeds {seeds}", found[name]) + "\n", flush=True)
    simulated = sum(chosen[name].requests * len(rows) * len(seeds) for name, rows in found.items())
    took_s = time.perf_counter() - started
    print(f"{took_s:.0f} s for {simulated:,} simulated requests: {took_s / simulated * 1e5:.0f} s per 100,000")
    if options.json:
        Path(options.json).write_bytes(as_json(found))
    if options.plot:
        draw(found, Path(options.plot))
    return 0


def as_json(found: dict[str, list[Row]]) -> bytes:
    """scenario → policy → figures, each with its interval."""
    plain = {name: {row.policy: row.as_json() for row in rows} for name, rows in found.items()}
    return orjson.dumps(plain, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def _check(options: argparse.Namespace) -> None:
    for name, least in (("requests", 10), ("seeds", 1), ("seed", 0)):
        value = getattr(options, name)
        if value is not None and value < least:
            raise ValueError(f"--{name} {value!r}: {least} or more")
    if options.traces and not Path(options.traces).is_file():
        raise ValueError(f"--traces {options.traces!r}: there is no such file")
    for name in ("json", "plot"):
        path = getattr(options, name)
        if path and not Path(path).absolute().parent.is_dir():
            raise ValueError(f"--{name} {path!r}: there is no such folder")


def _chosen(options: argparse.Namespace) -> dict[str, Scenario]:
    known = {
        s.name: s
        for c in (options.calibration or CALIBRATIONS)
        for s in scenarios(c, options.requests or REQUESTS).values()
    }
    if not options.scenario:
        return known
    picked: dict[str, Scenario] = {}
    for name in options.scenario:
        matching = {key: s for key, s in known.items() if name in (key, key.rsplit("/", 1)[-1])}
        if not matching and not name.endswith((".yaml", ".yml")):
            names = ", ".join(dict.fromkeys(key.rsplit("/", 1)[-1] for key in known))
            raise ValueError(f"scenario {name!r}: not a file and not one of {names}")
        if not matching:
            scenario = load_scenario(name)
            if options.requests:
                scenario = scenario.model_copy(update={"requests": options.requests})
            matching = {scenario.name: scenario}
        picked |= matching
    return picked


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.policy", description=__doc__)
    parser.add_argument("--requests", type=int, help="requests per run; default: a scenario file's own, else 4000")
    parser.add_argument("--seed", type=int, default=1, help="first seed")
    parser.add_argument("--seeds", type=int, default=5, help="how many seeds")
    parser.add_argument("--scenario", action="append", help="a name of the protocol or a YAML file; repeat for several")
    parser.add_argument(
        "--calibration", action="append", help="a shipped calibration or a YAML file; repeat for several"
    )
    parser.add_argument("--policy", action="append", help=f"one of {', '.join(e.name for e in ENTRANTS)}; repeat")
    parser.add_argument(
        "--traces",
        help="JSONL of recorded answers: task, prompt_tokens, accepted_if_verified_at[]; outweighs a scenario's",
    )
    parser.add_argument("--time-decisions", action="store_true", help="only time decisions, at 4 pools of 4 replicas")
    parser.add_argument("--json", help="write the figures to this file")
    parser.add_argument("--plot", help="draw the figures into this PNG")
    return parser


if __name__ == "__main__":
    sys.exit(main())
