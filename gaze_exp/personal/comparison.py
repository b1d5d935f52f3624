"""The table of all methods on photos that none of them has seen, and what it allows to say.

Intervals are a bootstrap over targets, which bring all of their photos: photos of one target resemble each other.
The error in degrees is the distance in client degrees, which is the distance in pixels times degrees a pixel.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

FloatArray = NDArray[np.float64]

NUM_DRAWS = 4000
FEW_TARGETS = 10
LEVEL = 0.95

CONSTANT = "constant"
BASE = "base"
BASE_OFFSET = "base + offset"
BASE_AFFINE = "base + affine"
FINE_TUNED = "fine-tuned"
FINE_TUNED_AFFINE = "fine-tuned + affine"
METHODS = (CONSTANT, BASE, BASE_OFFSET, BASE_AFFINE, FINE_TUNED, FINE_TUNED_AFFINE)


def error_deg(predicted_deg: Tensor, labels_deg: Tensor) -> FloatArray:
    """(N,) distance of (N, 2) predictions from (N, 2) labels, in client degrees."""
    return (predicted_deg.double() - labels_deg.double()).norm(dim=1).numpy()


def table(
    predicted_deg: Mapping[str, Tensor], *, labels_deg: Tensor, group: Tensor, deg_per_pixel: float, seed: int
) -> list[dict[str, Any]]:
    """One row for each method, with degrees and pixels side by side.

    Args:
        predicted_deg: (N, 2) held-out predictions by method, client degrees.
        labels_deg: (N, 2) the truth.
        group: (N,) target, or session, of each photo.
        deg_per_pixel: of the screen.
        seed: of the bootstrap.

    Returns:
        Plain rows: `method`, `mean_deg`, `ci95_deg`, `median_deg`, `p90_deg`, `max_deg`, the same in `_px`,
        `bias_yaw_deg`, `bias_pitch_deg`.
    """
    rows = []
    for method, predicted in predicted_deg.items():
        errors = error_deg(predicted, labels_deg)
        bias = (predicted.double() - labels_deg.double()).mean(dim=0).tolist()
        degrees = {
            "mean": _rounded(errors.mean()),
            "ci95": interval(errors, group=group, seed=seed),
            "median": _rounded(np.median(errors)),
            "p90": _rounded(np.percentile(errors, 90)),
            "max": _rounded(errors.max()),
        }
        row: dict[str, Any] = {"method": method}
        row |= {f"{name}_deg": value for name, value in degrees.items()}
        row |= {f"{name}_px": _in_pixels(value, deg_per_pixel) for name, value in degrees.items()}
        rows.append(row | {"bias_yaw_deg": _rounded(bias[0]), "bias_pitch_deg": _rounded(bias[1])})
    return rows


def interval(values: FloatArray, *, group: Tensor, seed: int) -> list[float] | None:
    """The middle 95 % of means over resampled groups; None for one group, which says nothing about others.

    Args:
        values: (N,) of the photos.
        group: (N,) the target or session of each.
        seed: of the draws; the same for the same seed, so that methods are compared on the same ones.
    """
    _, index = np.unique(group.numpy(), return_inverse=True)
    nums = np.bincount(index)
    if len(nums) < 2:
        return None
    sums = np.bincount(index, weights=values)
    rng = np.random.default_rng(seed)
    draws = rng.multinomial(len(nums), np.full(len(nums), 1 / len(nums)), size=NUM_DRAWS)
    tail = (1 - LEVEL) / 2
    return [_rounded(x) for x in np.quantile((draws @ sums) / (draws @ nums), [tail, 1 - tail])]


def gain(
    predicted_deg: Mapping[str, Tensor], *, of: str, over: str, labels_deg: Tensor, group: Tensor, seed: int
) -> dict[str, Any]:
    """How much smaller a method's error is than another's on the same photos.

    Args:
        predicted_deg: by method.
        of: the method.
        over: the one to beat.
        labels_deg: (N, 2) the truth.
        group: (N,) target, or session, of each photo.
        seed: of the bootstrap.

    Returns:
        `of`, `over`, `mean_deg` (positive where the method is closer), `ci95_deg`, and `better` or `worse`, each
        true only where the interval excludes zero.
    """
    difference = error_deg(predicted_deg[over], labels_deg) - error_deg(predicted_deg[of], labels_deg)
    ci95 = interval(difference, group=group, seed=seed)
    return {
        "of": of,
        "over": over,
        "mean_deg": _rounded(difference.mean()),
        "ci95_deg": ci95,
        "better": ci95 is not None and ci95[0] > 0,
        "worse": ci95 is not None and ci95[1] < 0,
    }


def sentence(gained: Mapping[str, Any]) -> str:
    """What a gain allows to say; "better" only when its interval excludes zero.

    Args:
        gained: from `gain`.

    Example:
        >>> sentence({"of": "fine-tuned", "over": "base", "mean_deg": 0.4, "ci95_deg": [-0.1, 0.9],
        ...           "better": False, "worse": False})
        'fine-tuned and base cannot be told apart: the difference lies between -0.10° and 0.90°.'
    """
    of, over, size = gained["of"], gained["over"], f"{abs(gained['mean_deg']):.2f}°"
    if gained["ci95_deg"] is None:
        return f"{of} against {over}: one target says nothing about others."
    low, high = gained["ci95_deg"]
    if gained["better"]:
        return f"{of} is better than {over} by {size} ({low:.2f}° to {high:.2f}°)."
    if gained["worse"]:
        return f"{of} is worse than {over} by {size} ({-high:.2f}° to {-low:.2f}°)."
    return f"{of} and {over} cannot be told apart: the difference lies between {low:.2f}° and {high:.2f}°."


def caution(group: Tensor) -> str | None:
    """What to know about intervals over few targets."""
    num = len(group.unique())
    return f"only {num} targets: the true intervals are likely wider" if num < FEW_TARGETS else None


def as_text(rows: list[dict[str, Any]]) -> list[str]:
    """The table for a terminal, one line each."""
    lines = [f"{'':20} {'mean':>8} {'95 % interval':>16} {'median':>8} {'90 %':>8} {'mean':>8}"]
    for row in rows:
        ci95 = row["ci95_deg"]
        between = f"{ci95[0]:.2f} to {ci95[1]:.2f}°" if ci95 else "none"
        lines.append(
            f"{row['method']:20} {row['mean_deg']:7.2f}° {between:>16} {row['median_deg']:7.2f}° "
            f"{row['p90_deg']:7.2f}° {row['mean_px']:5.0f} px"
        )
    return lines


def _in_pixels(value_deg: float | list[float] | None, deg_per_pixel: float) -> float | list[float] | None:
    if isinstance(value_deg, list):
        return [round(x / deg_per_pixel, 2) for x in value_deg]
    return None if value_deg is None else round(value_deg / deg_per_pixel, 2)


def _rounded(value: float | np.floating[Any]) -> float:
    """Six decimals of a degree: more says nothing."""
    return round(float(value), 6)
