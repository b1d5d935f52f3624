"""PersonalModel: an L2CS net that answers in one user's client degrees, and its file.

Shapes: B batch, S pixels.
    face (B, 3, S, S) -> native degrees (B, 2) -> client degrees (B, 2) -> affine -> client degrees (B, 2)
"""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gaze_exp.atomic_write import atomic_write
from gaze_exp.errors import DataError
from gaze_exp.models.l2cs import L2CS

FORMAT = "gaze_exp personal model 1"


class PersonalModel(nn.Module):
    """An L2CS net, the signs of its user's photos and an affine map behind it.

    Convention: in, RGB 0..255 or the client's normalised tensor. Inside, L2CS-native degrees: yaw + = image left,
    pitch + = up. Out, client degrees (yaw, pitch): right and down positive (gaze_exp/screen.py). In a mirrored
    photo the screen's left is the image's left, else its right; so only yaw's sign depends on the mirror.

    Args:
        net: its `angles_deg` gives native degrees.
        mirrored: the photos, and the pictures of the later live camera, are mirror images.
        affine: (2, 3) client degrees -> client degrees, the last column is added; None changes nothing.
    """

    sign: Tensor
    affine: Tensor

    def __init__(self, net: L2CS, *, mirrored: bool, affine: Tensor | None = None) -> None:
        super().__init__()
        self.net = net
        self.mirrored = mirrored
        self.register_buffer("sign", native_sign(mirrored=mirrored))
        self.register_buffer("affine", (identity() if affine is None else affine).float().clone())

    def forward(self, face: Tensor) -> Tensor:
        """Estimate where the user looks: (B, 3, S, S) RGB, uint8 or float 0..255 -> (B, 2) client degrees."""
        return self.from_normalised(self.net.normalise(face))

    def from_normalised(self, face: Tensor) -> Tensor:
        """The same from the client's own tensor: (B, 3, S, S) float32, ImageNet-normalised."""
        return self.from_features(self.net.late(self.net.early(face)))

    def from_features(self, features: Tensor) -> Tensor:
        """The same from the net's pooled features: (B, width) -> (B, 2) client degrees."""
        return self.to_client(self.net.angles_deg(features))

    def to_client(self, native_deg: Tensor) -> Tensor:
        """(B, 2) native degrees -> (B, 2) client degrees, through the sign and the affine map."""
        client_deg = native_deg.float() * self.sign
        return client_deg @ self.affine[:, :2].T + self.affine[:, 2]


def native_sign(*, mirrored: bool) -> Tensor:
    """(2,) factors of yaw, pitch between native and client degrees; their own inverse.

    >>> native_sign(mirrored=True).tolist()
    [-1.0, -1.0]
    """
    return torch.tensor([-1.0 if mirrored else 1.0, -1.0])


def identity() -> Tensor:
    """(2, 3) the affine map that changes nothing."""
    return torch.eye(2, 3)


def save_personal(path: str | Path, model: PersonalModel, facts: Mapping[str, Any]) -> Path:
    """Write a model with everything that export needs, whole or not at all.

    Args:
        path: of the file.
        model: as it shall answer; its net holds plain weights.
        facts: plain data (numbers, texts, lists, mappings) that travel with it.

    Returns:
        The path.
    """
    path = Path(path)
    content = {
        "format": FORMAT,
        "net": model.net.rebuild_options,
        "mirrored": model.mirrored,
        "state_dict": {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()},
        "facts": dict(facts),
    }
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        torch.save(content, file)
    return path


def load_personal(path: str | Path) -> tuple[PersonalModel, dict[str, Any]]:
    """Read what `save_personal` wrote.

    Args:
        path: of the file.

    Returns:
        The model on the CPU and in evaluation, and its facts.

    Raises:
        DataError: no such file, or none of ours.
    """
    path = Path(path)
    remedy = "checkpoints/personal.pt of a run of task=l2cs_finetune would be right"
    if not path.is_file():
        raise DataError(f"{path}: is not there; {remedy}")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise DataError(f"{path}: cannot be read as a personal model ({reason}); {remedy}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise DataError(f"{path}: is no personal model of this version; {remedy}")
    model = PersonalModel(L2CS(**content["net"]), mirrored=content["mirrored"])
    model.load_state_dict(content["state_dict"])
    return model.eval(), content["facts"]
