"""Read weights of L2CS-Net from any file that holds them, as tensors under its own names."""

from pathlib import Path
from typing import Any

from torch import Tensor

from gaze_exp import checkpoint
from gaze_exp.errors import DataError
from gaze_exp.gaze_bins import Bins
from gaze_exp.weights.contents import L2CSWeights, arch_of, as_float32, checked_trunk
from gaze_exp.weights.torch_file import from_state, read_content

LFS_POINTER = b"version https://git-lfs"
WEB_PAGE = (b"<!doctype", b"<html", b"<?xml")


def read_l2cs(path: str | Path, *, trunk_only: bool = False) -> L2CSWeights:
    """Read a file of weights: the official .pkl, yakhyo's .pt or .ckpt, a checkpoint of ours, or an ONNX graph.

    Args:
        path: of the file.
        trunk_only: take the trunk alone, a classifier's too.

    Returns:
        Every tensor of the trunk, and the heads.

    Raises:
        DataError: missing, unreadable, incomplete, or of another model.
    """
    path = Path(path)
    _refuse_other_files(path)
    if path.suffix == ".onnx":
        from gaze_exp.weights.onnx_graph import read_onnx

        return read_onnx(path)
    content = read_content(path)
    if isinstance(content, dict) and "gaze_exp" in content:
        return _own(path)
    return from_state(content, path=path, trunk_only=trunk_only)


def _refuse_other_files(path: Path) -> None:
    """Name what is often downloaded instead of weights."""
    if not path.is_file():
        raise DataError(f"{path}: there is no such file; model.weights=FILE names one on this machine")
    with path.open("rb") as file:
        start = file.read(64).lstrip().lower()
    if not start:
        raise DataError(f"{path}: is empty; download it again")
    if start.startswith(LFS_POINTER):
        raise DataError(f"{path}: is a Git LFS pointer, not the file itself; fetch it with 'git lfs pull'")
    if start.startswith(WEB_PAGE):
        raise DataError(f"{path}: is a web page, not weights; open the link in a browser and save the file it offers")


def _own(path: Path) -> L2CSWeights:
    saved = checkpoint.load(path)
    options: dict[str, Any] = saved.config["model"]
    target = str(options["_target_"]).rpartition(".")[2]
    if target != "L2CS":
        raise DataError(f"{path}: is a checkpoint of {target}; one of model=l2cs or model=l2cs_small is right")
    state: dict[str, Tensor] = saved.weights
    arch = arch_of(state, path=path)
    trunk = checked_trunk(state, arch=arch, path=path)
    heads = {name: as_float32(t, name=name, path=path) for name, t in state.items() if name not in trunk}
    return L2CSWeights(
        path,
        "own checkpoint",
        arch,
        trunk,
        heads,
        bins=Bins.of(options["num_bins"], width_deg=options["bin_width_deg"], first_deg=options["first_bin_deg"]),
        norm_folded=options["frozen_norm"],
        image_size=options["image_size"],
    )
