"""A small map behind a fine-tuned model, fitted on photos that it has not seen."""

from collections.abc import Callable

import torch
from torch import Tensor

from gaze_exp.personal.baselines import apply, offset, ridge_affine

FEWEST_TARGETS = 6
"""For slopes; fewer allow an offset or nothing."""


def correction(predicted_deg: Tensor, labels_deg: Tensor, *, target: Tensor) -> Tensor:
    """Choose nothing, an offset or a ridge affine map: what predicts left-out targets best.

    Args:
        predicted_deg: (N, 2) held-out answers, client degrees.
        labels_deg: (N, 2) the truth.
        target: (N,) which target each photo shows.

    Returns:
        (2, 3) float64 map.
    """
    predicted, labels = predicted_deg.double(), labels_deg.double()

    def nothing(_predicted: Tensor, _labels: Tensor, _target: Tensor) -> Tensor:
        return torch.eye(2, 3, dtype=torch.float64)

    def shifted(some: Tensor, truth: Tensor, _target: Tensor) -> Tensor:
        return offset(some, truth)

    def turned(some: Tensor, truth: Tensor, which: Tensor) -> Tensor:
        return ridge_affine(some, truth, target=which, priors=(1.0,))

    num_targets = len(target.unique())
    choices: list[Callable[[Tensor, Tensor, Tensor], Tensor]] = [nothing]
    choices += [shifted] if num_targets > 1 else []
    choices += [turned] if num_targets >= FEWEST_TARGETS else []

    def left_out_error(choice: Callable[[Tensor, Tensor, Tensor], Tensor]) -> float:
        total = 0.0
        for held_out in target.unique():
            is_test = target == held_out
            mapping = choice(predicted[~is_test], labels[~is_test], target[~is_test])
            total += float((apply(mapping, predicted[is_test]) - labels[is_test]).square().sum())
        return total

    best = min(choices, key=left_out_error)
    return best(predicted, labels, target)
