"""Losses: (output, batch) -> {"total": what is minimised, and its parts for the log}.

Every loss averages over the rows that are valid. A row that is not may hold anything, NaN included; a batch
without a valid row gives exactly zero, with a zero gradient. All arithmetic is float32, autocast or not:
vectors in bf16 turn an error of 3.54 degrees into 2.99.

Shapes: B batch; windows have (B, T, ...) for (B, ...).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gaze_exp.batch import GazeBatch, GazeOutput
from gaze_exp.errors import ConfigError
from gaze_exp.gaze_bins import Bins
from gaze_exp.geometry import angular_error


class MaskedLoss(nn.Module):
    """What the losses share: float32, the mask and the mean; a subclass says `terms`."""

    def forward(self, output: GazeOutput, batch: GazeBatch) -> dict[str, Tensor]:
        """Compare predicted and labelled gaze.

        Args:
            output: `gaze` (B, 2) pitch, yaw in radians.
            batch: `gaze` (B, 2) pitch, yaw in radians, `valid` (B,) bool.

        Returns:
            `total`: scalar with gradient; and each part, detached.
        """
        predicted, valid = output["gaze"], batch["valid"]
        with torch.autocast(predicted.device.type, enabled=False):
            predicted = predicted.float()
            # Masked by choosing, not by multiplying: zero times NaN is NaN, in the gradient too.
            target = torch.where(valid[..., None], batch["gaze"].float(), 0.0)
            weight = valid.float() / valid.sum().clamp(min=1)
            rows = self.rows(output, target) | self.terms(predicted, target)
            terms = {name: (term * weight).sum() for name, term in rows.items()}
            return {"total": self.combine(terms), **{name: term.detach() for name, term in terms.items()}}

    def terms(self, predicted: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Name each part of the loss and give its value a row: (B, 2) and (B, 2) -> (B,)."""
        raise NotImplementedError

    def rows(self, output: GazeOutput, target: Tensor) -> dict[str, Tensor]:
        """Parts of a loss that needs more of the output than its gaze: (B,) each."""
        del output, target
        return {}

    def combine(self, terms: dict[str, Tensor]) -> Tensor:
        """Weigh the parts into one scalar; their sum unless a subclass knows better."""
        return torch.stack(list(terms.values())).sum()


class Angular(MaskedLoss):
    """Angle between the two gaze vectors, radians."""

    def terms(self, predicted: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Angle a row."""
        return {"angular": angular_error(predicted, target)}


class MSE(MaskedLoss):
    """Squared difference of pitch and yaw, averaged over the two, radians squared."""

    def terms(self, predicted: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Squared difference a row."""
        return {"mse": (predicted - target).square().mean(dim=-1)}


class L1(MaskedLoss):
    """Absolute difference of pitch and yaw, averaged over the two, radians."""

    def terms(self, predicted: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Absolute difference a row."""
        return {"l1": (predicted - target).abs().mean(dim=-1)}


class AngularMSE(MaskedLoss):
    """Angle between the gaze vectors plus a little squared difference of pitch and yaw.

    The angle is what is measured in the end; the square adds a slope that fades near the label, where that
    of the angle does not.

    Args:
        mse_weight: weight of the squared difference.
    """

    def __init__(self, mse_weight: float = 0.1) -> None:
        super().__init__()
        self.mse_weight = mse_weight

    def terms(self, predicted: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Angle and squared difference a row."""
        return {
            "angular": angular_error(predicted, target),
            "mse": (predicted - target).square().mean(dim=-1),
        }

    def combine(self, terms: dict[str, Tensor]) -> Tensor:
        """Add the weighted square."""
        return terms["angular"] + self.mse_weight * terms["mse"]


class L2CSBins(MaskedLoss):
    """L2CS-Net's loss: choosing the right bin, plus the squared error of the expected angle, for yaw and pitch.

    Args:
        mse_weight: weight of the squared error, degrees squared; 1 in the released training.
        bin_width_deg: None for that of released weights with so many bins.
        first_bin_deg: left edge of the first bin; None likewise.

    Source: L2CS-Net (arXiv 2203.03339), section 3.2.
    """

    def __init__(
        self, *, mse_weight: float = 1.0, bin_width_deg: float | None = None, first_bin_deg: float | None = None
    ) -> None:
        super().__init__()
        self.mse_weight = mse_weight
        self.bin_width_deg = bin_width_deg
        self.first_bin_deg = first_bin_deg

    def rows(self, output: GazeOutput, target: Tensor) -> dict[str, Tensor]:
        """Cross-entropy a row, summed over the two angles."""
        if "yaw_logits" not in output or "pitch_logits" not in output:
            raise ConfigError(
                "loss: l2cs_bins needs a model that chooses among bins; model=l2cs model.head=bins, or another loss, "
                "would be right"
            )
        logits = torch.stack((output["pitch_logits"], output["yaw_logits"]), dim=1).float()
        bins = Bins.of(logits.shape[-1], width_deg=self.bin_width_deg, first_deg=self.first_bin_deg)
        index = bins.index(target.rad2deg())
        entropy = F.cross_entropy(logits.flatten(0, 1), index.flatten(), reduction="none")
        return {"cross_entropy": entropy.unflatten(0, (-1, 2)).sum(dim=1)}

    def terms(self, predicted: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Squared error a row, degrees squared, summed over the two angles."""
        return {"mse_deg2": (predicted - target).rad2deg().square().sum(dim=-1)}

    def combine(self, terms: dict[str, Tensor]) -> Tensor:
        """Add the weighted square."""
        return terms["cross_entropy"] + self.mse_weight * terms["mse_deg2"]
