"""What a few photos can correct without training: a constant, an offset, a ridge affine map of the base's answer.

Each is a (2, 3) map of client degrees: `answer = base @ map[:, :2].T + map[:, 2]`. They are what a fine-tuned
model has to beat.
"""

import math

import torch
from torch import Tensor

from gaze_exp.data.allowed_fits import FEWEST_FOR_AFFINE

PENALTIES = (0.001, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, math.inf)
"""Of the ridge, as parts of the base's own variance; the infinite one leaves the prior as it is."""
FLAT_DEG = 1.0
"""Labels that spread less than this along an axis say nothing about its slope."""


def constant(labels_deg: Tensor) -> Tensor:
    """The map that always answers the mean label."""
    return torch.cat([torch.zeros(2, 2, dtype=torch.float64), labels_deg.double().mean(dim=0)[:, None]], dim=1)


def offset(base_deg: Tensor, labels_deg: Tensor) -> Tensor:
    """The map that adds the mean residual."""
    residual = (labels_deg.double() - base_deg.double()).mean(dim=0)
    return torch.cat([torch.eye(2, dtype=torch.float64), residual[:, None]], dim=1)


def apply(mapping: Tensor, base_deg: Tensor) -> Tensor:
    """(2, 3) map, (N, 2) client degrees -> (N, 2) client degrees."""
    mapping = mapping.to(base_deg.dtype)
    return base_deg @ mapping[:, :2].T + mapping[:, 2]


def ridge_affine(
    base_deg: Tensor, labels_deg: Tensor, *, target: Tensor, priors: tuple[float, ...] = (0.0, 1.0)
) -> Tensor:
    """Fit an affine map that the data may pull away from a prior as far as they prove it.

    For each axis, its slopes are drawn to those of a prior (0: a constant, 1: an offset of the base). Which
    prior and how strongly, is what predicts left-out targets best among the photos given.

    Args:
        base_deg: (N, 2) the base's answers, client degrees.
        labels_deg: (N, 2) the truth.
        target: (N,) which target each photo shows.
        priors: own slopes to be drawn to.

    Returns:
        (2, 3) float64 map.
    """
    base, labels = base_deg.double(), labels_deg.double()
    num_targets = len(target.unique())
    if num_targets < FEWEST_FOR_AFFINE:
        return offset(base, labels)
    rows = []
    for axis in range(2):
        if float(labels[:, axis].std()) < FLAT_DEG:
            rows.append(offset(base, labels)[axis])
            continue
        choices = [(prior, penalty) for prior in priors for penalty in PENALTIES]
        errors = [_left_out_error(base, labels[:, axis], axis, choice, target=target) for choice in choices]
        rows.append(_ridge(base, labels[:, axis], axis, choices[errors.index(min(errors))]))
    return torch.stack(rows)


def _left_out_error(base: Tensor, label: Tensor, axis: int, choice: tuple[float, float], *, target: Tensor) -> float:
    """Mean squared error of an axis on targets that the fit has not seen, degrees squared."""
    total = 0.0
    for held_out in target.unique():
        is_test = target == held_out
        row = _ridge(base[~is_test], label[~is_test], axis, choice)
        total += float((base[is_test] @ row[:2] + row[2] - label[is_test]).square().sum())
    return total / len(label)


def _ridge(base: Tensor, label: Tensor, axis: int, choice: tuple[float, float]) -> Tensor:
    """(3,) two slopes and the constant of one axis, by its prior and penalty."""
    prior, penalty = choice
    slopes = torch.zeros(2, dtype=torch.float64)
    slopes[axis] = prior
    if math.isfinite(penalty):
        centred = base - base.mean(dim=0)
        gram = centred.T @ centred
        ridge = penalty * gram.diagonal().mean().clamp(min=1e-9) * torch.eye(2, dtype=torch.float64)
        residual = label - label.mean() - centred @ slopes
        slopes = slopes + torch.linalg.solve(gram + ridge, centred.T @ residual)
    return torch.cat([slopes, (label.mean() - base.mean(dim=0) @ slopes)[None]])
