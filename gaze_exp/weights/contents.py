"""What every reader of weights brings home: tensors under L2CS-Net's own names, checked to be all there."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import torch
import torchvision
from torch import Tensor, nn

from gaze_exp.errors import DataError
from gaze_exp.gaze_bins import Bins

BLOCKS: dict[tuple[str, tuple[int, ...]], str] = {
    ("basic", (2, 2, 2, 2)): "resnet18",
    ("basic", (3, 4, 6, 3)): "resnet34",
    ("bottleneck", (3, 4, 6, 3)): "resnet50",
    ("bottleneck", (3, 4, 23, 3)): "resnet101",
    ("bottleneck", (3, 8, 36, 3)): "resnet152",
}
ARCHS = tuple(BLOCKS.values())
SHOWN = 6


@dataclass(frozen=True)
class L2CSWeights:
    """Weights of a file, ready for a model."""

    path: Path
    origin: str
    """What kind of file it is, in words."""
    arch: str
    trunk: dict[str, Tensor]
    """torchvision's names without `fc`."""
    heads: dict[str, Tensor] = field(default_factory=dict)
    """`fc_yaw_gaze.*` and `fc_pitch_gaze.*`, or `fc_angles.*` of our own linear head; may be empty."""
    bins: Bins | None = None
    """None where the file does not say and no released file has so many."""
    norm_folded: bool = False
    """Whether batch norm was folded into the convolutions: its statistics are gone, it must never train."""
    image_size: int | str | None = "auto"
    """Side of the faces that it was trained on; `auto` where the file does not say."""
    dropped: tuple[str, ...] = ()
    """Tensors that no model of ours uses."""

    @property
    def num_bins(self) -> int | None:
        """Outputs of a head; None where there are no bins."""
        bias = self.heads.get("fc_yaw_gaze.bias")
        return None if bias is None else len(bias)


@cache
def trunk_shapes(arch: str) -> dict[str, torch.Size]:
    """Names and shapes of a trunk's tensors, as torchvision has them."""
    return {name: tensor.shape for name, tensor in empty_resnet(arch).state_dict().items() if name[:3] != "fc."}


def empty_resnet(arch: str) -> nn.Module:
    """Torchvision's ResNet without memory for its numbers."""
    with torch.device("meta"):
        return torchvision.models.get_model(arch, weights=None)


def arch_of(names: Collection[str], *, path: Path) -> str:
    """Tell the ResNet by its blocks.

    Raises:
        DataError: it is none.
    """
    blocks = tuple(len({n.split(".")[1] for n in names if n.startswith(f"layer{stage}.")}) for stage in range(1, 5))
    kind = "bottleneck" if "layer1.0.conv3.weight" in names else "basic"
    arch = BLOCKS.get((kind, blocks))
    if arch is None:
        shown = ", ".join(sorted(names)[:4]) or "none at all"
        raise DataError(
            f"{path}: no ResNet of L2CS-Net: layer1 to layer4 have {blocks} {kind} blocks "
            f"(its first tensors: {shown}); weights of {', '.join(ARCHS)} are right"
        )
    return arch


def checked_trunk(state: Mapping[str, Tensor], *, arch: str, path: Path) -> dict[str, Tensor]:
    """Cover every tensor of a trunk, or say which are missing.

    Args:
        state: tensors by torchvision's names; others are left out.
        arch: of the trunk.
        path: of the file, for the error.

    Raises:
        DataError: a tensor is missing, has another shape, or holds no numbers.
    """
    shapes = trunk_shapes(arch)
    # A counter that no evaluation reads; some converters drop it.
    counters = {name: torch.zeros((), dtype=torch.long) for name in shapes if name.endswith("num_batches_tracked")}
    state = {**counters, **state}
    missing = [name for name in shapes if name not in state]
    if missing:
        raise DataError(
            f"{path}: misses {listed(missing)} of the {len(shapes)} tensors of a {arch} trunk; a whole file is right"
        )
    wrong = [f"{name} {tuple(state[name].shape)}" for name, shape in shapes.items() if state[name].shape != shape]
    if wrong:
        raise DataError(f"{path}: {listed(wrong)} have other shapes than in a {arch}; weights of one are right")
    return {name: as_float32(state[name], name=name, path=path) for name in shapes}


def checked_heads(heads: Mapping[str, Tensor], *, path: Path) -> dict[str, Tensor]:
    """Insist that both heads have the same number of bins, and hold numbers."""
    widths = [len(heads[f"fc_{angle}_gaze.bias"]) for angle in ("yaw", "pitch")]
    if widths[0] != widths[1]:
        raise DataError(f"{path}: its heads have {widths[0]} and {widths[1]} bins; equal numbers are right")
    return {name: as_float32(tensor, name=name, path=path) for name, tensor in heads.items()}


def as_float32(tensor: Tensor, *, name: str, path: Path) -> Tensor:
    """Cast float16, bfloat16 and float64; leave counters; refuse what is no number."""
    if not tensor.is_floating_point():
        return tensor
    if not tensor.isfinite().all():
        raise DataError(f"{path}: {name} holds NaN or infinite numbers; the file is spoilt, take another copy")
    return tensor.detach().float().contiguous()


def bins_of(heads: Mapping[str, Tensor]) -> Bins | None:
    """The bins of released weights with so many outputs; None for other numbers."""
    number = len(heads["fc_yaw_gaze.bias"])
    return Bins.of(number) if number in (90, 28) else None


def listed(names: Collection[str]) -> str:
    """The first few of many names, and how many there are."""
    shown = ", ".join(list(names)[:SHOWN])
    return shown if len(names) <= SHOWN else f"{shown} and {len(names) - SHOWN} more"
