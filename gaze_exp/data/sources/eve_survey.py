"""What a copy of EVE says where its documentation is silent, found on some of its recordings and reported.

Types, units, what stands in invalid rows, which half of `_eyes.mp4` is which eye, whether labels follow from the
points of gaze, and how the patches were cut: none of it is assumed, and what contradicts our reading is a warning.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from torch import Tensor

from gaze_exp.camera import intrinsics, normalising_rotation, normalising_warp
from gaze_exp.data.sources.eve_eyes import which_half
from gaze_exp.data.sources.eve_labels import LABEL, PATCHES, StepLabels, has_gaze, read_labels, read_stamps, unit_of
from gaze_exp.data.sources.eve_release import Recording
from gaze_exp.data.sources.eve_video import index_video, read_frames
from gaze_exp.errors import DataError
from gaze_exp.geometry import screen_to_gaze

LARGEST_LABEL_RAD = 1e-3
"""Labels that differ more than this from what their point of gaze gives live in another frame than we think."""
_FOCAL_PX, _SIZE_PX, _DISTANCE_MM = (
    {"face": 1200, "left": 1800, "right": 1800},
    {"face": 256, "left": 128, "right": 128},
    600,
)


def survey(recordings: Sequence[Recording], *, most: int = 240) -> dict[str, Any]:
    """Look at the first readable recording of each person and camera.

    Args:
        recordings: what there is.
        most: look at no more than so many.

    Returns:
        `recordings` (what each says), `findings` (all of them in one line each), `warnings` (what contradicts us).
    """
    looked_at: dict[tuple[str, str], dict[str, Any]] = {}
    for recording in recordings:
        key = (recording.person, recording.camera)
        if key not in looked_at and len(looked_at) < most and not recording.missing():
            try:
                looked_at[key] = {"recording": recording.name, **look_at(recording)}
            except DataError:
                continue  # the conversion says what is wrong with it
    seen = list(looked_at.values())
    return {"findings": _findings(seen), "warnings": _warnings(seen), "recordings": seen}


def look_at(recording: Recording) -> dict[str, Any]:
    """Examine one recording.

    Args:
        recording: with all of its files.

    Returns:
        Plain values; None for what cannot be told.

    Raises:
        DataError: it cannot be read.
    """
    path = recording.path(".h5")
    labels = read_labels(path, has_gaze=(has_labels := has_gaze(path)))
    with h5py.File(path) as file:
        raw = _raw(file, LABEL if has_labels else "face_R")
    videos = {name: index_video(recording.path(f"_{name}.mp4")) for name in ("face", "eyes")}
    fps = videos["face"].fps
    return {
        **raw,
        "fps": fps,
        "timestamp_unit": unit_of(read_stamps(recording.path(".timestamps.txt")), fps=fps),
        **{f"{name}_px": _size(recording.path(f"_{name}.mp4")) for name in videos},
        "left_eye_is": which_half(recording, labels),
        "left_R_minus_right_R": _largest(labels.arrays["left_R"] - labels.arrays["right_R"]),
        **(_of_gaze(labels) if has_labels else {}),
        "warp_px": {patch: _warp_difference_px(labels, patch) for patch in PATCHES},
    }


def _raw(file: h5py.File, group: str) -> dict[str, Any]:
    """Types, shapes and the value of invalid rows, as they are stored."""
    data, validity = file[group]["data"], file[group]["validity"]
    invalid = data[:][np.asarray(validity[:]) == 0]
    fill = None
    if len(invalid):
        fill = "zero" if not invalid.any() else "nan" if np.isnan(invalid).all() else "other"
    rvec = file.get("head_rvec/data")
    return {
        "data_type": str(data.dtype),
        "validity_type": str(validity.dtype),
        "invalid_rows_hold": fill,
        "head_rvec_shape": None if rvec is None else list(rvec.shape[1:]),
    }


def _size(path: Path) -> list[int] | None:
    """Width, height of the first frame, px."""
    frame = next(read_frames(path, index_video(path), [0]))
    return None if frame is None else [frame.shape[1], frame.shape[0]]


def _largest(values: np.ndarray) -> float | None:
    """Largest magnitude, where anything is known."""
    known = np.abs(values[np.isfinite(values)])
    return float(known.max()) if len(known) else None


def _of_gaze(labels: StepLabels) -> dict[str, Any]:
    """How points of gaze and labels relate."""
    arrays = labels.arrays
    middle = (arrays["pog_left_px"] + arrays["pog_right_px"]) / 2
    away = np.linalg.norm(arrays["pog_px"] - middle, axis=1)
    away = away[np.isfinite(away)]
    return {
        "face_PoG_to_mean_PoG_px": float(np.median(away)) if len(away) else None,
        "label_minus_recomputed_rad": {patch: _label_difference(labels, patch) for patch in PATCHES},
    }


def _label_difference(labels: StepLabels, patch: str) -> float | None:
    """Largest difference of a patch's labels to those that its point of gaze gives."""
    names = {"face": ("gaze", "pog_px")}.get(patch, (f"gaze_{patch}", f"pog_{patch}_px"))
    gaze, point_px, origin_mm, rotation = (
        torch.from_numpy(labels.arrays[name]).double() for name in (*names, f"{patch}_o", f"{patch}_R")
    )
    expected = screen_to_gaze(
        point_px,
        origin_mm=origin_mm,
        rotation=rotation,
        screen_to_camera=torch.from_numpy(labels.constants["camera_transformation"]),
        mm_per_px=torch.from_numpy(labels.constants["millimeters_per_pixel"]),
    )
    return _largest((expected - gaze).numpy())


