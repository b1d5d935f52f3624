"""GazeTRLite that also says what each pixel of the eyes is, and how large the pupils are.

Shapes: B batch, h w pixels of an eye, D token width.
    eyes (2B, 3, h, w) -> maps of the eye encoder -> masks (2B, 4, h, w)
    eye tokens (2B, D) -> pupils (2B,)
    everything else as in GazeTRLite

The gaze takes the way that it takes in GazeTRLite: what the other tasks change is what the eye encoder learns.
"""

from typing import Any, cast

import torch
from torch import Tensor, nn

from gaze_exp.batch import GazeOutput
from gaze_exp.errors import ConfigError
from gaze_exp.models.gazetr_lite import GazeTRLite
from gaze_exp.models.mask_decoder import MaskDecoder
from gaze_exp.models.timm_encoder import TimmEncoder

NUM_CLASSES = 4
"""Background, sclera, iris, pupil."""

TYPICAL_PUPIL_MM = 4.0


class GazeTRMultitask(GazeTRLite):
    """Gaze, masks of both eyes, and pupils.

    Args:
        decoder_width: channels of the mask decoder.
        pupil: estimate the pupils' diameter too.
        **options: of `GazeTRLite`; the eyes share their encoder.

    Raises:
        ConfigError: as `GazeTRLite`, or eyes with an encoder each.
    """

    def __init__(self, *, decoder_width: int = 32, pupil: bool = False, **options: Any) -> None:
        super().__init__(**options)
        if len(self.eye_encoders) > 1:
            raise ConfigError(
                "model.share_eye_encoder: false leaves each eye its own encoder, and masks need one; true is right"
            )
        encoder, projection = cast("TimmEncoder", self.eye_encoders[0]), cast("nn.Linear", self.eye_projections[0])
        self.decoder = MaskDecoder(encoder.map_channels(), num_classes=NUM_CLASSES, width=decoder_width)
        self.pupil_head = nn.Linear(projection.out_features, 1) if pupil else None

    def forward(self, face: Tensor, left_eye: Tensor, right_eye: Tensor) -> GazeOutput:
        """Estimate everything.

        Args:
            face: (B, 3, H, W) RGB, uint8 or float, 0..255.
            left_eye: (B, 3, h, w), as `face`.
            right_eye: (B, 3, h, w), as `face`.

        Returns:
            `gaze`: (B, 2) float32 pitch, yaw in radians, normalised camera of the face;
            `mask_left_logits`, `mask_right_logits`: (B, 4, h, w) float32;
            with `pupil` also `pupil_left_mm`, `pupil_right_mm`: (B,) float32.
        """
        features, maps = cast("TimmEncoder", self.eye_encoders[0]).pyramid(torch.cat((left_eye, right_eye)))
        tokens = self.eye_projections[0](features)
        left, right = tokens.unflatten(0, (2, -1)).unbind()
        size = (left_eye.shape[-2], left_eye.shape[-1])
        left_mask, right_mask = self.decoder(maps, size=size).float().unflatten(0, (2, -1)).unbind()
        output: GazeOutput = {
            "gaze": self.gaze_of(self.fuse(face, left, right)),
            "mask_left_logits": left_mask,
            "mask_right_logits": right_mask,
        }
        if self.pupil_head is not None:
            pupils = TYPICAL_PUPIL_MM + self.pupil_head(tokens)[:, 0].float()
            output["pupil_left_mm"], output["pupil_right_mm"] = pupils.unflatten(0, (2, -1)).unbind()
        return output
