"""Predicted angles -> points on the screen, and how far they are from where people looked.

    degrees   angle between predicted and true gaze in 3D
    cm        distance on the plane of the screen; a point beside the screen counts where it is
    px        distance on the screen; a point beside it is first moved to its edge

so cm and px are not proportional. `face` compares with the face's own gaze (`face_g`, from the face's origin);
`both_eyes` with EVE's combined gaze: from the middle of both eyes to the middle of their points of gaze.

Two means, never mixed: `mean` is over frames; `sequence_mean` over blocks of three seconds, each by its own mean,
which is how EVE's own code adds up (it also counts blocks without a valid frame as errorless; here they are none).

Source: EVE, `models/eve` and `losses` of the authors' repository; docs/eve.md.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gaze_exp.data.screen_labels import ScreenLabels
from gaze_exp.evaluation import draw_persons, rounded, summary
from gaze_exp.geometry import angle_between, angular_error, gaze_to_screen, screen_to_gaze, transform_points
from gaze_exp.predictions import Predictions

FloatArray = NDArray[np.float64]
KINDS = ("face", "both_eyes")
UNITS = ("deg", "cm", "px")


@dataclass(frozen=True)
class ScreenErrors:
    """Points and errors of N samples, NaN where one is not known."""

    predicted_px: Tensor
    """(N, 2) float64, unclamped."""
    target_px: Tensor
    """(N, 2) the face's point of gaze."""
    errors: dict[str, dict[str, FloatArray]]
    """`face`, `both_eyes` -> `deg`, `cm`, `px` -> (N,)."""
    dropped: dict[str, int]
    """Why samples have no error here -> how many."""
    screen_px: tuple[int, int]


def on_screen(predictions: Predictions, labels: ScreenLabels) -> ScreenErrors:
    """Follow predicted gazes to the screen.

    Args:
        predictions: N samples.
        labels: of the same samples, in the same order.

    Returns:
        Points and errors; a gaze that leads away from the screen has neither.
    """
    places = _places(labels)
    gaze = predictions.predicted.double()
    point_px = gaze_to_screen(gaze, **places)
    # The line of a gaze meets the plane of the screen in any case; behind the head it is no point of gaze.
    is_away = angular_error(screen_to_gaze(point_px, **places), gaze) > math.pi / 2
    target_px = torch.from_numpy(labels.target_px)
    valid = predictions.valid & torch.isfinite(target_px).all(1) & torch.isfinite(point_px).all(1)
    point_px = torch.where((valid & ~is_away)[:, None], point_px, torch.nan)
    both = torch.from_numpy(labels.both_target_px), torch.from_numpy(labels.both_origin_mm)
    no_target = int((predictions.valid & ~valid).sum())
    away = int((valid & is_away).sum())
    dropped = {"no point of gaze or no geometry": no_target, "gaze away from the screen": away}
    width, height = np.nanmax(labels.screen_px, axis=0) if np.isfinite(labels.screen_px).any() else (1920, 1080)
    screen = torch.from_numpy(np.nan_to_num(labels.screen_px, nan=0.0))
    screen = torch.where(screen > 0, screen, torch.tensor([float(width), float(height)], dtype=torch.float64))
    face_deg = torch.where(torch.isfinite(point_px[:, 0]), predictions.error_deg(), torch.nan)
    return ScreenErrors(
        predicted_px=point_px,
        target_px=target_px,
        errors={
            "face": {"deg": face_deg.numpy(), **_distances(point_px, target_px, screen, places["mm_per_px"])},
            "both_eyes": {
                "deg": _combined_deg(point_px, *both, places=places).numpy(),
                **_distances(point_px, both[0], screen, places["mm_per_px"]),
            },
        },
        dropped={reason: count for reason, count in dropped.items() if count},
        screen_px=(int(width), int(height)),
    )


def _places(labels: ScreenLabels) -> dict[str, Tensor]:
    """The arguments of `gaze_to_screen`; the identity where no geometry is known, since it must have an inverse."""
    transform = torch.from_numpy(labels.screen_to_camera)
    is_known = torch.isfinite(transform).flatten(1).all(1)
    identity = torch.eye(4, dtype=torch.float64).expand_as(transform)
    return {
        "origin_mm": torch.where(is_known[:, None], torch.from_numpy(labels.origin_mm), torch.nan),
        "rotation": torch.from_numpy(labels.rotation),
        "screen_to_camera": torch.where(is_known[:, None, None], transform, identity),
        "mm_per_px": torch.from_numpy(labels.mm_per_px),
    }


def _distances(point_px: Tensor, target_px: Tensor, screen_px: Tensor, mm_per_px: Tensor) -> dict[str, FloatArray]:
    """Distances in cm as the points are, and in px after moving them onto the screen."""
    clamped = torch.minimum(point_px.clamp(min=0.0), screen_px)
    return {
        "cm": torch.linalg.vector_norm((point_px - target_px) * mm_per_px / 10, dim=1).numpy(),
        "px": torch.linalg.vector_norm(clamped - target_px, dim=1).numpy(),
    }


