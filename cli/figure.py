"""Curves as a PNG, SVG or PDF: needs matplotlib, which comes with the extra `plot`.

No window is opened, and the same input gives the same bytes: no dates, no random ids, nothing of
the user's matplotlibrc. Runs differ in colour, in line and in marker, so that a plot can be read in
grey and by everybody.

Source: Okabe and Ito, Color Universal Design (jfly.uni-koeln.de/color): the palette.
"""

import warnings
from collections.abc import Sequence
from io import BytesIO
from typing import Any

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, PercentFormatter

from cli.curves import Curve, Shares

BLUE, VERMILION, GREEN, ORANGE = "#0072B2", "#D55E00", "#009E73", "#E69F00"
PURPLE, SKY, YELLOW, BLACK, GREY = "#CC79A7", "#56B4E9", "#F0E442", "#000000", "#999999"
COLOURS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, BLACK)
PHASE_COLOURS = (SKY, BLUE, GREEN, YELLOW, ORANGE, VERMILION, GREY, PURPLE)
# Another number than of colours: with both, 35 runs can be told apart.
LINES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.5, 1)), (0, (6, 1.5, 1.5, 1.5)), (0, (10, 2)))
MARKERS = ("o", "s", "^", "D", "v")

SIZE_INCHES = (8.0, 4.8)
ROW_INCHES = 2.4  # of each further run, where each has axes of its own
DPI = 150
LEGEND_CHARACTERS = 85  # that fit side by side
NAME_CHARACTERS = 60  # of a run in a legend
THOUSAND = 1000  # from here on digits are grouped
WHOLE = 10  # from here on an axis has no fractions
SETTINGS = {
    "font.size": 10.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "text.parse_math": False,  # a dollar in a name is one
    "figure.constrained_layout.h_pad": 0.08,
    "figure.constrained_layout.w_pad": 0.12,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.6,
    "savefig.dpi": DPI,
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "gradflock",
    "pdf.fonttype": 42,
}
METADATA: dict[str, dict[str, None]] = {
    "png": {"Software": None},
    "svg": {"Date": None},
    "pdf": {"CreationDate": None},
}


def draw_curves(
    curves: Sequence[Curve], x_label: str, y_label: str, kind: str, *, from_zero: bool
) -> bytes:
    """Draw the curves of some runs over each other, and give the file."""
    with style.context(["default", SETTINGS]):
        figure = Figure(figsize=SIZE_INCHES, layout="constrained")
        axes = figure.subplots()
        for place, curve in enumerate(curves):
            _draw_curve(axes, curve, place, is_crowd=len(curves) > 1)
        axes.set(xlabel=x_label, ylabel=y_label)
        axes.margins(x=0.015)
        if from_zero:
            axes.set_ylim(bottom=0)
        if axes.get_ylim()[1] >= THOUSAND:
            axes.yaxis.set_major_formatter("{x:,.0f}")
        _count_on(axes)
        _legend(figure, _entries(curves))
        return _file(figure, kind)


def draw_shares(runs: Sequence[Shares], x_label: str, kind: str) -> bytes:
    """Draw what runs spend their time on, below each other, and give the file."""
    phases = list(dict.fromkeys(phase for run in runs for phase in run.shares))
    colours = {
        phase: PHASE_COLOURS[place % len(PHASE_COLOURS)] for place, phase in enumerate(phases)
    }
    with style.context(["default", SETTINGS]):
        width, height = SIZE_INCHES
        size = (width, height + ROW_INCHES * (len(runs) - 1))
        figure = Figure(figsize=size, layout="constrained")
        rows = figure.subplots(len(runs), 1, sharex=True, squeeze=False)[:, 0]
        end = max(run.xs[-1] for run in runs)
        for axes, run in zip(rows, runs, strict=True):
            names = list(run.shares)
            xs = [0.0, *run.xs]  # a column reaches back to the one before
            ys = [[share[0], *share] for share in run.shares.values()]
            axes.stackplot(
                xs, ys, step="pre", colors=[colours[name] for name in names], linewidth=0
            )
            axes.set(ylabel="share of the time", ylim=(0, 1), xlim=(0, end))
            axes.yaxis.set_major_formatter(PercentFormatter(1))
            axes.set_title(_shortened(run.name), fontsize="medium", loc="left")
            _count_on(axes)
        rows[-1].set_xlabel(x_label)
        swatches = [
            Line2D([], [], color=colour, linewidth=7, label=phase)
            for phase, colour in colours.items()
        ]
        _legend(figure, swatches)
        return _file(figure, kind)


def _draw_curve(axes: Axes, curve: Curve, place: int, *, is_crowd: bool) -> None:
    colour = COLOURS[place % len(COLOURS)]
    line = LINES[place % len(LINES)]
    if curve.raw:
        axes.plot(*_columns(curve.raw), color=colour, alpha=0.2, linewidth=0.7)
    is_alone = len(curve.points) == 1  # a line of one point is not seen
    axes.plot(
        *_columns(curve.points),
        color=colour,
        linestyle=line,
        linewidth=1.5 if curve.raw else 1.0,
        marker="." if is_alone else "",
    )
    if curve.marks:
        axes.plot(
            *_columns(curve.marks),
            color=colour if is_crowd else VERMILION,
            linestyle=(0, (4, 2)),
            linewidth=1.0,
            marker=MARKERS[place % len(MARKERS)],
            markersize=6,
            markeredgecolor="white",
            markeredgewidth=0.8,
            zorder=3,
        )


def _entries(curves: Sequence[Curve]) -> list[Line2D]:
    """Give the legend: the runs, then what the marks and the faint lines are."""
    entries = [
        Line2D(
            [],
            [],
            color=COLOURS[place % len(COLOURS)],
            linestyle=LINES[place % len(LINES)],
            linewidth=1.8,
            label=_shortened(curve.name),
        )
        for place, curve in enumerate(curves)
    ]
    if any(curve.marks for curve in curves):
        colour = VERMILION if len(curves) == 1 else BLACK
        entries.append(
            Line2D([], [], color=colour, linestyle=(0, (4, 2)), marker="o", label="held-out loss")
        )
    if any(curve.raw for curve in curves):
        entries.append(Line2D([], [], color=BLACK, alpha=0.3, linewidth=0.8, label="single steps"))
    return entries


def _legend(figure: Figure, entries: Sequence[Line2D]) -> None:
    """Put it above the axes, where it covers no curve."""
    longest = max(len(str(entry.get_label())) for entry in entries)
    columns = max(1, min(len(entries), LEGEND_CHARACTERS // (longest + 6)))
    figure.legend(
        handles=list(entries),
        loc="outside upper center",
        ncols=columns,
        frameon=False,
        handlelength=3.2,
    )


def _count_on(axes: Axes) -> None:
    _, end = axes.get_xlim()
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=end >= WHOLE))
    axes.xaxis.set_major_formatter("{x:,.10g}")


def _shortened(name: str) -> str:
    """Give a name whose middle is left out if it is long: dates and numbers stand at the ends."""
    half = NAME_CHARACTERS // 2
    return name if len(name) <= NAME_CHARACTERS else f"{name[:half]} ... {name[-half:]}"


def _columns(points: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [x for x, _ in points], [y for _, y in points]


def _file(figure: Figure, kind: str) -> bytes:
    file = BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # a box in its place says enough
        figure.savefig(file, format=kind, metadata=METADATA[kind])
    return file.getvalue()
