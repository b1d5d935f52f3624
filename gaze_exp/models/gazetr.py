"""GazeTR, the hybrid as published: a ResNet's map of the face, read by a transformer as a sequence of places.

Shapes: B batch, H W pixels, G cells a side of the map, D token width, h heads.
    face (B, 3, H, W) -> map (B, G*G, 512) -> places (B, G*G, D), a class token before them (B, 1 + G*G, D)
    -> six post-norm layers -> the class token (B, D) -> gaze (B, 2)

11,420,738 parameters as configured: ResNet-18 11,176,512, its map to 32 channels 16,480, layers 225,984, last norm
64, class token and positions 1,632, head 66.

Its own zoo neighbour `gazetr_hybrid` is another thing: two ViT with cross-attention.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gaze_exp.batch import GazeOutput
from gaze_exp.errors import ConfigError
from gaze_exp.models.gaze_head import LinearGazeHead
from gaze_exp.models.timm_encoder import TimmEncoder


class PlacedAttention(nn.Module):
    """Self-attention that knows places only when it asks and is asked: values carry none.

    Args:
        width: D.
        num_heads: h, divides D.
        dropout: on the attention weights, in training.
    """

    def __init__(self, width: int, *, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.dropout = dropout
        self.to_query_key = nn.Linear(width, 2 * width)
        self.to_value = nn.Linear(width, width)
        self.to_output = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.to_query_key.weight)
        nn.init.xavier_uniform_(self.to_value.weight)

    def forward(self, tokens: Tensor, places: Tensor) -> Tensor:
        """Mix tokens (B, N, D) by what they are and where they are, (N, D) -> (B, N, D)."""
        query_key = self.to_query_key(tokens + places).unflatten(-1, (2, self.num_heads, -1))
        query, key = query_key.permute(2, 0, 3, 1, 4).unbind(0)
        value = self.to_value(tokens).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
        mixed = F.scaled_dot_product_attention(query, key, value, dropout_p=self.dropout if self.training else 0.0)
        return self.to_output(mixed.transpose(1, 2).flatten(2))


class PostNormBlock(nn.Module):
    """One layer: attention, then feed-forward, each added and then normed.

    Args:
        width: D.
        num_heads: h, divides D.
        feedforward_width: hidden width of the feed-forward part.
        dropout: in training.
    """

    def __init__(self, width: int, *, num_heads: int, feedforward_width: int, dropout: float) -> None:
        super().__init__()
        self.attention = PlacedAttention(width, num_heads=num_heads, dropout=dropout)
        self.attention_norm = nn.LayerNorm(width)
        self.feedforward = nn.Sequential(
            nn.Linear(width, feedforward_width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(feedforward_width, width)
        )
        self.feedforward_norm = nn.LayerNorm(width)
        self.drop = nn.Dropout(dropout)

    def forward(self, tokens: Tensor, places: Tensor) -> Tensor:
        """Tokens (B, N, D) and their places (N, D) -> (B, N, D)."""
        tokens = self.attention_norm(tokens + self.drop(self.attention(tokens, places)))
        return self.feedforward_norm(tokens + self.drop(self.feedforward(tokens)))


class GazeTR(nn.Module):
    """Gaze from the face crop through a convolution net and a transformer over its map.

    Args:
        encoder: timm name of the convolution net.
        pretrained: load timm's ImageNet weights, unless there is a file; the published one starts from nothing.
        weights_file: timm weights of the encoder, `.safetensors` or `.pth`.
        image_size: side to which the face is resized, px; None takes it as it comes.
        map_size: G; 7 for a ResNet at 224 px, 1/32 of the side.
        token_width: D.
        depth: number of layers.
        num_heads: attention heads, divides D.
        feedforward_width: hidden width of the feed-forward parts.
        dropout: in the transformer, in training.

    Raises:
        ConfigError: no such encoder, or its weights cannot be had; a map of another size.

    Source: Cheng and Lu, "Gaze estimation using transformer", ICPR 2022, and its reference code. One difference:
    pictures are normalised with the encoder's own mean and deviation instead of to 0..1.
    """

    def __init__(
        self,
        *,
        encoder: str = "resnet18",
        pretrained: bool = False,
        weights_file: str | Path | None = None,
        image_size: int | None = 224,
        map_size: int = 7,
        token_width: int = 32,
        depth: int = 6,
        num_heads: int = 8,
        feedforward_width: int = 512,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.encoder = TimmEncoder(
            encoder, pretrained=pretrained, weights_file=weights_file, image_size=image_size, pooled=False
        )
        self.map_size = map_size
        self.to_tokens = nn.Linear(self.encoder.num_features, token_width)
        self.token_norm = nn.BatchNorm1d(token_width)
        self.class_token = nn.Parameter(torch.randn(1, 1, token_width))
        self.places = nn.Parameter(torch.randn(1 + map_size**2, token_width))
        self.layers = nn.ModuleList(
            PostNormBlock(token_width, num_heads=num_heads, feedforward_width=feedforward_width, dropout=dropout)
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(token_width)
        self.num_features = token_width
        self.head = LinearGazeHead(token_width)

    def forward(self, face: Tensor) -> GazeOutput:
        """Estimate the gaze.

        Args:
            face: (B, 3, H, W) RGB, uint8 or float, 0..255.

        Returns:
            `gaze`: (B, 2) float32 pitch, yaw in radians, normalised camera of the face.
        """
        return {"gaze": self.gaze_of(self.features(face))}

    def features(self, face: Tensor) -> Tensor:
        """What the head reads: face as in `forward` -> (B, D)."""
        cells = self.to_tokens(self.encoder(face))
        if cells.shape[1] != self.map_size**2:
            side = cells.shape[1] ** 0.5
            raise ConfigError(
                f"model.map_size: {self.map_size} cells a side, but the map of a face of {face.shape[-1]} px has "
                f"{side:g}; model.map_size={side:g} fits"
            )
        # A 1x1 convolution, batch norm and ReLU on the map, written for tokens.
        tokens = F.relu(self.token_norm(cells.transpose(1, 2))).transpose(1, 2)
        tokens = torch.cat((self.class_token.expand(tokens.shape[0], -1, -1), tokens), dim=1)
        for layer in self.layers:
            tokens = layer(tokens, self.places)
        return self.norm(tokens)[:, 0]

    def gaze_of(self, features: Tensor) -> Tensor:
        """Gaze from features: (B, D) -> (B, 2) pitch, yaw in radians."""
        return self.head(features)
