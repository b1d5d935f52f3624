"""GazeTRHybrid: a large ViT reads the face, a small one both eyes, and the eyes look things up in the face.

Shapes: B batch, H W face pixels, h w eye pixels, N face tokens, M tokens an eye, D fusion width.
    face (B, 3, H, W) -> (B, N, D);  eyes (B, 3, h, w) -> (B, 2M, D), which attend to the face -> gaze (B, 2)

114,703,618 parameters as configured: ViT-Base 85,798,656, ViT-Small at 112 px 21,609,216, fusion and head
7,295,746.
"""

from pathlib import Path

import torch
from torch import Tensor, nn

from gaze_exp.batch import GazeOutput
from gaze_exp.models.attention import CrossAttentionBlock
from gaze_exp.models.gaze_head import GazeHead
from gaze_exp.models.timm_encoder import TimmEncoder


class GazeTRHybrid(nn.Module):
    """Gaze from the patches of both eyes, each of which can ask every patch of the face.

    Args:
        face_encoder: timm name of the face encoder.
        eye_encoder: timm name of the encoder that both eyes share.
        pretrained: load timm's ImageNet weights, where there is no file.
        face_weights_file: timm weights of the face encoder, `.safetensors` or `.pth`.
        eye_weights_file: timm weights of the eye encoder.
        face_size: side of the face image inside the model, px.
        eye_size: side of the eye images inside the model, px; the eye encoder's positions are resampled.
        width: D.
        depth: number of cross-attention layers.
        num_heads: attention heads, divides D.
        feedforward_width: hidden width of the feed-forward parts.
        head_width: hidden width of the head.
        dropout: in fusion and head, in training.

    Raises:
        ConfigError: no such encoder, or its weights cannot be had.
    """

    def __init__(
        self,
        *,
        face_encoder: str = "vit_base_patch16_224",
        eye_encoder: str = "vit_small_patch16_224",
        pretrained: bool = True,
        face_weights_file: str | Path | None = None,
        eye_weights_file: str | Path | None = None,
        face_size: int = 224,
        eye_size: int = 112,
        width: int = 512,
        depth: int = 2,
        num_heads: int = 8,
        feedforward_width: int = 2048,
        head_width: int = 256,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.face_encoder = TimmEncoder(
            face_encoder,
            pretrained=pretrained,
            weights_file=face_weights_file,
            image_size=face_size,
            pooled=False,
            option="face_weights_file",
        )
        self.eye_encoder = TimmEncoder(
            eye_encoder,
            pretrained=pretrained,
            weights_file=eye_weights_file,
            image_size=eye_size,
            pooled=False,
            option="eye_weights_file",
        )
        self.face_projection = nn.Linear(self.face_encoder.num_features, width)
        self.eye_projection = nn.Linear(self.eye_encoder.num_features, width)
        self.eye_types = nn.Parameter(torch.empty(2, width).normal_(std=0.02))
        self.fusion = nn.ModuleList(
            CrossAttentionBlock(width, num_heads=num_heads, feedforward_width=feedforward_width, dropout=dropout)
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(3 * width)
        self.num_features = 3 * width
        self.head = GazeHead(3 * width, hidden_width=head_width, dropout=dropout)

    def forward(self, face: Tensor, left_eye: Tensor, right_eye: Tensor) -> GazeOutput:
        """Estimate the gaze.

        Args:
            face: (B, 3, H, W) RGB, uint8 or float, 0..255.
            left_eye: (B, 3, h, w), as `face`.
            right_eye: (B, 3, h, w), as `face`.

        Returns:
            `gaze`: (B, 2) float32 pitch, yaw in radians, normalised camera of the face.
        """
        return {"gaze": self.gaze_of(self.features(face, left_eye, right_eye))}

    def features(self, face: Tensor, left_eye: Tensor, right_eye: Tensor) -> Tensor:
        """What the head reads: images as in `forward` -> (B, 3D)."""
        face_tokens = self.face_projection(self.face_encoder(face))
        both = self.eye_projection(self.eye_encoder(torch.cat((left_eye, right_eye))))
        left, right = both.unflatten(0, (2, -1)).unbind()
        eyes = torch.cat((left + self.eye_types[0], right + self.eye_types[1]), dim=1)
        for block in self.fusion:
            eyes = block(eyes, face_tokens)
        # Pooled late and apart: which eye and which patch said it matters up to here.
        left, right = (half.mean(dim=1) for half in eyes.chunk(2, dim=1))
        return self.norm(torch.cat((face_tokens.mean(dim=1), left, right), dim=1))

    def gaze_of(self, features: Tensor) -> Tensor:
        """Gaze from features: (B, 3D) -> (B, 2) pitch, yaw in radians."""
        return self.head(features)
