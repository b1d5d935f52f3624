"""The figures of a personal report: where on the screen each method looks, how far off, and how training went."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from gaze_exp.figures import CONSTANT_COLOUR, FAINT, INK, MODEL_COLOUR, SECOND_COLOUR
from gaze_exp.personal.comparison import FINE_TUNED, FINE_TUNED_AFFINE
from gaze_exp.screen import ScreenGeometry

MARGIN = 0.22
"""Part of the window that is shown around it, for predictions beside the screen."""


def screens(held_out: Mapping[str, Tensor], *, target_px: Tensor, geometry: ScreenGeometry) -> Figure:
    """The screen once for each method: targets, held-out predictions, and an arrow from one to the other.

    Args:
        held_out: (N, 2) client degrees by method.
        target_px: (N, 2).
        geometry: of the screen.

    Returns:
        The figure; predictions far outside are drawn at the edge.
    """
    num_rows = (len(held_out) + 1) // 2
    aspect = geometry.window_height_px / geometry.window_width_px
    figure = Figure(figsize=(9.0, num_rows * (4.5 * aspect + 0.35)), layout="constrained")
    FigureCanvasAgg(figure)
    panels: Sequence[Axes] = figure.subplots(num_rows, 2, squeeze=False).ravel().tolist()
    for axes, (method, predicted) in zip(panels, held_out.items(), strict=False):
        points = geometry.to_pixels(predicted.double()).numpy()
        _screen(axes, points, target_px.numpy(), geometry=geometry, colour=_colour(method))
        axes.set_title(method, fontsize=11, color=INK, loc="left")
    for axes in panels[len(held_out) :]:
        axes.set_visible(False)
    return figure


def _screen(axes: Axes, points: Any, targets: Any, *, geometry: ScreenGeometry, colour: str) -> None:
    width, height = geometry.window_width_px, geometry.window_height_px
    low = np.array([-MARGIN * width, -MARGIN * height])
    high = np.array([(1 + MARGIN) * width, (1 + MARGIN) * height])
    shown = np.clip(points, low, high)
    axes.add_patch(Rectangle((0, 0), width, height, facecolor="#fafbfc", edgecolor=CONSTANT_COLOUR, linewidth=1.0))
    axes.quiver(
        targets[:, 0], targets[:, 1], shown[:, 0] - targets[:, 0], shown[:, 1] - targets[:, 1],
        angles="xy", scale_units="xy", scale=1, color=colour, alpha=0.45, width=0.0035, headwidth=5, zorder=2,
    )  # fmt: skip
    beyond = (shown != points).any(axis=1)
    axes.scatter(*shown[~beyond].T, s=13, color=colour, zorder=3, linewidths=0)
    axes.scatter(*shown[beyond].T, s=22, color=colour, zorder=3, marker="x", linewidths=1.2)
    axes.scatter(*targets.T, s=26, facecolor="white", edgecolor=INK, linewidths=1.1, zorder=4)
    axes.set(xlim=(low[0], high[0]), ylim=(high[1], low[1]), xticks=[], yticks=[], aspect="equal")
    axes.spines[:].set_visible(False)


def errors(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Mean error of each method with its interval.

    Args:
        rows: the table.

    Returns:
        The figure, degrees below and numbers in px at the bars.
    """
    figure = Figure(figsize=(9.0, 0.9 + 0.46 * len(rows)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for place, row in enumerate(rows):
        mean, ci95 = row["mean_deg"], row["ci95_deg"]
        axes.barh(place, mean, color=_colour(row["method"]), height=0.62)
        if ci95:
            axes.plot(ci95, [place, place], color=INK, linewidth=1.4, solid_capstyle="butt")
        axes.annotate(
            f"{mean:.2f}°  {row['mean_px']:.0f} px", ((ci95 or [0, mean])[1], place), xytext=(6, 0),
            textcoords="offset points", va="center", fontsize=9, color=INK,
        )  # fmt: skip
    axes.set_yticks(range(len(rows)), [row["method"] for row in rows])
    largest = max((row["ci95_deg"] or [0, row["mean_deg"]])[1] for row in rows)
    axes.set(xlabel="mean error on targets left out (deg)", ylim=(len(rows) - 0.5, -0.5), xlim=(0, largest * 1.22))
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(CONSTANT_COLOUR)
    axes.grid(visible=True, axis="x", color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK, labelsize=10)
    return figure


def early_stopping(curves: Sequence[Sequence[Mapping[str, float]]], *, epochs: int) -> Figure:
    """Error on the targets that stopped each fold, against the epoch.

    Args:
        curves: of the folds; epoch 0 is the base with an affine map.
        epochs: the budget that came of it.

    Returns:
        The figure.
    """
    figure = Figure(figsize=(9.0, 3.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for curve in curves:
        axes.plot([r["epoch"] for r in curve], [r["val_error_deg"] for r in curve], color=MODEL_COLOUR, alpha=0.35)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.axvline(epochs, color=SECOND_COLOUR, linestyle="--", label=f"budget of the final model: {epochs} epochs")
    axes.set(xlabel="epoch", ylabel="error of held-out targets (deg)", ylim=(0, None), xlim=(0, None))
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(CONSTANT_COLOUR)
    axes.grid(color=FAINT, linewidth=0.6)
    axes.tick_params(colors=INK, labelsize=9)
    axes.legend(frameon=False, fontsize=9)
    return figure


def _colour(method: str) -> str:
    return MODEL_COLOUR if method in {FINE_TUNED, FINE_TUNED_AFFINE} else CONSTANT_COLOUR
