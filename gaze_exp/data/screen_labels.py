"""What crop files know of the screen: where people looked, from where, and by which camera.

Every array of it is optional in a crop file; what is missing is NaN, or -1 for a number. Shapes: N rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import h5py
import numpy as np

from gaze_exp.data.crop_dataset import CropDataset
from gaze_exp.data.crop_file import open_hdf5

SEQUENCE_S = 3
"""Length of EVE's items: blocks of three seconds from the start of a step, which do not overlap."""
UNKNOWN = "unknown"
_ARRAYS = {
    "face_o": (3,),
    "face_R": (3, 3),
    "pog_px": (2,),
    "left_o": (3,),
    "right_o": (3,),
    "pog_left_px": (2,),
    "pog_right_px": (2,),
}


@dataclass(frozen=True)
class ScreenLabels:
    """Geometry and points of gaze of N rows, float64."""

    origin_mm: np.ndarray
    """(N, 3) where the face's gaze starts, camera frame."""
    rotation: np.ndarray
    """(N, 3, 3) camera -> normalised camera of the face."""
    screen_to_camera: np.ndarray
    """(N, 4, 4)."""
    mm_per_px: np.ndarray
    """(N, 2)."""
    screen_px: np.ndarray
    """(N, 2) width, height."""
    target_px: np.ndarray
    """(N, 2) the face's point of gaze."""
    both_origin_mm: np.ndarray
    """(N, 3) middle of both eyes' origins."""
    both_target_px: np.ndarray
    """(N, 2) middle of both eyes' points of gaze; NaN where one of them is not known."""
    camera: np.ndarray
    """(N,) of text."""
    stimulus: np.ndarray
    """(N,) of text: image, video, wikipedia or unknown."""
    sequence: np.ndarray
    """(N,) int64: equal in one block of three seconds; -1 where steps or frames have no number."""


def read_screen_labels(crops: CropDataset, rows: np.ndarray) -> ScreenLabels | None:
    """Read what the files of some rows know of the screen.

    Args:
        crops: the data.
        rows: (N,) rows of it, any order.

    Returns:
        The labels; None when no row has geometry and a point of gaze.
    """
    files, places = crops.place(rows)
    columns = {name: np.full((len(rows), *shape), np.nan) for name, shape in _ARRAYS.items()}
    columns |= {"screen_to_camera": np.full((len(rows), 4, 4), np.nan), "mm_per_px": np.full((len(rows), 2), np.nan)}
    columns |= {"screen_px": np.full((len(rows), 2), np.nan), "sequence": np.full(len(rows), -1, np.int64)}
    columns |= {name: np.full(len(rows), UNKNOWN, object) for name in ("camera", "stimulus")}
    num_sequences = 0
    for number in np.unique(files):
        chosen = np.flatnonzero(files == number)
        path = crops.files[number].path
        with open_hdf5(path) as file:
            for name, values in _of_file(file, places[chosen]).items():
                columns[name][chosen] = values
        columns["camera"][chosen] = path.stem.removeprefix("frames_")
        known = chosen[columns["sequence"][chosen] >= 0]
        columns["sequence"][known] += num_sequences
        num_sequences = int(columns["sequence"].max()) + 1
    if not np.isfinite(
        columns["face_R"][:, 0, 0] * columns["screen_to_camera"][:, 0, 0] * columns["pog_px"][:, 0]
    ).any():
        return None
    return ScreenLabels(
        origin_mm=columns["face_o"],
        rotation=columns["face_R"],
        target_px=columns["pog_px"],
        both_origin_mm=(columns["left_o"] + columns["right_o"]) / 2,
        both_target_px=(columns["pog_left_px"] + columns["pog_right_px"]) / 2,
        **{
            name: columns[name]
            for name in ("screen_to_camera", "mm_per_px", "screen_px", "camera", "stimulus", "sequence")
        },
    )


def _of_file(file: h5py.File, places: np.ndarray) -> dict[str, np.ndarray]:
    """What one file says about some of its rows."""
    num = file["face"].shape[0]
    there = [name for name, shape in _ARRAYS.items() if name in file and file[name].shape == (num, *shape)]
    found = {name: file[name][:][places] for name in there}
    step = file["step_id"][:][places] if "step_id" in file else np.zeros(len(places), np.int64)
    for name, dimensions in (("screen_to_camera", 2), ("mm_per_px", 1)):
        if name in file.attrs:
            value = np.asarray(file.attrs[name])
            # One for the whole recording, or one a step.
            found[name] = value[step] if value.ndim > dimensions else value
    if "screen_px" in file.attrs:
        found["screen_px"] = np.asarray(file.attrs["screen_px"])
    names = file.attrs.get("steps")
    if names is not None and "step_id" in file:
        found["stimulus"] = np.array([_kind(names[number]) for number in step], object)
    if {"step_id", "frame_index"} <= set(file) and "source_fps" in file.attrs:
        block = file["frame_index"][:][places] // (SEQUENCE_S * int(file.attrs["source_fps"]))
        found["sequence"] = np.unique(np.stack((step, block)), axis=1, return_inverse=True)[1].ravel()
    return found


def _kind(step: str | bytes) -> str:
    """`image` of `step008_image_MIT-x`."""
    words: Sequence[str] = (step.decode() if isinstance(step, bytes) else str(step)).split("_")
    return words[1] if len(words) > 1 else UNKNOWN
