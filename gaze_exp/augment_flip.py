"""Mirroring: pictures, eyes and labels together.

Shapes: B batch, H W pixels; windows have (B, T, ...) for (B, ...), and are mirrored as a whole.
"""

from typing import cast

import torch
from torch import Tensor, nn

from gaze_exp.batch import GazeBatch
from gaze_exp.errors import ConfigError


class FlipAugment(nn.Module):
    """Mirror samples: the pictures flip, the eyes swap, and the yaw of gaze and head changes sign.

    A mirrored left eye is a right eye, and a gaze to the image's left becomes one to its right. Flipping
    the pictures alone would teach the opposite of the truth.

    Args:
        probability: of flipping a sample.

    Raises:
        ConfigError: not a probability.
    """

    def __init__(self, probability: float = 0.5) -> None:
        super().__init__()
        check_probabilities(flip_probability=probability)
        self.probability = probability

    @torch.no_grad()
    def forward(self, batch: GazeBatch) -> GazeBatch:
        """Flip some samples: crops (B, 3, H, W), gaze and head (B, 2) pitch, yaw in radians."""
        if not self.training or self.probability == 0.0:
            return batch
        device = batch["face"].device
        chosen = (torch.rand(len(batch["face"])) < self.probability).to(device, non_blocking=True)
        flipped = cast("GazeBatch", dict(batch))
        flipped["face"] = _flip_rows(chosen, batch["face"], other=batch["face"])
        flipped["left_eye"] = _flip_rows(chosen, batch["left_eye"], other=batch["right_eye"])
        flipped["right_eye"] = _flip_rows(chosen, batch["right_eye"], other=batch["left_eye"])
        flipped["gaze"] = _negate_yaw(chosen, batch["gaze"])
        if "head" in batch:
            flipped["head"] = _negate_yaw(chosen, batch["head"])
        return cast("GazeBatch", {**flipped, **_flip_eye_labels(chosen, batch)})


def _flip_rows(chosen: Tensor, images: Tensor, *, other: Tensor) -> Tensor:
    """Replace the chosen rows of (B, 3, H, W) by the mirrored rows of `other`."""
    return torch.where(chosen.view(-1, *[1] * (images.ndim - 1)), other.flip(-1), images)


def _flip_eye_labels(chosen: Tensor, batch: GazeBatch) -> dict[str, Tensor]:
    """What is known of each eye, of the mirrored rows that of the other one."""
    labels: dict[str, Tensor] = {key: cast("Tensor", values) for key, values in batch.items()}
    flipped = {}
    for left in ("gaze_left", "head_left", "pupil_left_mm"):
        right = left.replace("left", "right")
        for name, other in ((left, right), (right, left)) if left in labels and right in labels else ():
            rows = chosen.view(-1, *[1] * (labels[name].ndim - 1))
            swapped = torch.where(rows, labels[other], labels[name])
            flipped[name] = swapped if "pupil" in name else _negate_yaw(chosen, swapped)
    for name, other in (("mask_left", "mask_right"), ("mask_right", "mask_left")) if "mask_left" in labels else ():
        flipped[name] = _flip_rows(chosen, labels[name], other=labels[other])
    return flipped


def _negate_yaw(chosen: Tensor, angles: Tensor) -> Tensor:
    """Negate the yaw of the chosen rows of (B, 2) pitch, yaw."""
    pitch, yaw = angles.unbind(-1)
    return torch.stack((pitch, torch.where(chosen.view(-1, *[1] * (yaw.ndim - 1)), -yaw, yaw)), dim=-1)


def check_probabilities(**values: float) -> None:
    """Refuse what is no probability.

    Args:
        values: option -> value.

    Raises:
        ConfigError: names the option.
    """
    for name, value in values.items():
        if not 0.0 <= value <= 1.0:
            raise ConfigError(f"augment.{name}: {value} is no probability; give a number from 0 to 1")
