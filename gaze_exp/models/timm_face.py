"""TimmFace: any timm backbone on the face alone.

Shapes: B batch, H W pixels, F features.
    face (B, 3, H, W) -> features (B, F) -> gaze (B, 2)
"""

from pathlib import Path

from torch import Tensor, nn

from gaze_exp.batch import GazeOutput
from gaze_exp.models.gaze_head import GazeHead
from gaze_exp.models.timm_encoder import TimmEncoder


class TimmFace(nn.Module):
    """Gaze from the face crop, the plainest baseline.

    Args:
        backbone: timm model name.
        pretrained: load timm's ImageNet weights, unless there is a file.
        weights_file: timm weights of the backbone, `.safetensors` or `.pth`.
        image_size: side to which the face is resized, px; None resizes only for a backbone of fixed size.
        head_width: hidden width of the head.
        dropout: in the head, in training.

    Raises:
        ConfigError: no such backbone, or its weights cannot be had.
    """

    def __init__(
        self,
        backbone: str = "resnet50",
        *,
        pretrained: bool = True,
        weights_file: str | Path | None = None,
        image_size: int | None = None,
        head_width: int = 256,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.encoder = TimmEncoder(backbone, pretrained=pretrained, weights_file=weights_file, image_size=image_size)
        self.num_features = self.encoder.num_features
        self.head = GazeHead(self.num_features, hidden_width=head_width, dropout=dropout)

    def forward(self, face: Tensor) -> GazeOutput:
        """Estimate the gaze.

        Args:
            face: (B, 3, H, W) RGB, uint8 or float, 0..255.

        Returns:
            `gaze`: (B, 2) float32 pitch, yaw in radians, normalised camera of the face.
        """
        return {"gaze": self.gaze_of(self.features(face))}

    def features(self, face: Tensor) -> Tensor:
        """What the head reads: (B, 3, H, W) -> (B, F)."""
        return self.encoder(face)

    def gaze_of(self, features: Tensor) -> Tensor:
        """Gaze from features: (B, F) -> (B, 2) pitch, yaw in radians."""
        return self.head(features)
