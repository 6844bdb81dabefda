"""`python -m engines.demo`: build the demo pair, or measure how it drafts."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from engines.demo.build import DemoBuildError, DemoPair, build_demo_pair, default_folder
from engines.demo.recipe import FULL, QUICK
from engines.progress import reporting

_TEMPERATURES = (0.0, 0.7, 1.0)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the built folders are printed on standard output, progress on standard error."""
    options = _parser().parse_args(arguments)
    try:
        with reporting() as progress:
            pair = build_demo_pair(options.out, recipe=QUICK if options.quick else FULL, progress=progress)
    except DemoBuildError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if options.measure:
        _measure(pair, options.json, options.prompts)
    elif options.json:
        print(json.dumps({"target": str(pair.target), "draft": str(pair.draft), "fingerprint": pair.fingerprint}))
    else:
        print(f"target {pair.target}\ndraft  {pair.draft}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m engines.demo", description=__doc__)
    parser.add_argument("--out", type=Path, default=default_folder(), help="cache folder (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="an untrained pair of the same form, in seconds")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--measure", action="store_true", help="print the survival of drafts by task and temperature")
    parser.add_argument("--prompts", type=int, default=12, help="prompts per task to measure (default: %(default)s)")
    return parser


def _measure(pair: DemoPair, as_json: bool, prompts: int) -> None:
    from engines.demo.report import print_survival  # torch, only where it is used

    print_survival(pair, _TEMPERATURES, prompts, as_json)


if __name__ == "__main__":
    sys.exit(main())