def _warp_difference_px(labels: StepLabels, patch: str) -> float | None:
    """How far the stored warp is from ours, in px of the patch, at its corners and centre."""
    arrays = {name: torch.from_numpy(labels.arrays[f"{patch}_{name}"]).double() for name in ("o", "R", "W")}
    turned = torch.from_numpy(labels.arrays["head_rotation"]).double()
    known = torch.stack([values.flatten(1).isfinite().all(1) for values in (*arrays.values(), turned)]).all(0)
    if not bool(known.any()):
        return None
    origin_mm, stored = arrays["o"][known], arrays["W"][known]
    matrix = torch.from_numpy(labels.constants["camera_matrix"])
    size = _SIZE_PX[patch]
    ours = normalising_warp(
        normalising_rotation(origin_mm, turned[known][:, :, 0]),
        camera_matrix=matrix,
        normal_matrix=intrinsics(_FOCAL_PX[patch], width_px=size, height_px=size),
        origin_mm=origin_mm,
        normal_distance_mm=_DISTANCE_MM,
    )
    corners = torch.tensor([[0, 0, 1], [size, 0, 1], [0, size, 1], [size, size, 1], [size / 2, size / 2, 1]]).double()
    moved = _mapped(stored, _mapped(torch.linalg.inv(ours), corners.T.expand(len(ours), 3, 5)))
    return _largest((moved - corners.T)[:, :2].numpy())


def _mapped(warp: Tensor, points: Tensor) -> Tensor:
    """(N, 3, P) homogeneous points behind (N, 3, 3)."""
    out = warp @ points
    return out / out[:, 2:]


def _findings(seen: Sequence[dict[str, Any]]) -> dict[str, str]:
    """For each question all answers that were found, and how often."""
    answers: dict[str, list[str]] = {}
    for each in seen:
        for question, answer in each.items():
            if question != "recording":
                answers.setdefault(question, []).append(_told(answer))
    return {question: _counted(told) for question, told in answers.items()}


def _told(answer: Any) -> str:
    if isinstance(answer, dict):
        return ", ".join(f"{name} {_told(value)}" for name, value in answer.items())
    if isinstance(answer, float):
        # An order of magnitude is what these differences say.
        return f"{answer:g}" if answer == round(answer, 2) else f"about {float(f'{answer:.0e}'):g}"
    return "cannot be told" if answer is None else str(answer)


def _counted(told: Sequence[str]) -> str:
    different = sorted(set(told), key=lambda text: -told.count(text))[:4]
    if len(set(told)) == 1:
        return different[0]
    return "; ".join(f"{text} ({told.count(text)} of {len(told)})" for text in different)


def _warnings(seen: Sequence[dict[str, Any]]) -> list[str]:
    """What contradicts the way in which the release is read."""
    warnings = []
    halves = [each["recording"] for each in seen if each["left_eye_is"] == "left half"]
    if halves:
        warnings.append(
            f"in {len(halves)} of {len(seen)} recordings (e.g. {halves[0]}) left_W cuts out what the LEFT half of "
            "_eyes.mp4 shows: leye and reye come out swapped; data.swap_halves=true would be right for them"
        )
    odd = [
        each["recording"]
        for each in seen
        if any((value or 0) > LARGEST_LABEL_RAD for value in each.get("label_minus_recomputed_rad", {}).values())
    ]
    if odd:
        warnings.append(
            f"in {len(odd)} of {len(seen)} recordings (e.g. {odd[0]}) the labels do not follow from the points of "
            f"gaze within {LARGEST_LABEL_RAD} rad: errors in px and cm mean nothing there"
        )
    return warnings
