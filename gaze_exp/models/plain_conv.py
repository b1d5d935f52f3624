"""Small plain convolution encoders that learn fast from nothing, registered with timm.

Shapes: B batch, H W pixels, C the width of the first stage (8, 12 or 16).
    image (B, 3, H, W) -> map (B, 8C, H/8, W/8) -> grid (B, 8C, 4, 4) -> features (B, 128C)

Each stage is one 3x3 convolution, batch norm and ReLU. Deep, depthwise or residual nets need many more
steps from random weights; a 32 px eye still has its 4x4 grid here, so that the features say where the iris
is: average pooling to one cell would throw that away.
"""

from typing import Any

from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn

GRID = 4

default_cfgs = generate_default_cfgs(
    {
        name: {
            "input_size": (3, 64, 64),
            "mean": (0.5, 0.5, 0.5),
            "std": (0.5, 0.5, 0.5),
            "first_conv": "stages.0.0",
            "classifier": "head",
        }
        for name in ("gaze_plain8", "gaze_plain12", "gaze_plain16")
    }
)


class PlainConv(nn.Module):
    """Four convolution stages and a grid of features."""

    def __init__(
        self, width: int = 8, *, num_classes: int = 1000, in_chans: int = 3, global_pool: str = "grid"
    ) -> None:
        super().__init__()
        widths = [width, 2 * width, 4 * width, 8 * width]
        # The last stage keeps the size: halving 32 px four times would leave 2x2.
        strides = [2, 2, 2, 1]
        self.stages = nn.Sequential()
        for channels, before, stride in zip(widths, [in_chans, *widths], strides, strict=False):
            self.stages.append(
                nn.Sequential(
                    nn.Conv2d(before, channels, kernel_size=3, stride=stride, padding=1, bias=False),
                    nn.BatchNorm2d(channels),
                    nn.ReLU(inplace=True),
                )
            )
        self.feature_info = [{"num_chs": channels} for channels in widths]
        self.pool = nn.AdaptiveAvgPool2d(GRID) if global_pool else nn.Identity()
        self.num_features = widths[-1] * GRID**2 if global_pool else widths[-1]
        self.num_classes = num_classes
        self.head = nn.Linear(self.num_features, num_classes) if num_classes else nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        """Encode normalised images.

        Args:
            images: (B, 3, H, W) float, H and W multiples of 32 keep the grid exact.

        Returns:
            (B, 128C) features, (B, num_classes) logits where a head was asked for, or the (B, 8C, H/8, W/8)
            map with `global_pool=""`.
        """
        features = self.stages(images)
        return features if isinstance(self.pool, nn.Identity) else self.forward_head(features)

    def forward_head(self, features: Tensor) -> Tensor:
        """Pool the last map: (B, 8C, H/8, W/8) -> (B, 128C), or logits."""
        return self.head(self.pool(features).flatten(1))

    def forward_intermediates(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The last map, and that of each stage, fine to coarse."""
        maps = []
        for stage in self.stages:
            images = stage(images)
            maps.append(images)
        return images, maps


def _build(name: str, *, pretrained: bool, width: int, **kwargs: Any) -> nn.Module:
    model: nn.Module = build_model_with_cfg(PlainConv, name, pretrained, width=width, **kwargs)
    return model


@register_model
def gaze_plain8(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Build the encoder with 8 channels in its first stage."""
    return _build("gaze_plain8", pretrained=pretrained, width=8, **kwargs)


@register_model
def gaze_plain12(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Build the encoder with 12 channels in its first stage."""
    return _build("gaze_plain12", pretrained=pretrained, width=12, **kwargs)


@register_model
def gaze_plain16(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Build the encoder with 16 channels in its first stage."""
    return _build("gaze_plain16", pretrained=pretrained, width=16, **kwargs)
