"""EyeNet, EVE's own baseline: one net that sees one eye at a time, and is asked twice.

Shapes: B batch, h w eye pixels, F features; windows of T frames have (B, T, ...) for (B, ...).
    an eye (B, 3, h, w) -> features (B, F); with the head's pitch and yaw -> (B, F), by time or not -> gaze (B, 2)

EVE asks for each eye's gaze in the camera of that eye's crop, and turns the two into one with the rig's geometry. Our
`gaze` is that of the face. Here it is the mean direction of both eyes, each as its own crop's camera has it: every
crop's camera looks at its own origin, so that what an origin beside the face's centre does to the gaze, it does to
the camera as well. On rendered people that misses the true gaze of the face by 0.5 degrees (their own directions
turned into the face's camera with the crops' rotations, and averaged, by 1.9), and it needs nothing but the crops.

11,315,777 parameters as published, 11,398,337 with a GRU: ResNet-18 with instance norm 11,232,576, what joins the
head pose 33,280, 16,512 or the GRU's 99,072, gaze 16,768, pupil 16,641.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gaze_exp.batch import GazeOutput
from gaze_exp.errors import ConfigError
from gaze_exp.geometry import pitch_yaw_to_vector, vector_to_pitch_yaw
from gaze_exp.models.instance_norm_resnet import resnet18_instance_norm

MIN_SIZE_PX = 64
"""Below, the last maps have one cell, of which an instance norm leaves nothing."""


class EyeGaze(nn.Module):
    """Features (..., F) -> (..., 2) pitch, yaw in radians, within 90 degrees; a fresh one looks straight ahead."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(num_features, num_features)
        self.angles = nn.Linear(num_features, 2, bias=False)
        nn.init.zeros_(self.angles.weight)

    def forward(self, features: Tensor) -> Tensor:
        """Regress the angles."""
        return 0.5 * math.pi * torch.tanh(self.angles(F.selu(self.hidden(features))))


class EyeNet(nn.Module):
    """Gaze of each eye from its crop and the head's pose, and the gaze of the face from both.

    Args:
        width: channels of the first stage; 64 is ResNet-18.
        image_size: side to which an eye is resized, px; 64 or more.
        num_features: F.
        recurrent: a GRU over the frames of a window, from a state of zeros; single frames are windows of one.
        pupil: estimate the pupils too; only a loss that asks for them (`eye_losses.EveEyes`) trains that part.

    Raises:
        ConfigError: eyes too small.

    Source: Park et al., "Towards end-to-end video-based eye-tracking", ECCV 2020, and its reference code.
    """

    def __init__(
        self,
        *,
        width: int = 64,
        image_size: int = 128,
        num_features: int = 128,
        recurrent: bool = False,
        pupil: bool = True,
    ) -> None:
        super().__init__()
        if image_size < MIN_SIZE_PX:
            raise ConfigError(f"model.image_size: {image_size} px leave one cell to norm; {MIN_SIZE_PX} or more")
        self.image_size = image_size
        self.reads_sequences = recurrent
        self.trunk = resnet18_instance_norm(width=width, num_features=num_features)
        self.with_head_pose = nn.Sequential(
            nn.Linear(num_features + 2, num_features), nn.SELU(), nn.Linear(num_features, num_features)
        )
        self.over_time = nn.GRUCell(num_features, num_features) if recurrent else None
        self.static = nn.Identity() if recurrent else nn.Sequential(nn.Linear(num_features, num_features), nn.SELU())
        self.head = EyeGaze(num_features)
        self.pupil = None
        if pupil:
            diameter = nn.Linear(num_features, 1)
            # A usual one in mm: half of all nets would begin where the last ReLU is flat, and never learn.
            nn.init.constant_(diameter.bias, 4.0)
            self.pupil = nn.Sequential(nn.Linear(num_features, num_features), nn.SELU(), diameter, nn.ReLU())

    def forward(
        self, left_eye: Tensor, right_eye: Tensor, head_left: Tensor | None = None, head_right: Tensor | None = None
    ) -> GazeOutput:
        """Estimate the gaze.

        Args:
            left_eye: (B, 3, h, w) RGB, uint8 or float, 0..255; or windows (B, T, 3, h, w).
            right_eye: as `left_eye`.
            head_left: (B, 2) head pitch, yaw in radians, normalised camera of the left eye; NaN, or nothing at
                all, is read as (0, 0).
            head_right: likewise of the right eye.

        Returns:
            `gaze`: (B, 2) float32 pitch, yaw in radians, normalised camera of the face; `gaze_left`,
            `gaze_right`: (B, 2), each in the normalised camera of its eye; `pupil_left_mm`, `pupil_right_mm`: (B,)
            where the model estimates them.
        """
        eyes = torch.cat((left_eye, right_eye))
        features = self._look(eyes)
        if head_left is None or head_right is None:
            poses = features.new_zeros((*features.shape[:-1], 2))
        else:
            poses = torch.cat((head_left, head_right)).to(features.dtype).nan_to_num()
        device_type = features.device.type
        # Asked first, because an exporter cannot trace the context.
        if not torch.is_autocast_enabled(device_type):
            return self._answer(features, poses)
        with torch.autocast(device_type, enabled=False):
            return self._answer(features.float(), poses.float())

    def _look(self, eyes: Tensor) -> Tensor:
        """Eyes (..., 3, h, w), 0..255 -> features (..., F)."""
        images = eyes.flatten(0, -4).float() / 127.5 - 1
        if images.shape[-2:] != (self.image_size, self.image_size):
            size = (self.image_size, self.image_size)
            images = F.interpolate(images, size=size, mode="bilinear", antialias=True, align_corners=False)
        features = self.trunk(images.to(self.head.angles.weight.dtype))
        return features.unflatten(0, (-1, eyes.shape[1])) if eyes.ndim == 5 else features

    def _answer(self, features: Tensor, poses: Tensor) -> GazeOutput:
        """Features (2B, ..., F) and head poses (2B, ..., 2), those of the left eyes first -> the output."""
        features = self.static(self._go_through_time(self.with_head_pose(torch.cat((features, poses), dim=-1))))
        # Not `chunk`: it would fix the batch size of the exported graph.
        left, right = self.head(features).float().unflatten(0, (2, -1)).unbind()
        both = pitch_yaw_to_vector(left) + pitch_yaw_to_vector(right)
        output: GazeOutput = {"gaze": vector_to_pitch_yaw(both), "gaze_left": left, "gaze_right": right}
        if self.pupil is not None:
            pupils = self.pupil(features)[..., 0].float().unflatten(0, (2, -1))
            output["pupil_left_mm"], output["pupil_right_mm"] = pupils.unbind()
        return output

    def _go_through_time(self, features: Tensor) -> Tensor:
        """Features of frames (2B, F), or of windows (2B, T, F), by the GRU where there is one."""
        if self.over_time is None:
            return features
        if features.ndim == 2:
            return self.over_time(features)
        states: list[Tensor] = []
        for frame in features.unbind(1):
            states.append(self.over_time(frame, states[-1] if states else None))
        return torch.stack(states, dim=1)
