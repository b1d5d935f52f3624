"""Faces cut a little off and at another size, as detectors cut them, for models that meet such crops."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gaze_exp.batch import GazeBatch
from gaze_exp.errors import ConfigError


class FaceJitter(nn.Module):
    """Shift and scale the face crop; the gaze stays that of the camera which took the picture.

    A normalised crop always has the eyes in one place, and a net learns to count on it: a shift of 4 % of the
    side made a small L2CS-Net answer nonsense. A detector's box is never that steady. The eye crops stay.

    Args:
        shift: largest, as a part of the side.
        scale: largest relative change of the size; both are drawn evenly around nothing.
        after: augmentation that is done before.

    Raises:
        ConfigError: a strength outside 0..0.5.
    """

    def __init__(self, *, shift: float = 0.08, scale: float = 0.2, after: nn.Module | None = None) -> None:
        super().__init__()
        for name, strength in (("shift", shift), ("scale", scale)):
            if not 0 <= strength <= 0.5:
                raise ConfigError(f"augment.{name}: {strength} is outside 0 to 0.5; 0.1 would be usual")
        self.shift, self.scale = shift, scale
        self.after = nn.Identity() if after is None else after

    @torch.no_grad()
    def forward(self, batch: GazeBatch) -> GazeBatch:
        """Augment a batch: its face (B, 3, H, W), uint8 or float, 0..255, becomes float."""
        batch = self.after(batch)
        if not self.training:
            return batch
        return {**batch, "face": self._moved(batch["face"])}

    def _moved(self, face: Tensor) -> Tensor:
        num = len(face)
        # From the CPU's generator, as every augmentation: a seed repeats a step on any device.
        size = 1 + self.scale * (2 * torch.rand(num) - 1)
        offset = 2 * self.shift * (2 * torch.rand(num, 2) - 1)  # a side is 2 long in the grid's units
        zoom = torch.eye(2) / size[:, None, None]
        theta = torch.cat([zoom, offset[:, :, None]], dim=2).to(face.device, non_blocking=True)
        grid = F.affine_grid(theta, list(face.shape), align_corners=False)
        return F.grid_sample(face.float(), grid, mode="bilinear", padding_mode="reflection", align_corners=False)
