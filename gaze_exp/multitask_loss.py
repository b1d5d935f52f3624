"""The gaze and the tasks beside it, each with its weight. B batch, h w pixels of an eye."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gaze_exp.batch import GazeBatch, GazeOutput
from gaze_exp.errors import ConfigError

UNKNOWN = 255
"""Of a pixel of which the batch says nothing."""


class Multitask(nn.Module):
    """A loss of the gaze, cross-entropy of the eyes' pixels, absolute error of the pupils.

    Every part is a mean over what has a label of its own: a row without a gaze may have a mask, and the other
    way round. A part without any label in a batch is zero, with a zero gradient.

    Args:
        gaze: (output, batch) -> {"total": ...}, of the gaze.
        gaze_weight: of it.
        segmentation_weight: of the pixels; 0 leaves the second task out, and everything else as it is.
        pupil_weight: of the pupils' diameter, millimetres.

    Raises:
        ConfigError: a negative weight.
    """

    def __init__(
        self,
        gaze: nn.Module,
        *,
        gaze_weight: float = 1.0,
        segmentation_weight: float = 0.1,
        pupil_weight: float = 0.0,
    ) -> None:
        super().__init__()
        self.gaze = gaze
        self.weights = {"gaze": gaze_weight, "segmentation": segmentation_weight, "pupil": pupil_weight}
        for name, weight in self.weights.items():
            if weight < 0:
                raise ConfigError(f"loss.{name}_weight: {weight} rewards mistakes; 0 (off) or more is right")

    def forward(self, output: GazeOutput, batch: GazeBatch) -> dict[str, Tensor]:
        """Compare what a model says with what is known.

        Args:
            output: `gaze`, and what else the model gives.
            batch: labels; those of the other tasks may be missing.

        Returns:
            `total`: scalar with gradient; and each part, detached and without its weight.
        """
        parts = {"gaze": self.gaze(output, batch)["total"]}
        with torch.autocast(output["gaze"].device.type, enabled=False):
            if "mask_left_logits" in output:
                parts["segmentation"] = _segmentation(output, batch)
            if "pupil_left_mm" in output:
                parts["pupil"] = _pupil(output, batch)
        total = torch.stack([self.weights[name] * part for name, part in parts.items()]).sum()
        return {"total": total, **{name: part.detach() for name, part in parts.items()}}


def _segmentation(output: GazeOutput, batch: GazeBatch) -> Tensor:
    """Mean cross-entropy of the pixels of both eyes of which something is known."""
    logits = torch.cat((output["mask_left_logits"], output["mask_right_logits"])).float()
    if "mask_left" not in batch:
        return 0.0 * logits.sum()
    mask = torch.cat((batch["mask_left"], batch["mask_right"])).long()
    summed = F.cross_entropy(logits, mask, ignore_index=UNKNOWN, reduction="sum")
    return summed / (mask != UNKNOWN).sum().clamp(min=1)


def _pupil(output: GazeOutput, batch: GazeBatch) -> Tensor:
    """Mean absolute error of the diameters that are known, millimetres."""
    predicted = torch.cat((output["pupil_left_mm"], output["pupil_right_mm"])).float()
    if "pupil_left_mm" not in batch:
        return 0.0 * predicted.sum()
    true = torch.cat((batch["pupil_left_mm"], batch["pupil_right_mm"])).float()
    is_known = true.isfinite()
    error = (predicted - torch.where(is_known, true, predicted.detach())).abs()
    return error.sum() / is_known.sum().clamp(min=1)
