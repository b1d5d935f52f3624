"""Predictions -> the numbers of metrics.json: errors in degrees, how sure they are, and against what.

A person's samples resemble each other, so an interval that draws samples would be far too narrow: the
bootstrap draws persons. Every result stands beside the constant baseline, the one answer that knows
nothing of the image: the mean gaze of the training set.
"""

import math
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gaze_exp.errors import DataError
from gaze_exp.geometry import angular_error
from gaze_exp.predictions import Predictions

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

NUM_DRAWS = 2000
LEVEL = 0.95
NO_LABEL = "no valid label"


def evaluate(
    predictions: Predictions, *, constant_gaze: Tensor, dropped: Mapping[str, int], seed: int = 0
) -> dict[str, object]:
    """Sum predictions up.

    Args:
        predictions: of one data set.
        constant_gaze: (2,) mean pitch, yaw of the training set in radians.
        dropped: why samples were left out -> how many, as `CropDataset.dropped` has it. Samples
            without a valid label that it does not account for are added as "no valid label".
        seed: of the bootstrap.

    Returns:
        Plain values for JSON; every angle in degrees, null where there is none:
        `mean`, `median`, `p95`, `ci95`, `person_mean`, `person_mean_ci95`, `per_subject`, `constant` (the
        same keys and `pitch`, `yaw`), `gain` (constant minus model, `mean`, `ci95`), `bootstrap` (what
        was drawn), `num_persons`, `num_kept`, `num_dropped`.

    Raises:
        DataError: no sample has a valid label, or a prediction is not finite.
    """
    _check(predictions)
    valid = predictions.valid.numpy()
    subject = predictions.subject.numpy()[valid]
    error_deg = predictions.error_deg().numpy()[valid]
    constant_deg = constant_error_deg(predictions, constant_gaze).numpy()[valid]
    counts = np.bincount(subject, minlength=len(predictions.subjects))
    persons = np.flatnonzero(counts)
    draws = draw_persons(len(persons), seed=seed)
    model = summary(error_deg, subject=subject, persons=persons, draws=draws)
    constant = summary(constant_deg, subject=subject, persons=persons, draws=draws)
    gain = summary(constant_deg - error_deg, subject=subject, persons=persons, draws=draws)
    pitch, yaw = (rounded(math.degrees(angle)) for angle in constant_gaze.tolist())
    return {
        "unit": "deg",
        **model,
        "per_subject": _per_subject(error_deg, subject=subject, names=predictions.subjects),
        "constant": {"pitch": pitch, "yaw": yaw, **constant},
        "gain": {key: gain[key] for key in ("mean", "ci95")},
        "bootstrap": what_was_drawn(len(persons), seed=seed),
        "num_persons": len(persons),
        "num_kept": int(valid.sum()),
        "num_dropped": _left_out(dropped, num_invalid=int((~valid).sum())),
    }


def constant_error_deg(predictions: Predictions, constant_gaze: Tensor) -> Tensor:
    """Error of one constant answer on the same samples.

    Args:
        predictions: whose targets to compare with.
        constant_gaze: (2,) pitch, yaw in radians.

    Returns:
        (N,) degrees, float64, NaN where not valid.
    """
    error = angular_error(constant_gaze.double().expand(len(predictions.target), 2), predictions.target.double())
    return torch.where(predictions.valid, torch.rad2deg(error), torch.nan)


def _check(predictions: Predictions) -> None:
    """Refuse what no honest number can be made of."""
    if not bool(predictions.valid.any()):
        raise DataError(
            f"none of the {len(predictions.valid)} samples has a valid label: there is no error to measure; "
            "evaluate a split with labels, or write predictions alone with actions=[predict]"
        )
    num_broken = int((~torch.isfinite(predictions.predicted).all(dim=1)).sum())
    if num_broken:
        raise DataError(
            f"{num_broken} of {len(predictions.valid)} predictions are not finite: the model has diverged; "
            "evaluate an earlier checkpoint, or train again with a lower learning rate"
        )


def _left_out(dropped: Mapping[str, int], *, num_invalid: int) -> dict[str, int]:
    """Every reason with its count, each sample once."""
    reasons = {reason: int(count) for reason, count in dropped.items() if count}
    unexplained = num_invalid - sum(reasons.values())
    return reasons | {NO_LABEL: unexplained} if unexplained > 0 else reasons


def draw_persons(num_persons: int, *, seed: int) -> IntArray:
    """How often each person is in each resample.

    Args:
        num_persons: how many there are.
        seed: of the draws.

    Returns:
        (draws, persons).
    """
    rng = np.random.default_rng(seed)
    return rng.multinomial(num_persons, np.full(num_persons, 1 / num_persons), size=NUM_DRAWS)


def summary(values_deg: FloatArray, *, subject: IntArray, persons: IntArray, draws: IntArray) -> dict[str, object]:
    """Mean, median, p95, mean over persons, and the intervals of both means.

    Args:
        values_deg: (N,) of any unit.
        subject: (N,) whose.
        persons: (P,) the numbers that occur in `subject`.
        draws: (draws, P) from `draw_persons`.
    """
    sums = np.bincount(subject, weights=values_deg)[persons]
    nums = np.bincount(subject)[persons]
    num_persons = len(persons)
    return {
        "mean": rounded(values_deg.mean()),
        "ci95": _interval((draws @ sums) / (draws @ nums), num_persons=num_persons),
        "median": rounded(np.median(values_deg)),
        "p95": rounded(np.percentile(values_deg, 95)),
        "person_mean": rounded((sums / nums).mean()),
        "person_mean_ci95": _interval(draws @ (sums / nums) / num_persons, num_persons=num_persons),
    }


def _interval(resampled_deg: FloatArray, *, num_persons: int) -> list[float] | None:
    """The middle 95 % of the resampled means; None for one person, who says nothing about others."""
    if num_persons == 1:
        return None
    tail = (1 - LEVEL) / 2
    return [rounded(value) for value in np.quantile(resampled_deg, [tail, 1 - tail])]


def what_was_drawn(num_persons: int, *, seed: int) -> dict[str, object]:
    """The bootstrap in words, and why there is no interval or a shaky one.

    Args:
        num_persons: how many there were to draw.
        seed: of the draws.
    """
    note = None
    if num_persons == 1:
        note = "no interval: one person says nothing about how persons differ"
    elif num_persons < 10:
        note = f"only {num_persons} persons: the true interval is likely wider"
    return {
        "resampled": "persons, with replacement; each brings all of their samples",
        "mean": "over all samples of the drawn persons",
        "person_mean": "over the drawn persons' own means",
        "level": LEVEL,
        "num_draws": NUM_DRAWS,
        "seed": seed,
        "note": note,
    }


def _per_subject(error_deg: FloatArray, *, subject: IntArray, names: list[str]) -> dict[str, dict[str, object]]:
    """Mean, median and number of samples of each person; None for both without a valid sample."""
    order = np.argsort(subject, kind="stable")
    ends = np.cumsum(np.bincount(subject, minlength=len(names)))
    parts = np.split(error_deg[order], ends[:-1])
    return {
        name: {
            "mean": rounded(part.mean()) if len(part) else None,
            "median": rounded(np.median(part)) if len(part) else None,
            "num": len(part),
        }
        for name, part in zip(names, parts, strict=True)
    }


def rounded(value_deg: float | np.floating) -> float:
    """Six decimals: more says nothing."""
    return round(float(value_deg), 6)
