"""GazeTRLite: three small encoders, and a transformer over one token each.

Shapes: B batch, H W face pixels, h w eye pixels, F encoder features, D token width.
    face (B, 3, H, W), eyes (B, 3, h, w) -> features (B, F) -> tokens (B, 3, D) -> gaze (B, 2)

35,622,274 parameters as configured: two ResNet-18 of 11,176,512, projections 525,312, token types 1,536,
transformer 12,609,536, last norm 1,024, head 131,842.
"""

from pathlib import Path

import torch
from torch import Tensor, nn

from gaze_exp.batch import GazeOutput
from gaze_exp.models.attention import SelfAttentionBlock
from gaze_exp.models.gaze_head import GazeHead
from gaze_exp.models.timm_encoder import TimmEncoder


class GazeTRLite(nn.Module):
    """Gaze from the face and both eyes.

    The tokens are averaged at the end instead of adding a class token: with three tokens each one is
    evidence, and every encoder gets its gradient through one addition from the first step on.

    Args:
        encoder: timm name of the encoders.
        pretrained: load timm's ImageNet weights, unless there is a file.
        weights_file: timm weights of the encoder, `.safetensors` or `.pth`.
        share_eye_encoder: one encoder and projection for both eyes, which then run as one batch; False
            gives each eye its own.
        token_width: D.
        depth: number of transformer layers.
        num_heads: attention heads, divides D.
        feedforward_width: hidden width of the transformer's feed-forward parts.
        head_width: hidden width of the head.
        dropout: in transformer and head, in training.

    Raises:
        ConfigError: no such encoder, or its weights cannot be had.

    Source: after Cheng and Lu, "Gaze estimation using transformer", ICPR 2022, with eyes beside the face.
    """

    def __init__(
        self,
        *,
        encoder: str = "resnet18",
        pretrained: bool = True,
        weights_file: str | Path | None = None,
        share_eye_encoder: bool = True,
        token_width: int = 512,
        depth: int = 4,
        num_heads: int = 8,
        feedforward_width: int = 2048,
        head_width: int = 256,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        num_encoders = 2 if share_eye_encoder else 3
        encoders = [TimmEncoder(encoder, pretrained=pretrained, weights_file=weights_file) for _ in range(num_encoders)]
        self.face_encoder = encoders[0]
        self.eye_encoders = nn.ModuleList(encoders[1:])
        """One for both eyes, or the left and the right one."""
        num_features = self.face_encoder.num_features
        self.face_projection = nn.Linear(num_features, token_width)
        self.eye_projections = nn.ModuleList(nn.Linear(num_features, token_width) for _ in self.eye_encoders)
        self.token_types = nn.Parameter(torch.empty(3, token_width).normal_(std=0.02))
        self.fusion = nn.Sequential(
            *(
                SelfAttentionBlock(
                    token_width, num_heads=num_heads, feedforward_width=feedforward_width, dropout=dropout
                )
                for _ in range(depth)
            )
        )
        self.norm = nn.LayerNorm(token_width)
        self.num_features = token_width
        self.head = GazeHead(token_width, hidden_width=head_width, dropout=dropout)

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
        """What the head reads: images as in `forward` -> (B, D)."""
        return self.fuse(face, *self._eye_tokens(left_eye, right_eye))

    def fuse(self, face: Tensor, left: Tensor, right: Tensor) -> Tensor:
        """Join the face (B, 3, H, W) and the tokens (B, D) of the eyes to features (B, D)."""
        face_token = self.face_projection(self.face_encoder(face))
        tokens = torch.stack((face_token, left, right), dim=1)
        fused = self.fusion(tokens + self.token_types)
        return self.norm(fused.mean(dim=1))

    def gaze_of(self, features: Tensor) -> Tensor:
        """Gaze from features: (B, D) -> (B, 2) pitch, yaw in radians."""
        return self.head(features)

    def _eye_tokens(self, left_eye: Tensor, right_eye: Tensor) -> tuple[Tensor, Tensor]:
        """Encode each eye to a token (B, D); one encoder for both takes them as one faster batch."""
        if len(self.eye_encoders) == 1:
            features = self.eye_encoders[0](torch.cat((left_eye, right_eye)))
            # Not `chunk`: it would fix the batch size of the exported graph.
            left, right = self.eye_projections[0](features).unflatten(0, (2, -1)).unbind()
            return left, right
        left, right = (
            project(encode(eye))
            for encode, project, eye in zip(self.eye_encoders, self.eye_projections, (left_eye, right_eye), strict=True)
        )
        return left, right
