"""Figures of the screen as the viewer sees it: points of gaze, and where on it a model errs."""

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from gaze_exp.figures import (
    CONSTANT_COLOUR,
    ERROR_COLOURS,
    FEWEST_SAMPLES,
    INK,
    MODEL_COLOUR,
    SECOND_COLOUR,
    panels,
    write_cells,
)

FloatArray = NDArray[np.float64]

MOST_POINTS = 800
_CELLS = (5, 8)
"""Down and across."""
_MARGIN = 0.35
"""Of the screen's size, that is drawn around it."""


def points(predicted_px: FloatArray, target_px: FloatArray, *, screen_px: tuple[int, int]) -> Figure:
    """Scatter true and predicted points of gaze over the screen, a line between the two of a sample.

    Args:
        predicted_px: (N, 2), unclamped.
        target_px: (N, 2); rows that are not finite in both are left out.
        screen_px: width, height.

    Returns:
        The figure; of many samples, an evenly spaced part is drawn.
    """
    known = np.isfinite(predicted_px).all(axis=1) & np.isfinite(target_px).all(axis=1)
    stride = max(1, math.ceil(known.sum() / MOST_POINTS))
    predicted, true = predicted_px[known][::stride], target_px[known][::stride]
    figure, (axes,) = panels(1, height_inch=5.6)
    _screen(axes, screen_px)
    axes.plot(*np.stack((true, predicted), axis=1).transpose(2, 1, 0), color=CONSTANT_COLOUR, linewidth=0.4, alpha=0.4)
    axes.scatter(*true.T, s=9, color=SECOND_COLOUR, linewidths=0, label="true")
    axes.scatter(*predicted.T, s=9, color=MODEL_COLOUR, linewidths=0, alpha=0.7, label="predicted")
    _frame(axes, screen_px)
    outside = np.any((predicted < 0) | (predicted > screen_px), axis=1)
    told = f"one of {stride:,} of {known.sum():,} samples" if stride > 1 else f"{known.sum():,} samples"
    share = 100 * np.mean(outside) if len(predicted) else 0.0
    axes.set_title(f"{told}; {share:.0f} % of the predictions lie beside the screen", fontsize=9, color=INK, loc="left")
    figure.legend(frameon=False, fontsize=9, ncols=2, loc="outside upper right")
    return figure


def error_map(target_px: FloatArray, error_cm: FloatArray, *, screen_px: tuple[int, int]) -> Figure:
    """Mean error in cells of the screen, by where people looked.

    Args:
        target_px: (N, 2).
        error_cm: (N,); rows that are not finite are left out.
        screen_px: width, height.

    Returns:
        The figure; a cell with fewer than five samples shows no mean and is hatched.
    """
    known = np.isfinite(target_px).all(axis=1) & np.isfinite(error_cm)
    x, y = target_px[known].T
    edges = tuple(np.linspace(0, size, cells + 1) for size, cells in zip(screen_px[::-1], _CELLS, strict=True))
    counts, _, _ = np.histogram2d(y, x, bins=edges)
    sums, _, _ = np.histogram2d(y, x, bins=edges, weights=error_cm[known])
    means = np.where(counts >= FEWEST_SAMPLES, sums / np.maximum(counts, 1), np.nan)
    shown = means[np.isfinite(means)]
    scale = Normalize(0, float(shown.max()) if len(shown) else 1.0)
    figure, (axes,) = panels(1, height_inch=4.6)
    few = np.ma.masked_where((counts == 0) | (counts >= FEWEST_SAMPLES), counts)
    axes.pcolor(edges[1], edges[0], few, facecolor="none", edgecolor=CONSTANT_COLOUR, hatch="////", linewidth=0)
    mesh = axes.pcolormesh(edges[1], edges[0], np.ma.masked_invalid(means), cmap=ERROR_COLOURS, norm=scale)
    write_cells(axes, edges=(edges[0], edges[1]), means=means, counts=counts, scale=scale)
    beside = len(x) - int(counts.sum())
    also = f"; {beside:,} samples looked beside the screen" if beside else ""
    axes.set_title(f"mean error in cm above the number of samples{also}", fontsize=9, color=INK, loc="left")
    _frame(axes, screen_px, margin=0.0)
    axes.grid(visible=False)
    figure.colorbar(mesh, ax=axes, label="mean error (cm)", shrink=0.9, pad=0.02).outline.set_visible(False)
    return figure


def _screen(axes: Axes, screen_px: tuple[int, int]) -> None:
    """The outline of the screen."""
    axes.add_patch(Rectangle((0, 0), *screen_px, facecolor="white", edgecolor=INK, linewidth=1.2, zorder=0.5))


def _frame(axes: Axes, screen_px: tuple[int, int], *, margin: float = _MARGIN) -> None:
    """Pixels as on the screen: from the top left corner, y down."""
    width, height = screen_px
    axes.set(xlim=(-margin * width, (1 + margin) * width), ylim=((1 + margin) * height, -margin * height))
    axes.set(xlabel="x on the screen (px)", ylabel="y on the screen (px)", aspect="equal")
