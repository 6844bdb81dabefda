"""The comparison as a picture: speed-up over vanilla of every policy, a panel per scenario."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl

from bench.policy.report import Row

mpl.use("Agg")

import matplotlib.pyplot as plt


def draw(found: Mapping[str, Sequence[Row]], path: Path) -> None:
    """Horizontal bars with intervals; ours dark, oracles grey."""
    columns = min(4, len(found))
    lines = -(-len(found) // columns)
    figure, axes = plt.subplots(
        lines, columns, figsize=(4.2 * columns, 3.0 * lines), squeeze=False, layout="constrained"
    )
    for axis in axes.flat[len(found) :]:
        axis.set_visible(False)
    for axis, (name, rows) in zip(axes.flat, found.items(), strict=False):
        ordered = sorted(rows, key=lambda row: row.figures["speedup"].value)
        values = [row.figures["speedup"] for row in ordered]
        colours = [
            "#1f4e79" if r.policy == "adaptive" else "#bbbbbb" if "oracle" in r.policy else "#7fa7cc" for r in ordered
        ]
        errors = [[v.value - v.low for v in values], [v.high - v.value for v in values]]
        axis.barh([row.policy for row in ordered], [v.value for v in values], xerr=errors, color=colours)
        axis.axvline(1.0, color="#aa3333", linewidth=1)
        axis.set_title(name, fontsize=9)
        axis.tick_params(labelsize=7)
        axis.set_xlabel("speed-up over vanilla", fontsize=7)
    figure.savefig(path, dpi=110)
    plt.close(figure)
