"""EVE's loss: the gaze of each eye in its own crop's camera, in degrees, and the size of its pupil.

Every term averages over the rows that are valid and have its label; float32 throughout, as in `losses.py`.

Shapes: B batch; windows have (B, T, ...) for (B, ...).
"""

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from gaze_exp.batch import GazeBatch, GazeOutput
from gaze_exp.geometry import angular_error

SIDES = ("left", "right")


class EveEyes(nn.Module):
    """Angle of both eyes (degrees, summed), difference of both pupils (mm, summed), angle of the face's gaze.

    What the model does not answer or the file does not know is left out. Where that leaves no gaze of an eye, the
    face's gaze takes its place, so that a file with four arrays trains too.

    Args:
        gaze_weight: of the eyes' gaze.
        pupil_weight: of the pupils.
        face_weight: of the face's gaze, which EVE does not use.

    Source: Park et al., ECCV 2020; its reference code averages over the frames of a sequence first, then over
    sequences, which for single frames is the same.
    """

    def __init__(self, *, gaze_weight: float = 1.0, pupil_weight: float = 1.0, face_weight: float = 0.0) -> None:
        super().__init__()
        self.gaze_weight = gaze_weight
        self.pupil_weight = pupil_weight
        self.face_weight = face_weight

    def forward(self, output: GazeOutput, batch: GazeBatch) -> dict[str, Tensor]:
        """Compare what is predicted with what is known.

        Args:
            output: `gaze` (B, 2), and where the model has them `gaze_left`, `pupil_left_mm` and those of the right.
            batch: the same keys and `valid` (B,) bool.

        Returns:
            `total`: scalar with gradient; and the parts `eyes`, `pupils`, `face` that took part, detached.
        """
        predicted = {name: cast("Tensor", values) for name, values in output.items()}
        known = {name: cast("Tensor", values) for name, values in batch.items()}
        sides = [side for side in SIDES if f"gaze_{side}" in predicted and f"gaze_{side}" in known]
        with torch.autocast(batch["gaze"].device.type, enabled=False):
            parts: dict[str, tuple[float, Tensor]] = {}
            if sides:
                eyes = [_angle_deg(predicted, known, name=f"gaze_{side}") for side in sides]
                parts["eyes"] = self.gaze_weight, torch.stack(eyes).sum()
            if not sides or self.face_weight:
                weight = self.face_weight or self.gaze_weight
                parts["face"] = weight, _angle_deg(predicted, known, name="gaze")
            pupils = [f"pupil_{side}_mm" for side in SIDES if f"pupil_{side}_mm" in predicted]
            if pupils and all(name in known for name in pupils):
                sizes = [_size(predicted, known, name=name) for name in pupils]
                parts["pupils"] = self.pupil_weight, torch.stack(sizes).sum()
            total = torch.stack([weight * part for weight, part in parts.values()]).sum()
        return {"total": total, **{name: part.detach() for name, (_, part) in parts.items()}}


def _angle_deg(predicted: Mapping[str, Tensor], known: Mapping[str, Tensor], *, name: str) -> Tensor:
    """Mean angle over the rows that have this gaze."""
    is_known = known["valid"] & known[name].isfinite().all(dim=-1)
    # Masked by choosing, not by multiplying: zero times NaN is NaN, in the gradient too.
    target = torch.where(is_known[..., None], known[name].float(), 0.0)
    return _mean(torch.rad2deg(angular_error(predicted[name].float(), target)), is_known)


def _size(predicted: Mapping[str, Tensor], known: Mapping[str, Tensor], *, name: str) -> Tensor:
    """Mean absolute difference over the rows that have this pupil, mm."""
    is_known = known["valid"] & known[name].isfinite()
    target = torch.where(is_known, known[name].float(), 0.0)
    return _mean((predicted[name].float() - target).abs(), is_known)


def _mean(values: Tensor, is_known: Tensor) -> Tensor:
    return (values * is_known.float()).sum() / is_known.sum().clamp(min=1)
