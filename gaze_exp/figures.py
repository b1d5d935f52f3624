"""The figures of the report, drawn by matplotlib without its global state. Degrees throughout."""

import io
import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

# Okabe and Ito's colours: told apart with every kind of colour vision.
MODEL_COLOUR = "#0072b2"
SECOND_COLOUR = "#e69f00"
CONSTANT_COLOUR = "#8a8f98"
INK = "#2b2f36"
FAINT = "#d9dde3"
# Pale to blue, without the near-black end on which numbers and lines drown.
ERROR_COLOURS = ListedColormap(colormaps["YlGnBu"](np.linspace(0.0, 0.75, 256)))

YAW_LABEL = "yaw (deg), + = image left"
PITCH_LABEL = "pitch (deg), + = up"
DOTS_PER_INCH = 150
WIDTH_INCH = 9.0
MOST_DOTS = 4000
MOST_NAMES = 60
FEWEST_SAMPLES = 5
MOST_BINS = 12
BIN_WIDTHS_DEG = (0.5, 1, 2, 2.5, 5, 10, 15, 30)


def png(figure: Figure) -> bytes:
    """A figure as the bytes of a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DOTS_PER_INCH)
    return buffer.getvalue()


def panels(num: int, *, width_inch: float = WIDTH_INCH, height_inch: float = 3.6) -> tuple[Figure, list[Axes]]:
    """A figure with axes side by side, in the report's style.

    Args:
        num: how many.
        width_inch: of the figure.
        height_inch: of the figure.
    """
    figure = Figure(figsize=(width_inch, height_inch), layout="constrained")
    FigureCanvasAgg(figure)
    panels: list[Axes] = list(figure.subplots(1, num, squeeze=False)[0])
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(CONSTANT_COLOUR)
        axes.tick_params(colors=INK, labelsize=9)
        axes.grid(color=FAINT, linewidth=0.6)
        axes.set_axisbelow(True)
    return figure, panels


def learning_curves(history: Sequence[Mapping[str, float]], *, constant_deg: float) -> Figure:
    """Loss and validation error against the epoch.

    Args:
        history: rows with `epoch`, epochs gone by with their fraction, and what was measured then.
        constant_deg: error of the constant baseline.

    Returns:
        The figure.
    """
    figure, (left, right) = panels(2)
    for key, colour in (("train/loss", MODEL_COLOUR), ("val/loss", SECOND_COLOUR)):
        epochs, values = _curve(history, key=key)
        _line(left, epochs, values, colour=colour, label=key.replace("val", "validation").replace("/", " "))
    left.set(xlabel="epoch", ylabel="loss", ylim=(0, None))
    epochs, values = _curve(history, key="val/angular_error")
    _line(right, epochs, values, colour=SECOND_COLOUR, label="validation error")
    _constant_line(right, constant_deg)
    right.set(xlabel="epoch", ylabel="angular error (deg)", ylim=(0, None))
    for axes in (left, right):
        axes.legend(frameon=False, fontsize=9)
        axes.set_xlim(left=0)
    return figure


def _line(axes: Axes, epochs: FloatArray, values: FloatArray, *, colour: str, label: str) -> None:
    """One curve, with dots while they can be told apart."""
    if len(values):
        axes.plot(epochs, values, color=colour, marker="o" if len(values) < 80 else "", markersize=3.5, label=label)


def _constant_line(axes: Axes, constant_deg: float) -> None:
    """The error of always answering the same."""
    axes.axhline(constant_deg, color=CONSTANT_COLOUR, linestyle="--", label=f"constant {constant_deg:.2f} deg")


def _curve(history: Sequence[Mapping[str, float]], *, key: str) -> tuple[FloatArray, FloatArray]:
    """Epochs gone by and values of one column, where it was measured."""
    cells = [(row["epoch"], row[key]) for row in history if key in row and math.isfinite(row[key])]
    epochs, values = np.array(cells, dtype=np.float64).reshape(-1, 2).T
    return epochs, values


def error_by_person(per_subject: Mapping[str, Mapping[str, object]], *, mean_deg: float, constant_deg: float) -> Figure:
    """Mean error of every person, smallest first.

    Args:
        per_subject: `mean` (None without samples) and `num` of each person.
        mean_deg: over all samples.
        constant_deg: error of the constant baseline.

    Returns:
        The figure; names are left out when there are too many to read.
    """
    known = [(float(str(p["mean"])), name, p["num"]) for name, p in per_subject.items() if p["mean"] is not None]
    known.sort()
    names = [f"{name}  (n = {num:,})" for _, name, num in known]
    has_names = len(known) <= MOST_NAMES
    figure, (axes,) = panels(1, height_inch=1.2 + 0.26 * len(known) if has_names else 5.0)
    places = np.arange(len(known))
    axes.barh(places, [mean for mean, _, _ in known], color=MODEL_COLOUR, height=0.72 if has_names else 1.0)
    axes.axvline(mean_deg, color=INK, linewidth=1.2, label=f"all samples {mean_deg:.2f} deg")
    axes.axvline(constant_deg, color=CONSTANT_COLOUR, linestyle="--", label=f"constant {constant_deg:.2f} deg")
    axes.set_yticks(places if has_names else [], names if has_names else [])
    axes.set(xlabel="mean angular error (deg)", ylim=(len(known) - 0.4, -0.6))
    axes.grid(visible=False, axis="y")
    if not has_names:
        axes.set_ylabel(f"{len(known)} persons, sorted")
    figure.legend(frameon=False, fontsize=9, ncols=2, loc="outside upper right")
    return figure


def error_by_direction(angles_deg: FloatArray, error_deg: FloatArray, *, of: str) -> Figure:
    """Mean error in cells of a direction, laid out as the camera sees the person.

    Args:
        angles_deg: (N, 2) pitch, yaw; rows that are not finite are left out.
        error_deg: (N,).
        of: whose direction, for the labels: gaze or head.

    Returns:
        The figure; a cell with fewer than five samples shows no mean and is hatched.
    """
    figure, (axes,) = panels(1, height_inch=5.4)
    known = np.isfinite(angles_deg).all(axis=1)
    pitch, yaw = angles_deg[known].T
    edges = (_bin_edges(pitch), _bin_edges(yaw))
    counts, _, _ = np.histogram2d(pitch, yaw, bins=edges)
    sums, _, _ = np.histogram2d(pitch, yaw, bins=edges, weights=error_deg[known])
    means = np.where(counts >= FEWEST_SAMPLES, sums / np.maximum(counts, 1), np.nan)
    shown = means[np.isfinite(means)]
    scale = Normalize(0, float(shown.max()) if len(shown) else 1.0)
    few = np.ma.masked_where((counts == 0) | (counts >= FEWEST_SAMPLES), counts)
    axes.pcolor(edges[1], edges[0], few, facecolor="none", edgecolor=CONSTANT_COLOUR, hatch="////", linewidth=0)
    mesh = axes.pcolormesh(edges[1], edges[0], np.ma.masked_invalid(means), cmap=ERROR_COLOURS, norm=scale)
    write_cells(axes, edges=edges, means=means, counts=counts, scale=scale)
    num_outside = len(pitch) - int(counts.sum())
    outside = f"; {num_outside:,} samples lie outside" if num_outside else ""
    axes.set(xlabel=f"{of} {YAW_LABEL}", ylabel=f"{of} {PITCH_LABEL}")
    axes.set_title(f"mean error in deg above the number of samples{outside}", fontsize=9, color=INK, loc="left")
    axes.set_xlim(edges[1][-1], edges[1][0])  # image left is on the left
    axes.grid(visible=False)
    figure.colorbar(mesh, ax=axes, label="mean angular error (deg)", shrink=0.9, pad=0.02).outline.set_visible(False)
    return figure


def _bin_edges(angles_deg: FloatArray) -> FloatArray:
    """Edges of at most a dozen bins of a round width, over all but the outermost thousandths."""
    low, high = np.quantile(angles_deg, [0.001, 0.999])
    fitting = (width for width in BIN_WIDTHS_DEG if math.ceil(high / width) - math.floor(low / width) <= MOST_BINS)
    width = next(fitting, BIN_WIDTHS_DEG[-1])
    first, last = math.floor(low / width), max(math.ceil(high / width), math.floor(low / width) + 1)
    return np.arange(first, last + 1) * float(width)


def write_cells(
    axes: Axes,
    *,
    edges: tuple[FloatArray, FloatArray],
    means: FloatArray,
    counts: FloatArray,
    scale: Normalize,
) -> None:
    """Write mean and number of samples into each coloured cell.

    Args:
        axes: where.
        edges: of the cells, down and across.
        means: (down, across), NaN where nothing is written.
        counts: (down, across).
        scale: of the colours.
    """
    centres = [(e[:-1] + e[1:]) / 2 for e in edges]
    for i, j in zip(*np.nonzero(np.isfinite(means)), strict=True):
        colour = "white" if scale(means[i, j]) > 0.75 else "#111111"
        text = f"{means[i, j]:.1f}\n{_short(int(counts[i, j]))}"
        axes.text(centres[1][j], centres[0][i], text, ha="center", va="center", fontsize=7, color=colour)


def _short(count: int) -> str:
    """A count in at most four letters: 940, 12k, 3.1M."""
    if count < 10_000:
        return str(count)
    return f"{count / 1e3:.0f}k" if count < 1_000_000 else f"{count / 1e6:.1f}M"


def error_distribution(error_deg: FloatArray, constant_error_deg: FloatArray) -> Figure:
    """Share of samples whose error is below a bound.

    Args:
        error_deg: (N,) of the model.
        constant_error_deg: (N,) of the constant baseline on the same samples.

    Returns:
        The figure.
    """
    figure, (axes,) = panels(1)
    shares = np.linspace(0, 1, 501)
    for errors, colour, style, label in (
        (error_deg, MODEL_COLOUR, "-", "model"),
        (constant_error_deg, CONSTANT_COLOUR, "--", "constant"),
    ):
        axes.plot(np.quantile(errors, shares), 100 * shares, color=colour, linestyle=style, label=label)
    for share, name in ((0.5, "median"), (0.95, "95th percentile")):
        value = float(np.quantile(error_deg, share))
        axes.plot(value, 100 * share, marker="o", color=MODEL_COLOUR, markersize=5)
        axes.annotate(
            f"{name} {value:.2f} deg",
            (value, 100 * share),
            xytext=(8, -11),
            textcoords="offset points",
            fontsize=9,
            color=INK,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1},
        )
    farthest = max(np.quantile(error_deg, 0.999), np.quantile(constant_error_deg, 0.99))
    axes.set(xlabel="angular error (deg)", ylabel="samples below (%)", ylim=(0, 101), xlim=(0, farthest + 0.1))
    axes.legend(frameon=False, fontsize=9, loc="lower right")
    return figure


def predicted_against_true(predicted_deg: FloatArray, target_deg: FloatArray) -> Figure:
    """Predicted against true pitch and yaw; on the diagonal they agree.

    Args:
        predicted_deg: (N, 2) pitch, yaw.
        target_deg: (N, 2) pitch, yaw.

    Returns:
        The figure; of many samples, an evenly spaced part is drawn.
    """
    figure, both = panels(2, height_inch=4.5)
    stride = math.ceil(len(predicted_deg) / MOST_DOTS)
    for index, (axes, label) in enumerate(zip(both, (PITCH_LABEL, YAW_LABEL), strict=True)):
        true, predicted = target_deg[:, index], predicted_deg[:, index]
        low, high = np.quantile(np.concatenate((true, predicted)), [0.001, 0.999])
        ends = (low - 0.5, high + 0.5)
        axes.plot(ends, ends, color=INK, linewidth=1)
        axes.scatter(true[::stride], predicted[::stride], s=5, color=MODEL_COLOUR, alpha=0.3, linewidths=0)
        axes.set(xlabel=f"true {label}", ylabel=f"predicted {label}", xlim=ends, ylim=ends, aspect="equal")
        bias = float(np.mean(predicted - true))
        axes.set_title(f"predicted minus true: {bias:+.2f} deg on average", fontsize=9, color=INK, loc="left")
    if stride > 1:
        figure.supxlabel(f"one of {stride:,} of {len(predicted_deg):,} samples", fontsize=9, color=INK)
    return figure
