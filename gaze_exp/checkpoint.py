"""Read a checkpoint of ours: weights and what made them, as plain data, without running anything."""

import math
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gaze_exp.errors import DataError
from gaze_exp.file_hash import sha256_of
from gaze_exp.given_paths import no_checkpoint


@dataclass(frozen=True)
class Checkpoint:
    """A trained model on disk."""

    path: Path
    weights: dict[str, Tensor]
    """State of the model alone."""
    config: dict[str, Any]
    """Resolved config of the run that trained it."""
    train_subjects: list[str]
    train_mean_gaze: Tensor
    """(2,) mean pitch, yaw of the training labels, radians: the constant baseline."""
    crop_sizes: tuple[int, int]
    """Sides of the face and eye crops it was trained on, px."""
    epoch: int
    step: int

    def sha256(self) -> str:
        """Hash of the file."""
        return sha256_of(self.path)

    def load_into(self, model: nn.Module) -> nn.Module:
        """Fill a model that was built from `config`, and set it to evaluation."""
        try:
            model.load_state_dict(self.weights)
        except RuntimeError as error:
            raise DataError(f"{self.path}: its weights do not fit the model of its own config: {error}") from error
        return model.eval()


def load(path: str | Path) -> Checkpoint:
    """Load a checkpoint.

    Args:
        path: a `.ckpt` that `actions=[train]` wrote, or a run folder, whose best is meant.

    Raises:
        DataError: missing, unreadable, or not a checkpoint of this program.
    """
    path = file_of(path)
    if not path.is_file():
        raise DataError(no_checkpoint(path))
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError, OSError, KeyError) as error:
        raise DataError(f"{path}: not a checkpoint, or cut short; choose another, or train again") from error
    ours = content.get("gaze_exp") if isinstance(content, dict) else None
    if not ours:
        raise DataError(f"{path}: no key 'gaze_exp': this file was not written by actions=[train] of this program")
    weights = {n.removeprefix("model."): t for n, t in content["state_dict"].items() if n.startswith("model.")}
    return Checkpoint(
        path=path,
        weights=weights,
        config=ours["config"],
        train_subjects=list(ours["train_subjects"]),
        train_mean_gaze=torch.tensor(ours["train_mean_gaze"]),
        crop_sizes=(ours["crop_sizes"][0], ours["crop_sizes"][1]),
        epoch=int(content["epoch"]),
        step=int(content["global_step"]),
    )


def file_of(path: str | Path) -> Path:
    """The file that a checkpoint's name means.

    Args:
        path: of a `.ckpt`, or of a run folder, whose best is meant.

    Raises:
        DataError: a folder without a checkpoint.
    """
    path = Path(path)
    return best_in(path) if path.is_dir() else path


def best_in(folder: Path) -> Path:
    """The checkpoint of a run with the smallest validation error.

    Args:
        folder: the run folder.

    Raises:
        DataError: it holds none.
    """
    kept = sorted(folder.glob("checkpoints/epoch*-val_angular_error*.ckpt"), key=_error_in_name)
    if not kept:
        raise DataError(
            f"{folder}/checkpoints: no checkpoint here; train first (actions=[train,...]) or name one: "
            "checkpoint=RUN/checkpoints/last.ckpt"
        )
    return kept[0]


def _error_in_name(path: Path) -> tuple[float, float]:
    # `-v1` marks a later file of the same name; of equals the newest counts.
    error = float(path.stem.partition("val_angular_error")[2].partition("-")[0])
    return error if math.isfinite(error) else math.inf, -path.stat().st_mtime
