"""L2CS-Net: a ResNet on the face, and for each angle a head that chooses among bins.

Its tensors are named as torchvision's and L2CS-Net's own, so that its state is that of a released file.

Shapes: B batch, H W pixels, C h w of the maps after layer3, F features, K bins.
    face (B, 3, H, W) -> early (B, C, h, w) -> late (B, F) -> angles (B, 2)
"""

import copy
import math
from pathlib import Path
from typing import Any, Literal, Self

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from gaze_exp.batch import GazeOutput
from gaze_exp.errors import ConfigError
from gaze_exp.models.l2cs_options import choose_arch, choose_bins, choose_size, imagenet_trunk
from gaze_exp.weights.contents import L2CSWeights
from gaze_exp.weights.read import read_l2cs
from gaze_exp.weights.sources import require_source

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PARTS = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4", "avgpool")
HEADS = ("fc_yaw_gaze", "fc_pitch_gaze")


class L2CS(nn.Module):
    """Gaze from the face crop by L2CS-Net.

    Args:
        arch: `resnet18`, 34, 50, 101 or 152; `auto` for that of the weights, else `resnet50`.
        head: `bins` for L2CS's two classifiers, `linear` for one layer that gives degrees.
        num_bins: None for those of the weights, else 90.
        bin_width_deg: None for that of released weights with so many bins.
        first_bin_deg: left edge of the first bin; None likewise.
        weights: released or own weights, or an exported ONNX graph (`gaze_exp.weights`).
        pretrained: `imagenet` for a classifier's trunk, from the hub or from `weights`; `none` for random numbers.
        heads: `swap` where the file has its two heads exchanged; `auto` and `keep` trust names and positions.
        image_size: side to which faces are resized, px; `auto` for that of our own checkpoint, else 448, the
            size of the released weights; None takes them as they come.
        frozen_norm: batch norm never trains. Always so where a graph had it folded: its statistics are gone.

    Raises:
        ConfigError: no weights are chosen, or they are not what was asked for.
        DataError: a weights file cannot be used.
    """

    conv1: nn.Conv2d
    bn1: nn.Module
    relu: nn.Module
    maxpool: nn.Module
    layer1: nn.Module
    layer2: nn.Module
    layer3: nn.Module
    layer4: nn.Module
    avgpool: nn.Module
    scale: Tensor
    shift: Tensor

    def __init__(
        self,
        *,
        arch: Literal["auto", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152"] = "auto",
        head: Literal["bins", "linear"] = "bins",
        num_bins: int | None = None,
        bin_width_deg: float | None = None,
        first_bin_deg: float | None = None,
        weights: str | Path | L2CSWeights | None = None,
        pretrained: str | None = None,
        heads: Literal["auto", "swap", "keep"] = "auto",
        image_size: int | str | None = "auto",
        frozen_norm: bool = False,
    ) -> None:
        super().__init__()
        imagenet = pretrained == "imagenet"
        require_source(weights.path if isinstance(weights, L2CSWeights) else weights, pretrained)
        found = read_l2cs(weights, trunk_only=imagenet) if isinstance(weights, str | Path) else weights
        self.arch = choose_arch(arch, found)
        self.head = head
        self.bins = choose_bins(num_bins, bin_width_deg, first_bin_deg, found=None if imagenet else found)
        self.image_size = choose_size(image_size, found)
        self.frozen_norm = frozen_norm or (found is not None and found.norm_folded)
        trunk = torchvision.models.get_model(self.arch, weights=None)
        for part in PARTS:
            self.add_module(part, getattr(trunk, part))
        self.width: int = trunk.fc.in_features
        self.num_features = self.width
        self._add_heads()
        mean, std = (torch.tensor(x).view(1, 3, 1, 1) for x in (IMAGENET_MEAN, IMAGENET_STD))
        self.register_buffer("scale", 1 / (255 * std), persistent=False)
        self.register_buffer("shift", -mean / std, persistent=False)
        if found is not None:
            self._load(found, with_heads=not imagenet)
        elif imagenet:
            self.load_state_dict({**self.state_dict(), **imagenet_trunk(self.arch)})
        if heads == "swap":
            self.swap_heads()
        self._freeze_norm()

    def _add_heads(self) -> None:
        if self.head == "linear":
            self.fc_angles = nn.Linear(self.width, 2)
            nn.init.normal_(self.fc_angles.weight, std=1e-2)
            nn.init.zeros_(self.fc_angles.bias)
        else:
            self.fc_yaw_gaze = nn.Linear(self.width, self.bins.number)
            self.fc_pitch_gaze = nn.Linear(self.width, self.bins.number)

    def _load(self, found: L2CSWeights, *, with_heads: bool) -> None:
        heads = found.heads if with_heads else {}
        if heads and self.head == "bins" and found.num_bins is None:
            raise ConfigError(f"model.head: bins, but {found.path} has a linear head; model.head=linear would be right")
        taken, state = found.trunk | heads, self.state_dict()
        self.load_state_dict(state | {name: tensor for name, tensor in taken.items() if name in state})

    def _freeze_norm(self) -> None:
        if self.frozen_norm:
            for module in self.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval().requires_grad_(requires_grad=False)

    def train(self, mode: bool = True) -> Self:
        """Set training or evaluation; frozen batch norm stays in evaluation."""
        super().train(mode)
        self._freeze_norm()
        return self

    def normalise(self, images: Tensor) -> Tensor:
        """Pixels to what the trunk reads: (B, 3, H, W) RGB, uint8 or float 0..255 -> the same, float32."""
        return images.float() * self.scale.float() + self.shift.float()

    def early(self, normalised: Tensor) -> Tensor:
        """Resize where asked, then run all but the last stage: (B, 3, H, W) -> (B, C, h, w)."""
        images = resize(normalised, self.image_size) if self.image_size else normalised
        maps = self.maxpool(self.relu(self.bn1(self.conv1(images.to(self.conv1.weight.dtype)))))
        return self.layer3(self.layer2(self.layer1(maps)))

    def late(self, maps: Tensor) -> Tensor:
        """Run the last stage and average: (B, C, h, w) -> (B, F)."""
        return self.avgpool(self.layer4(maps)).flatten(1)

    def angles_deg(self, features: Tensor) -> Tensor:
        """Decode features.

        Args:
            features: (B, F).

        Returns:
            (B, 2) float32 yaw, pitch in degrees: yaw > 0 to the left of the image, pitch > 0 up.
        """
        return self._decode(self._head_outputs(features))

    def _head_outputs(self, features: Tensor) -> tuple[Tensor, ...]:
        """Run the heads in float32, also under autocast: bf16 has three digits for an angle."""
        device_type = features.device.type
        # Asked first, because an exporter cannot trace the context.
        if not torch.is_autocast_enabled(device_type):
            return self._run_heads(features)
        with torch.autocast(device_type, enabled=False):
            return self._run_heads(features)

    def _run_heads(self, features: Tensor) -> tuple[Tensor, ...]:
        layers = (self.fc_angles,) if self.head == "linear" else (self.fc_yaw_gaze, self.fc_pitch_gaze)
        return tuple(layer(features.to(layer.weight.dtype)).float() for layer in layers)

    def _decode(self, outputs: tuple[Tensor, ...]) -> Tensor:
        if self.head == "linear":
            return outputs[0]
        return torch.stack([self.bins.expectation(logits) for logits in outputs], dim=-1)

    def forward(self, face: Tensor) -> GazeOutput:
        """Estimate the gaze.

        Args:
            face: (B, 3, H, W) RGB, uint8 or float, 0..255.

        Returns:
            `gaze`: (B, 2) float32 pitch, yaw in radians, normalised camera of the face; with bins also
            `yaw_logits` and `pitch_logits`: (B, K).
        """
        outputs = self._head_outputs(self.features(face))
        gaze: GazeOutput = {"gaze": self._decode(outputs).flip(-1) * (math.pi / 180)}
        if self.head == "bins":
            gaze["yaw_logits"], gaze["pitch_logits"] = outputs
        return gaze

    def features(self, face: Tensor) -> Tensor:
        """What the heads read: (B, 3, H, W) as in `forward` -> (B, F)."""
        return self.late(self.early(self.normalise(face)))

    def gaze_of(self, features: Tensor) -> Tensor:
        """Gaze from features: (B, F) -> (B, 2) float32 pitch, yaw in radians."""
        return self.angles_deg(features).flip(-1) * (math.pi / 180)

    def with_linear_head(self) -> "L2CS":
        """A copy with a fresh linear head, whose first answer is nearly (0, 0) degrees."""
        made = copy.deepcopy(self)
        for name in HEADS:
            if hasattr(made, name):
                delattr(made, name)
        made.head = "linear"
        made._add_heads()
        made.fc_angles.to(self.conv1.weight.device, self.conv1.weight.dtype)
        return made

    @torch.no_grad()
    def swap_heads(self) -> None:
        """Exchange yaw and pitch, for a file whose first output is the vertical one."""
        if self.head == "linear":
            for tensor in (self.fc_angles.weight, self.fc_angles.bias):
                tensor.copy_(tensor.flip(0))
        else:
            self.fc_yaw_gaze, self.fc_pitch_gaze = self.fc_pitch_gaze, self.fc_yaw_gaze

    @property
    def rebuild_options(self) -> dict[str, Any]:
        """Arguments that make this model again, without the files it came from; a checkpoint keeps them."""
        return {
            "arch": self.arch,
            "head": self.head,
            "num_bins": self.bins.number,
            "bin_width_deg": self.bins.width_deg,
            "first_bin_deg": self.bins.first_deg,
            "weights": None,
            "pretrained": "none",
            "heads": "keep",
            "image_size": self.image_size,
            "frozen_norm": self.frozen_norm,
        }


def resize(images: Tensor, size_px: int) -> Tensor:
    """Resize by averaging whole pixels, then bilinearly the rest: operators that every exporter writes.

    Args:
        images: (B, 3, H, W) float.
        size_px: new side; the aspect is not kept, as the client does not.

    Returns:
        (B, 3, size_px, size_px).
    """
    height, width = (int(side) for side in images.shape[-2:])
    shrink = (max(1, height // size_px), max(1, width // size_px))
    if shrink != (1, 1):
        images = F.avg_pool2d(images, shrink)
    if images.shape[-2:] == (size_px, size_px):
        return images
    return F.interpolate(images, size=(size_px, size_px), mode="bilinear", align_corners=False)
