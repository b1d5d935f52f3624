"""Feature maps of an encoder -> what each pixel is.

Shapes: B batch, h w pixels of the picture, C width, K classes.
    maps, fine to coarse, (B, C_i, h_i, w_i) -> (B, C, h_0, w_0) -> logits (B, K, h, w)
"""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn


class MaskDecoder(nn.Module):
    """A feature pyramid: from the coarsest map up, each finer one is added and smoothed.

    Args:
        channels: of the maps, fine to coarse.
        num_classes: K.
        width: C.

    Source: the top-down path of Lin et al., "Feature pyramid networks for object detection", CVPR 2017.
    """

    def __init__(self, channels: Sequence[int], *, num_classes: int, width: int = 32) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(number, width, kernel_size=1) for number in channels)
        self.smooth = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(width, width, kernel_size=3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
            )
            for _ in channels
        )
        self.classify = nn.Conv2d(width, num_classes, kernel_size=3, padding=1)

    def forward(self, maps: Sequence[Tensor], *, size: tuple[int, int]) -> Tensor:
        """Label the pixels.

        Args:
            maps: fine to coarse.
            size: height, width of the picture, px.

        Returns:
            (B, K, h, w) logits.
        """
        layers = list(zip(maps, self.lateral, self.smooth, strict=True))
        decoded = None
        for each, lateral, smooth in reversed(layers):
            finer = lateral(each)
            if decoded is not None:
                finer = finer + F.interpolate(decoded, size=finer.shape[-2:], mode="bilinear", align_corners=False)
            decoded = smooth(finer)
        return F.interpolate(self.classify(decoded), size=size, mode="bilinear", align_corners=False)
