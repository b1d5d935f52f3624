"""Angular errors as torchmetrics classes: masked, summed in float64, the same on any number of devices.

Windows have (B, T, ...) for (B, ...); every frame counts alike.
"""

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import rank_zero_warn

from gaze_exp.geometry import angular_error


def _error_deg(output_gaze: Tensor, target_gaze: Tensor, valid: Tensor) -> Tensor:
    """Angular errors in degrees, (B,) float64, zero where not valid."""
    error_deg = torch.rad2deg(angular_error(output_gaze, target_gaze).double())
    # Selecting, not multiplying: a NaN label times zero is still NaN.
    return torch.where(valid, error_deg, 0.0)


class AngularError(Metric):
    """Mean angle between predicted and true gaze over all valid samples, in degrees."""

    is_differentiable = False
    higher_is_better = False
    full_state_update = False

    sum_deg: Tensor
    num_valid: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("sum_deg", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("num_valid", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")
        self._has_warned = False

    def update(self, output_gaze: Tensor, target_gaze: Tensor, valid: Tensor) -> None:
        """Add one batch.

        Args:
            output_gaze: (B, 2) pitch, yaw in radians, of any float type.
            target_gaze: (B, 2) pitch, yaw in radians; anything, NaN included, where not valid.
            valid: (B,) bool.
        """
        # A model cast to bf16 takes its metrics along; the sum must not follow.
        self.sum_deg = self.sum_deg.double() + _error_deg(output_gaze, target_gaze, valid).sum()
        self.num_valid = self.num_valid + valid.sum()

    def compute(self) -> Tensor:
        """Mean error in degrees, () float32; NaN, with one warning, when nothing was valid."""
        if self.num_valid == 0 and not self._has_warned:
            self._has_warned = True
            rank_zero_warn("no sample had a valid label, so the angular error is NaN; check `valid` in the data")
        return (self.sum_deg / self.num_valid).float()


MASK_CLASSES = ("background", "sclera", "iris", "pupil")


def mask_confusion(answered: Tensor, true: Tensor) -> Tensor:
    """Count pixels by what they are and what was answered.

    Args:
        answered: (..., h, w) classes.
        true: (..., h, w) classes; those above the last one are unknown, and not counted.

    Returns:
        (4, 4) int64, true class by answered class.
    """
    num = len(MASK_CLASSES)
    is_known = true < num
    pairs = num * true[is_known].long() + answered[is_known].long()
    return torch.bincount(pairs, minlength=num * num).view(num, num)


class MaskIoU(Metric):
    """Mean intersection over union of the classes of an eye's pixels, over all pixels of which something is known."""

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    confusion: Tensor

    def __init__(self) -> None:
        super().__init__()
        num = len(MASK_CLASSES)
        self.add_state("confusion", torch.zeros(num, num, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, logits: Tensor, true: Tensor) -> None:
        """Add one batch.

        Args:
            logits: (B, 4, h, w).
            true: (B, h, w) classes; those above the last one are unknown.
        """
        self.confusion = self.confusion + mask_confusion(logits.argmax(dim=1), true)

    def compute(self) -> Tensor:
        """Mean over the classes that are there or were answered, () float32; NaN when nothing was known."""
        both = self.confusion.diag().double()
        either = self.confusion.sum(0) + self.confusion.sum(1) - both
        return (both / either)[either > 0].mean().float()
