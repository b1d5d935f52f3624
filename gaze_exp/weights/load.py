"""A model from a file of weights, and a report of what was found there."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from gaze_exp.file_hash import sha256_of
from gaze_exp.models.l2cs import L2CS
from gaze_exp.weights.contents import L2CSWeights
from gaze_exp.weights.flip_test import FlipTest, flip_test
from gaze_exp.weights.read import read_l2cs
from gaze_exp.weights.sources import LICENCE_NOTICE

Heads = Literal["auto", "swap", "keep"]


@dataclass(frozen=True)
class WeightsReport:
    """What a file of weights held, and what was made of it."""

    path: str
    sha256: str
    origin: str
    """`official or yakhyo state dict`, `own checkpoint`, `ONNX graph ...`."""
    arch: str
    num_tensors: int
    """Of the trunk: all that torchvision's has."""
    num_bins: int | None
    dropped: tuple[str, ...]
    norm_folded: bool
    heads: str
    """`kept`, `swapped as asked`, `swapped after the flip test`."""
    flip: FlipTest | None
    """None where there were no pictures to test on."""

    @property
    def licence(self) -> str:
        """What to mind with these weights; empty for our own."""
        return "" if self.origin == "own checkpoint" else LICENCE_NOTICE

    def lines(self) -> list[str]:
        """Sentences for the log."""
        said = [
            f"{self.path}: {self.origin}, {self.arch}, all {self.num_tensors} tensors of the trunk; heads {self.heads}"
        ]
        if self.norm_folded:
            said.append("batch norm was folded into the convolutions: it stays frozen")
        if self.dropped:
            said.append(f"left out: {', '.join(self.dropped)}")
        said.append(str(self.flip) if self.flip else "which output is horizontal was not tested: no pictures at hand")
        return [*said, self.licence] if self.licence else said


def load_l2cs(
    path: str | Path, *, arch: str = "auto", heads: Heads = "auto", images: Tensor | None = None, **options: object
) -> tuple[L2CS, WeightsReport]:
    """Load weights of L2CS-Net from any file that holds them.

    Args:
        path: .pkl, .pt, .ckpt, .safetensors, a checkpoint of ours, or an exported .onnx.
        arch: insist on a ResNet; `auto` takes what the file holds.
        heads: `swap` exchanges them, `keep` does not; `auto` trusts the file's names or positions, unless the
            flip test on `images` contradicts.
        images: (N, 3, H, W) RGB 0..255, the user's own faces, for the flip test.
        **options: more arguments of `L2CS`.

    Returns:
        The model in evaluation, and the report.

    Raises:
        ConfigError: the file holds another model than asked for.
        DataError: the file cannot be used.
    """
    found = read_l2cs(path)
    head = "bins" if found.num_bins is not None else "linear"
    model = L2CS(**{"arch": arch, "head": head, "weights": found, "heads": heads, **options}).eval()  # type: ignore[arg-type]
    return model, settle_heads(model, found, heads=heads, images=images)


def settle_heads(model: L2CS, found: L2CSWeights, *, heads: Heads, images: Tensor | None) -> WeightsReport:
    """Exchange a model's heads where the flip test on pictures contradicts the file they came from.

    Args:
        model: made of `found`, in evaluation; `heads=swap` has been done in the making.
        found: what the file held.
        heads: only `auto` lets the test decide.
        images: (N, 3, H, W) RGB 0..255, the user's own faces; None: no test.

    Returns:
        What the file held and what was done with it.
    """
    flip = None if images is None else heads_on(model, images)
    done = "swapped as asked" if heads == "swap" else "kept"
    if heads == "auto" and flip is not None and flip.verdict == "swapped":
        model.swap_heads()
        done = "swapped after the flip test"
    return _report(found, heads=done, flip=flip)


def heads_on(model: L2CS, images: Tensor) -> FlipTest:
    """Ask a model on pictures which of its outputs is horizontal.

    Args:
        model: in evaluation.
        images: (N, 3, H, W) RGB 0..255.
    """
    device = next(model.parameters()).device
    with torch.inference_mode():
        return flip_test(lambda part: model(part.to(device))["gaze"].flip(-1).rad2deg().cpu(), images)


def _report(found: L2CSWeights, *, heads: str, flip: FlipTest | None) -> WeightsReport:
    return WeightsReport(
        path=str(found.path),
        sha256=sha256_of(found.path),
        origin=found.origin,
        arch=found.arch,
        num_tensors=len(found.trunk),
        num_bins=found.num_bins,
        dropped=found.dropped,
        norm_folded=found.norm_folded,
        heads=heads,
        flip=flip,
    )
