"""A timm model as image encoder, with its own normalisation as the first line of `forward`.

Shapes: B batch, H W pixels, F features, N tokens.
    images (B, 3, H, W) uint8 or float 0..255 -> features (B, F), or tokens (B, N, F) with `pooled=False`
"""

from pathlib import Path
from typing import Any, cast

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import gaze_exp.models.plain_conv  # noqa: F401  registers its encoders with timm
from gaze_exp.errors import ConfigError
from gaze_exp.models.encoder_weights import build_trunk


class TimmEncoder(nn.Module):
    """Any timm model without its classifier: raw pixels in, features out.

    Mean and std come from the model's own timm config and live in buffers, so training, evaluation and the
    exported graph cannot disagree, and a checkpoint keeps the ones it was trained with.

    Args:
        name: timm model name, or `gaze_plain8`, `gaze_plain12`, `gaze_plain16`.
        pretrained: load timm's ImageNet weights, unless there is a file.
        weights_file: timm weights of this model, `.safetensors` or `.pth`.
        image_size: side to which images are resized, px. None resizes only where the model has a fixed size
            (ViT), to that size; a convolution net then takes images as they come.
        pooled: False returns tokens instead of one feature vector.
        option: name of the option that sets `weights_file` in the model around, for error texts.

    Raises:
        ConfigError: no such model, or the weights cannot be had.
    """

    scale: Tensor
    shift: Tensor

    def __init__(
        self,
        name: str,
        *,
        pretrained: bool,
        weights_file: str | Path | None,
        image_size: int | None = None,
        pooled: bool = True,
        option: str = "weights_file",
    ) -> None:
        super().__init__()
        known = timm.get_pretrained_cfg(name, allow_unregistered=True) if timm.is_model(name) else None
        fixed_size = bool(known and known.fixed_input_size)
        options: dict[str, object] = {} if pooled else {"global_pool": ""}
        if fixed_size and image_size is not None:
            options["img_size"] = image_size
        trunk: Any = build_trunk(name, pretrained=pretrained, weights_file=weights_file, option=option, **options)
        config: dict[str, Any] = trunk.pretrained_cfg
        own_size: int = config["input_size"][-1]
        self.image_size = own_size if fixed_size and image_size is None else image_size
        self.trunk: nn.Module = trunk
        self.pooled = pooled
        self.num_features: int = trunk.num_features
        mean, std = (torch.tensor(config[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
        self.register_buffer("scale", 1 / (255 * std))
        self.register_buffer("shift", -mean / std)

    def forward(self, images: Tensor) -> Tensor:
        """Normalise and encode.

        Args:
            images: (B, 3, H, W) RGB, uint8 or float, 0..255.

        Returns:
            (B, F) features, or (B, N, F) tokens with `pooled=False`.
        """
        features = self.trunk(self._normalise(images))
        if self.pooled or features.ndim == 3:
            return features
        channels_last = str(getattr(self.trunk, "output_fmt", "NCHW")).endswith("NHWC")
        return features.flatten(1, 2) if channels_last else features.flatten(2).transpose(1, 2)

    def pyramid(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Normalise, encode, and give the maps on the way too.

        Args:
            images: (B, 3, H, W) RGB, uint8 or float, 0..255.

        Returns:
            (B, F) features, as `forward` gives them, and (B, C_i, H_i, W_i) maps, fine to coarse.
        """
        trunk: Any = self.trunk
        last, maps = trunk.forward_intermediates(self._normalise(images))
        return trunk.forward_head(last), maps

    def map_channels(self) -> list[int]:
        """Channels of the maps of `pyramid`.

        Raises:
            ConfigError: the model gives none.
        """
        if not hasattr(self.trunk, "forward_intermediates") or not hasattr(self.trunk, "feature_info"):
            raise ConfigError(f"model: {type(self.trunk).__name__} gives no maps on its way; resnet18 does")
        return [stage["num_chs"] for stage in cast("Any", self.trunk).feature_info]

    def _normalise(self, images: Tensor) -> Tensor:
        # In float32 whatever the model's own precision: bf16 cannot tell neighbouring pixel values apart.
        normalised = images.float() * self.scale.float() + self.shift.float()
        return self._resize(normalised).to(self.scale.dtype)

    def _resize(self, images: Tensor) -> Tensor:
        size = self.image_size
        if size is None or images.shape[-2:] == (size, size):
            return images
        return F.interpolate(images, size=(size, size), mode="bilinear", antialias=True, align_corners=False)
