"""How hard the rendered people are: from a constant to a calibrated model, on persons nobody trained on.

Each rung should be better than the one before, or something is wrong with the people. Labels that belong to other
rows must teach nothing. The data and the model are the quickstart's.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from torch import Tensor

from gaze_exp.data.crop_dataset import CropDataset
from gaze_exp.data.synthetic.datamodule import SyntheticDataModule
from gaze_exp.errors import DataError
from gaze_exp.geometry import angular_error
from gaze_exp.hardware import Hardware
from gaze_exp.predictions import Predictions, from_csv

_EYE_PX = 32
_RIDGES = (1e0, 1e1, 1e2, 1e3, 1e4)
_HOLDS = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
"""How strongly an affine calibration is held towards an offset, in the spread of its points."""
_SEED = 0
_NUM_DRAWS = 20

Correction = Callable[[Tensor], Tensor]


def run(machine: Hardware) -> list[dict[str, Any]]:
    """Train the quickstart twice, once on shuffled labels, and measure every rung on its test persons."""
    del machine  # the child processes look at it for themselves
    return measure([])


def measure(overrides: list[str]) -> list[dict[str, Any]]:
    """Climb the ladder.

    Args:
        overrides: further ones for the two trainings, such as fewer epochs.

    Returns:
        A row for each rung.
    """
    with tempfile.TemporaryDirectory(prefix="synthetic_ladder_") as folder:
        honest, data = _quickstart(Path(folder, "honest"), overrides)
        tuning = _evaluated(Path(folder, "val"), overrides, trained=Path(folder, "honest"))
        shuffled, _ = _quickstart(Path(folder, "shuffled"), [*overrides, "data.shuffle_labels=true"])
    affine = chosen_affine(tuning, data.val)
    constant = data.train_mean_gaze.expand_as(honest.target)
    errors_deg = {
        "constant: the mean gaze of the training persons": _error_deg(constant, honest),
        f"ridge on both eyes, {_EYE_PX}x{_EYE_PX} grey": _error_deg(ridge(data), honest),
        "the quickstart's tiny model": _error_deg(honest.predicted, honest),
        "the same, offset from 9 calibration points": calibrated_deg(honest, data.test, fit=fit_offset),
        "the same, affine map from 9 calibration points": calibrated_deg(honest, data.test, fit=affine),
        "the tiny model trained on shuffled labels": _error_deg(shuffled.predicted, shuffled),
    }
    model_deg = errors_deg["the quickstart's tiny model"]
    num = len(honest.subjects)
    return [
        {
            "what": what,
            "unseen persons": num,
            "mean error, deg": f"{error_deg:.2f}",
            "against the tiny model": f"{100 * (error_deg / model_deg - 1):+.0f} %",
        }
        for what, error_deg in errors_deg.items()
    ]


def _quickstart(folder: Path, overrides: list[str]) -> tuple[Predictions, SyntheticDataModule]:
    """Run the quickstart as a person would type it."""
    _run(folder, "actions=[train,evaluate]", f"seed={_SEED}", "early_stopping_patience=100", *overrides)
    described = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    arguments = {k: v for k, v in described["config"]["data"].items() if k not in {"_target_", "shuffle_labels"}}
    data = SyntheticDataModule(**arguments)
    data.setup("test")
    return from_csv(folder / "predictions.csv"), data


def _evaluated(folder: Path, overrides: list[str], *, trained: Path) -> Predictions:
    """What a trained model answers on the validation persons."""
    _run(folder, "actions=[evaluate]", "evaluate.split=val", f"checkpoint={trained}", *overrides)
    return from_csv(folder / "predictions.csv")


def _run(folder: Path, *typed: str) -> None:
    command = [sys.executable, "-m", "gaze_exp", "task=quickstart", *typed, f"hydra.run.dir={folder}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise DataError(f"{' '.join(command)} ended with {done.returncode}: {done.stderr.strip()[-500:]}")


def _error_deg(predicted: Tensor, truth: Predictions) -> float:
    """Mean angle on the valid rows."""
    error = torch.rad2deg(angular_error(predicted.double(), truth.target.double()))
    return float(error[truth.valid].mean())


def ridge(data: SyntheticDataModule) -> Tensor:
    """Ridge regression from the pixels of both eyes; its strength is chosen on the validation persons.

    Args:
        data: set up.

    Returns:
        (N, 2) float64 predictions for the usable test rows.
    """
    train, val, test = (_features(crops) for crops in (data.train, data.val, data.test))
    centre, scale = train.mean(0), train.std()
    train, val, test = ((each - centre) / scale for each in (train, val, test))
    gaze, val_gaze = (torch.from_numpy(crops.gaze[crops.usable]).double() for crops in (data.train, data.val))
    covariance, moment = train.T @ train, train.T @ (gaze - gaze.mean(0))

    def weights(strength: float) -> Tensor:
        return torch.linalg.solve(covariance + strength * torch.eye(len(covariance)).double(), moment)

    def val_error(strength: float) -> float:
        return float(angular_error(val @ weights(strength) + gaze.mean(0), val_gaze).mean())

    return test @ weights(min(_RIDGES, key=val_error)) + gaze.mean(0)


def _features(crops: CropDataset) -> Tensor:
    """(N, 2 * 32 * 32) float64 grey of both eyes of the usable rows."""
    rows = crops.usable
    eyes = {name: np.empty((len(rows), *crops.image_shapes[name]), np.uint8) for name in ("left_eye", "right_eye")}
    crops.read(rows, eyes)
    small = [
        torch.nn.functional.adaptive_avg_pool2d(torch.from_numpy(images.mean(-1)), _EYE_PX).flatten(1)
        for images in eyes.values()
    ]
    return torch.cat(small, dim=1)


def fit_offset(predicted: Tensor, target: Tensor) -> Correction:
    """Move predictions by their mean error.

    Args:
        predicted: (K, 2) of the calibration points.
        target: (K, 2).

    Returns:
        What to apply to further predictions.
    """
    offset = (target - predicted).mean(0)
    return lambda gaze: gaze + offset


def fit_affine(predicted: Tensor, target: Tensor, *, hold: float) -> Correction:
    """A 2x3 map, held towards a mere offset: nine points must not turn noise into slopes.

    Args:
        predicted: (K, 2) of the calibration points.
        target: (K, 2).
        hold: 0 not at all, 1 as strongly as the points pull.

    Returns:
        What to apply to further predictions.
    """
    centre, goal = predicted.mean(0), target.mean(0)
    away, wanted = predicted - centre, target - goal
    held = hold * torch.eye(2, dtype=away.dtype) * away.square().sum() / 2
    slope = torch.linalg.solve(away.T @ away + held, away.T @ wanted + held)
    return lambda gaze: (gaze - centre) @ slope + goal


def chosen_affine(model: Predictions, crops: CropDataset) -> Callable[[Tensor, Tensor], Correction]:
    """The affine calibration with the hold that serves best.

    Args:
        model: what it predicted for persons that neither trained it nor are measured on.
        crops: where their targets on the screen are.

    Returns:
        `fit_affine` with its hold.
    """
    fits = [partial(fit_affine, hold=hold) for hold in _HOLDS]
    return min(fits, key=lambda fit: calibrated_deg(model, crops, fit=fit))


def calibrated_deg(
    model: Predictions, crops: CropDataset, *, fit: Callable[[Tensor, Tensor], Correction], num_points: int = 9
) -> float:
    """Mean error over persons after a calibration of each, on the rows that it has not used.

    Args:
        model: what it predicted; `row` numbers the rows of `crops`.
        crops: where the targets on the screen are.
        fit: from predictions and targets of the calibration to a correction.
        num_points: 9: the rows whose targets are nearest to nine points drawn in a 3x3 grid, 20 times over.

    Returns:
        Degrees.
    """
    place = _places(crops)[model.row.numpy()]
    errors_deg = []
    for person in range(len(model.subjects)):
        mine = torch.nonzero((model.subject == person) & model.valid)[:, 0]
        predicted, target = model.predicted[mine].double(), model.target[mine].double()
        for draw in range(_NUM_DRAWS):
            points = _grid_rows(place[mine.numpy()], num_points, np.random.default_rng((_SEED, person, draw)))
            rest = np.setdiff1d(np.arange(len(mine)), points)
            correct = fit(predicted[points], target[points])
            errors_deg.append(torch.rad2deg(angular_error(correct(predicted[rest]), target[rest])).mean())
    return float(torch.stack(errors_deg).mean())


def _grid_rows(place: np.ndarray, num_points: int, random: np.random.Generator) -> np.ndarray:
    """Rows whose targets (N, 2), in 0..1, lie nearest to one point drawn in each cell of a grid."""
    side = round(num_points**0.5)
    cells = np.stack(np.meshgrid(np.arange(side), np.arange(side)), axis=-1).reshape(-1, 2)
    points = (cells + random.uniform(0.1, 0.9, cells.shape)) / side
    return np.unique(np.linalg.norm(place[:, None] - points, axis=-1).argmin(0))


def _places(crops: CropDataset) -> np.ndarray:
    """(N, 2) targets of every row, as shares of the screen."""
    places = []
    for file in crops.files:
        with h5py.File(file.path) as opened:
            places.append(opened["pog_px"][:] / opened.attrs["screen_px"])
    return np.concatenate(places)
