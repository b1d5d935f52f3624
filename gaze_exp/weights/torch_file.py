"""Read L2CS-Net's weights from files of torch: the official .pkl, .pt, .ckpt and .safetensors.

Source: key names of github.com/Ahmednull/L2CS-Net and github.com/yakhyo/gaze-estimation.
"""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gaze_exp.errors import DataError
from gaze_exp.weights.contents import L2CSWeights, arch_of, bins_of, checked_heads, checked_trunk, listed, trunk_shapes

WRAPPERS = ("state_dict", "model_state_dict", "model")
PREFIXES = ("module.", "model.", "net.", "backbone.", "_orig_mod.")
RENAMED = {"fc_yaw.": "fc_yaw_gaze.", "fc_pitch.": "fc_pitch_gaze."}
UNUSED = "fc_finetune."
"""A layer that L2CS-Net makes and never runs."""


def read_content(path: Path) -> Any:
    """Load plain data; nothing in the file is run.

    Raises:
        DataError: not weights, cut short, or holding more than plain data.
    """
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise DataError(
            f"{path}: holds more than tensors by name, or is no file of torch ({_reason(error)}); it was refused and "
            "nothing in it was run; a saved state_dict is right"
        ) from error
    except (RuntimeError, EOFError, ValueError, KeyError, OSError, AttributeError, IndexError, TypeError) as error:
        raise DataError(
            f"{path}: cannot be read as weights ({_reason(error)}): cut short, a TorchScript archive, or not "
            "torch's; a saved state_dict (.pkl, .pt, .pth, .ckpt, .safetensors) or an .onnx is right"
        ) from error


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as safetensors ({_reason(error)}); take another copy") from error


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__


def from_state(content: Any, *, path: Path, trunk_only: bool) -> L2CSWeights:
    """Weights from loaded content, whatever its wrapping and prefixes.

    Args:
        content: a mapping name -> tensor, perhaps inside another.
        path: of the file, for errors.
        trunk_only: heads and classifiers are left out.

    Raises:
        DataError: a tensor is missing, unknown, of another shape or no number.
    """
    state = canonical(content, path=path)
    dropped = [name for name in state if name.startswith(UNUSED)]
    arch = arch_of(state, path=path)
    trunk = checked_trunk(state, arch=arch, path=path)
    rest = {name: t for name, t in state.items() if name not in trunk_shapes(arch) and not name.startswith(UNUSED)}
    if trunk_only:
        return L2CSWeights(path, "trunk", arch, trunk, dropped=(*dropped, *rest))
    heads = _heads(rest, path=path)
    return L2CSWeights(path, "state dict", arch, trunk, heads, bins=bins_of(heads), dropped=tuple(dropped))


def canonical(content: Any, *, path: Path) -> dict[str, Tensor]:
    """Unwrap and rename to L2CS-Net's own names.

    Raises:
        DataError: there are no tensors by name.
    """
    for name in WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(name), Mapping):
            content = content[name]
    if not isinstance(content, Mapping) or not content or not all(isinstance(t, Tensor) for t in content.values()):
        raise DataError(f"{path}: holds no tensors by name; a saved state_dict is right")
    state = {str(name): tensor for name, tensor in content.items()}
    while prefix := next((p for p in PREFIXES if all(name.startswith(p) for name in state)), None):
        state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    return {_renamed(name): tensor for name, tensor in state.items()}


def _renamed(name: str) -> str:
    old = next((o for o in RENAMED if name.startswith(o)), None)
    return name if old is None else RENAMED[old] + name.removeprefix(old)


def _heads(rest: Mapping[str, Tensor], *, path: Path) -> dict[str, Tensor]:
    names = [f"fc_{angle}_gaze.{part}" for angle in ("yaw", "pitch") for part in ("weight", "bias")]
    if "fc.weight" in rest:
        outputs = len(rest["fc.weight"])
        raise DataError(
            f"{path}: ends in one layer 'fc' of {outputs} outputs instead of L2CS-Net's two heads; "
            "as a trunk to start from it is right with model.pretrained=imagenet"
        )
    missing, unknown = [n for n in names if n not in rest], [n for n in rest if n not in names]
    if missing:
        raise DataError(f"{path}: misses {listed(missing)}: no heads of L2CS-Net; weights with both are right")
    if unknown:
        raise DataError(f"{path}: has {listed(unknown)}, which L2CS-Net has not; weights of L2CS-Net are right")
    return checked_heads({name: rest[name] for name in names}, path=path)