def _combined_deg(point_px: Tensor, target_px: Tensor, origin_mm: Tensor, *, places: Mapping[str, Tensor]) -> Tensor:
    """Angle at the middle of both eyes between predicted and true point; no rotation changes it."""
    to_point, to_target = (
        transform_points(
            places["screen_to_camera"],
            torch.cat((point * places["mm_per_px"], torch.zeros_like(point[:, :1])), dim=1),
        )
        - origin_mm
        for point in (point_px, target_px)
    )
    return torch.rad2deg(angle_between(to_point, to_target))


def summarise(
    errors: ScreenErrors,
    *,
    predictions: Predictions,
    labels: ScreenLabels,
    constant: ScreenErrors,
    seed: int = 0,
) -> dict[str, object]:
    """Sum errors on the screen up.

    Args:
        errors: of the model.
        predictions: whose samples they are.
        labels: of the same samples.
        constant: errors of the constant baseline on the same samples.
        seed: of the bootstrap over persons.

    Returns:
        Plain values for JSON: `face`, `both_eyes` and `constant` with `deg`, `cm`, `px` each; `per_camera`,
        `per_stimulus`, `per_person`; counts. A kind without a single sample is null.
    """
    subject = predictions.subject.numpy()
    persons = np.array(predictions.subjects, dtype=object)[subject]
    groups = {"per_camera": labels.camera, "per_stimulus": labels.stimulus, "per_person": persons}
    known = np.isfinite(errors.errors["face"]["cm"])
    sequences = np.unique(labels.sequence[known & (labels.sequence >= 0)])
    return {
        "face": _of_kind(errors.errors["face"], subject=subject, sequence=labels.sequence, seed=seed),
        "both_eyes": _of_kind(errors.errors["both_eyes"], subject=subject, sequence=labels.sequence, seed=seed),
        "constant": _of_kind(constant.errors["face"], subject=subject, sequence=labels.sequence, seed=seed),
        **{name: _by_group(errors, of, labels.sequence) for name, of in groups.items()},
        "num_frames": int(known.sum()),
        "num_sequences": len(sequences) or None,
        "num_dropped": errors.dropped,
        "screen_px": list(errors.screen_px),
        "meaning": {
            "mean": "over frames; its interval draws persons",
            "sequence_mean": "over blocks of 3 s, each by its own mean",
            "cm": "on the plane of the screen, unclamped",
            "px": "on the screen, predictions beside it moved to its edge",
            "both_eyes": "from the middle of both eyes to the middle of their points of gaze",
        },
    }


def _of_kind(
    errors: Mapping[str, FloatArray], *, subject: NDArray[np.int64], sequence: NDArray[np.int64], seed: int
) -> dict[str, object] | None:
    """Every unit of one kind with its interval; None without a sample."""
    known = np.isfinite(errors["cm"]) & np.isfinite(errors["deg"])
    if not known.any():
        return None
    persons = np.unique(subject[known])
    draws = draw_persons(len(persons), seed=seed)
    return {
        unit: {
            **summary(errors[unit][known], subject=subject[known], persons=persons, draws=draws),
            "sequence_mean": sequence_mean(errors[unit][known], sequence[known]),
        }
        for unit in UNITS
    }


def _by_group(errors: ScreenErrors, group: NDArray[np.object_], sequence: NDArray[np.int64]) -> dict[str, object]:
    """Means of each camera, type of stimulus or person."""
    return {str(name): _means(errors, group == name, sequence) for name in np.unique(group.astype(str))}


def _means(errors: ScreenErrors, chosen: NDArray[np.bool_], sequence: NDArray[np.int64]) -> dict[str, object]:
    """Means of some samples; null without one."""
    means: dict[str, object] = {"num": int(np.isfinite(errors.errors["face"]["cm"][chosen]).sum())}
    for kind, by_unit in errors.errors.items():
        known = chosen & np.isfinite(by_unit["cm"]) & np.isfinite(by_unit["deg"])
        means[kind] = (
            {
                unit: {"mean": rounded(by_unit[unit][known].mean()),
                       "sequence_mean": sequence_mean(by_unit[unit][known], sequence[known])}
                for unit in UNITS
            }
            if known.any()
            else None
        )  # fmt: skip
    return means


def sequence_mean(values: FloatArray, sequence: NDArray[np.int64]) -> float | None:
    """Mean over sequences of their own means.

    Args:
        values: (N,) of valid frames.
        sequence: (N,) the sequence of each; -1 belongs to none.

    Returns:
        The mean; None when no frame belongs to a sequence.

    >>> sequence_mean(np.array([10.0] * 10 + [2.0] * 30), np.array([0] * 10 + [1] * 30))
    6.0
    """
    belongs = sequence >= 0
    if not belongs.any():
        return None
    _, inverse, counts = np.unique(sequence[belongs], return_inverse=True, return_counts=True)
    return rounded((np.bincount(inverse.ravel(), weights=values[belongs]) / counts).mean())
