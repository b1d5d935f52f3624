"""The picture of a sweep: its objective over what was varied, one line or dot a job."""

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from gaze_exp.figures import CONSTANT_COLOUR, FAINT, INK, MODEL_COLOUR, png

_LOG_FROM = 20.0
"""Ratio of the largest to the smallest value from which an axis is logarithmic."""
_SPREAD = 0.02
"""Half the height over which lines through one value are spread, so that one does not hide the others."""
_MOST_TICKS = 12
_LONGEST_NAME = 24


class Axis:
    """Where the values of one key lie: numbers by their size, words in the order in which they come.

    Args:
        name: of the key.
        values: one of each job.
    """

    def __init__(self, name: str, values: Sequence[str]) -> None:
        self.name = name
        try:
            numbers = np.array([float(value) for value in values])
        except ValueError:
            numbers = None
        if numbers is None or not np.isfinite(numbers).all():
            self.words = list(dict.fromkeys(values))
            self.at = np.array([self.words.index(value) for value in values], dtype=float)
            self.is_log = False
        else:
            self.words = []
            self.at = numbers
            self.is_log = bool(numbers.min() > 0 and numbers.max() / numbers.min() >= _LOG_FROM)

    def heights(self) -> NDArray[np.float64]:
        """The values between 0 and 1, for an axis among others."""
        return self._between(self.at)

    def ticks(self) -> list[tuple[float, str]]:
        """Height and label of the values to name: all, or evenly some of them."""
        named = {float(at): word for at, word in enumerate(self.words)}
        values = np.unique(self.at)
        if len(values) > _MOST_TICKS:
            values = values[np.linspace(0, len(values) - 1, _MOST_TICKS // 2).round().astype(int)]
        heights = self._between(values)
        return [
            (float(height), short(named.get(float(value), f"{value:.4g}")))
            for height, value in zip(heights, values, strict=True)
        ]

    def _between(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        scale = np.log if self.is_log else np.asarray
        low, high = scale(self.at.min()), scale(self.at.max())
        return np.asarray((scale(values) - low) / (high - low)) if high > low else np.full(len(values), 0.5)


def short(name: str) -> str:
    """A value or key that fits beside an axis; of a key its end tells most."""
    return name if len(name) <= _LONGEST_NAME else "..." + name[3 - _LONGEST_NAME :]


def draw(settings: Sequence[dict[str, str]], objectives: Sequence[float], *, maximise: bool) -> bytes:
    """Draw jobs: dots over one key, or lines over several, the best in strong ink.

    Args:
        settings: key -> value of each job, the keys in which they differ.
        objectives: of each job.
        maximise: the largest is the best.

    Returns:
        The bytes of a PNG file.
    """
    axes = [Axis(key, [job[key] for job in settings]) for key in settings[0]]
    values = np.array(objectives)
    best = int(values.argmax() if maximise else values.argmin())
    return png(_dots(axes[0], values, best=best) if len(axes) == 1 else _lines(axes, values, best=best))


def _figure(width_inch: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width_inch, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    panel = figure.subplots()
    panel.spines[["top", "right"]].set_visible(False)
    panel.tick_params(colors=INK, labelsize=9)
    return figure, panel


def _dots(axis: Axis, values: NDArray[np.float64], *, best: int) -> Figure:
    figure, panel = _figure(6.5)
    panel.grid(color=FAINT, linewidth=0.6)
    panel.set_axisbelow(True)
    panel.plot(axis.at, values, "o", color=MODEL_COLOUR, markersize=6, alpha=0.7)
    panel.plot(axis.at[best], values[best], "o", color=INK, markersize=11, fillstyle="none", markeredgewidth=1.5)
    panel.annotate(
        f"best, {values[best]:.3g}",
        (axis.at[best], values[best]),
        xytext=(9, 6),
        textcoords="offset points",
        fontsize=9,
    )
    if axis.is_log:
        panel.set_xscale("log")
    if axis.words:
        panel.set_xticks(range(len(axis.words)), [short(word) for word in axis.words], rotation=20, ha="right")
        panel.margins(x=0.15)
    panel.set_xlabel(axis.name)
    panel.set_ylabel("objective")
    return figure


def _lines(axes: Sequence[Axis], values: NDArray[np.float64], *, best: int) -> Figure:
    """Parallel coordinates: an upright axis a key, the objective last, colour by objective."""
    last = Axis("objective", [repr(float(value)) for value in values])
    last.is_log = False
    every = [*axes, last]
    figure, panel = _figure(max(6.5, 1.7 * len(every) + 1.0))
    heights = np.stack([axis.heights() for axis in every], axis=1)
    heights[:, :-1] += np.linspace(-_SPREAD, _SPREAD, len(values))[values.argsort().argsort(), None]
    norm = Normalize(values.min(), values.max() if values.max() > values.min() else values.min() + 1)
    colours = colormaps["viridis"](norm(values) * 0.9)
    places = range(len(every))
    for place in places:
        panel.axvline(place, color=CONSTANT_COLOUR, linewidth=1, zorder=1)
    for job in np.argsort(-np.abs(values - values[best])):  # the better over the worse
        is_best = job == best
        panel.plot(places, heights[job], color=INK if is_best else colours[job], linewidth=2.6 if is_best else 1.3,
                   alpha=1.0 if is_best else 0.75, zorder=4 if is_best else 2, marker="o", markersize=4)  # fmt: skip
    for place, axis in zip(places, every, strict=True):
        ticks = axis.ticks() if axis is not last else _few(values)
        for height, label in ticks:
            panel.annotate(
                label,
                (place, height),
                xytext=(6, 3),
                textcoords="offset points",
                fontsize=8,
                color=INK,
                zorder=5,
                bbox={"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 0.8},
            )
    panel.set_xticks(places, [short(axis.name) + (" (log)" if axis.is_log else "") for axis in every])
    panel.set_yticks([])
    panel.spines[["left", "bottom"]].set_visible(False)
    panel.set_xlim(-0.25, len(every) - 0.45)
    panel.set_ylim(-0.06, 1.1)
    panel.set_title(f"{len(values)} jobs; the dark line is the best, {values[best]:.4g}", fontsize=10, loc="left")
    return figure


def _few(values: NDArray[np.float64]) -> list[tuple[float, str]]:
    """Round numbers up the axis of the objective."""
    low, high = float(values.min()), float(values.max())
    if high <= low:
        return [(0.5, f"{low:.4g}")]
    return [(share, f"{low + share * (high - low):.4g}") for share in (0.0, 0.25, 0.5, 0.75, 1.0)]
