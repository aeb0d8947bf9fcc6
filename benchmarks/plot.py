"""The drawing of a report (svg), by matplotlib."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.report import Bars, Report

_COLOURS = ("#1f6f8b", "#e0a458", "#7a9e7e", "#8d6a9f")


def draw(report: Report, target: Path) -> str | None:
    """Draw the bars of a report.

    Returns:
        Why not, or None.
    """
    try:
        import matplotlib as mpl
    except ImportError:
        return "no drawing: install matplotlib"
    mpl.use("svg")
    # The same figures make the same file.
    mpl.rcParams["svg.hashsalt"] = "benchmarks"
    from matplotlib import pyplot

    columns = 2 if len(report.bars) > 1 else 1
    lines = (len(report.bars) + columns - 1) // columns
    height = max(len(bars.groups) for bars in report.bars) * 0.42 + 1.1
    figure, panels = pyplot.subplots(
        lines, columns, figsize=(5.6 * columns, height * lines), squeeze=False
    )
    for panel, bars in zip(panels.flat, report.bars, strict=False):
        _draw_bars(panel, bars)
    for panel in list(panels.flat)[len(report.bars) :]:
        panel.remove()
    figure.tight_layout()
    figure.savefig(target, metadata={"Date": None, "Creator": None})
    pyplot.close(figure)
    return None


def _draw_bars(panel: Any, bars: Bars) -> None:
    thickness = 0.8 / len(bars.series)
    for number, (name, values) in enumerate(bars.series):
        places: list[float] = []
        lengths: list[float] = []
        errors: tuple[list[float], list[float]] = ([], [])
        for group, value in enumerate(values):
            if value is not None:
                places.append(group + (number - (len(bars.series) - 1) / 2) * thickness)
                lengths.append(value.median)
                errors[0].append(value.median - value.least)
                errors[1].append(value.greatest - value.median)
        panel.barh(
            places,
            lengths,
            thickness * 0.92,
            xerr=errors,
            label=name,
            color=_COLOURS[number % len(_COLOURS)],
            error_kw={"elinewidth": 0.8, "ecolor": "#444444"},
        )
    panel.set_yticks(range(len(bars.groups)), bars.groups)
    panel.invert_yaxis()
    panel.set_title(bars.title, fontsize=10)
    panel.set_xlabel(bars.unit)
    panel.spines[["top", "right"]].set_visible(False)
    if len(bars.series) > 1:
        panel.legend(fontsize=8, frameon=False, loc="lower right")
