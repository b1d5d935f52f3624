"""The labels of one camera in one EVE step: its HDF5 file and its time stamps, checked and cast. N rows.

What the release does not document (types of `data` and `validity`, the value of invalid rows, the unit of the
stamps, the shape of `head_rvec`) is taken as it comes: an invalid row becomes NaN, never a number.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import h5py
import numpy as np

from gaze_exp.errors import DataError

PATCHES = ("face", "left", "right")
SCREEN_PX = (1920, 1080)
LABEL = "face_g_tobii"

GEOMETRY: Mapping[str, tuple[str, tuple[int, ...], str]] = MappingProxyType(
    {
        "head": ("face_h", (2,), "float32"),
        "head_left": ("left_h", (2,), "float32"),
        "head_right": ("right_h", (2,), "float32"),
        **{f"{patch}_R": (f"{patch}_R", (3, 3), "float32") for patch in PATCHES},
        **{f"{patch}_o": (f"{patch}_o", (3,), "float32") for patch in PATCHES},
        **{f"{patch}_W": (f"{patch}_W", (3, 3), "float64") for patch in PATCHES},
        "landmarks_px": ("facial_landmarks", (68, 2), "float32"),
        "head_position_mm": ("head_tvec", (3,), "float32"),
    }
)
GAZE: Mapping[str, tuple[str, tuple[int, ...], str]] = MappingProxyType(
    {
        "gaze": (LABEL, (2,), "float32"),
        "gaze_left": ("left_g_tobii", (2,), "float32"),
        "gaze_right": ("right_g_tobii", (2,), "float32"),
        "pog_px": ("face_PoG_tobii", (2,), "float32"),
        "pog_left_px": ("left_PoG_tobii", (2,), "float32"),
        "pog_right_px": ("right_PoG_tobii", (2,), "float32"),
        "pupil_left_mm": ("left_p", (), "float32"),
        "pupil_right_mm": ("right_p", (), "float32"),
    }
)
"""Our array -> EVE's group, shape of a row, type."""

CONSTANTS = {"camera_matrix": (3, 3), "camera_transformation": (4, 4), "millimeters_per_pixel": (2,)}
UNITS_NS = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9}


@dataclass(frozen=True)
class StepLabels:
    """What one HDF5 file says about its N frames."""

    num_rows: int
    arrays: dict[str, np.ndarray]
    """(N, ...) each; NaN where EVE says that the row is not valid."""
    problem: np.ndarray
    """(N,) of text: why a row has no label to learn from; empty where it has, or needs none."""
    constants: dict[str, np.ndarray]


def columns(*, has_gaze: bool) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shape of a row and type of every array but the images and `gaze`.

    Args:
        has_gaze: whether the split has labels.
    """
    groups = {**GEOMETRY, **(GAZE if has_gaze else {})}
    named = {name: (shape, dtype) for name, (_, shape, dtype) in groups.items() if name != "gaze"}
    named |= {"head_rotation": ((3, 3), "float32")}
    named |= {"step_id": ((), "int32"), "frame_index": ((), "int64"), "timestamp": ((), "int64")}
    return named | (dict.fromkeys(("valid_left", "valid_right"), ((), "bool")) if has_gaze else {})


def has_gaze(path: Path) -> bool:
    """Whether an HDF5 file carries labels; False where it cannot be read."""
    try:
        with h5py.File(path) as file:
            return LABEL in file
    except OSError:
        return False


def num_rows(path: Path) -> int:
    """How many frames an HDF5 file describes; 0 where it cannot be read."""
    try:
        with h5py.File(path) as file:
            return len(file["face_R/data"])
    except (OSError, KeyError, TypeError):
        return 0


def read_labels(path: Path, *, has_gaze: bool) -> StepLabels:
    """Read one HDF5 file.

    Args:
        path: the file.
        has_gaze: whether a label is wanted; without it every row is usable.

    Raises:
        DataError: it cannot be read, or lacks what the geometry or the label needs.
    """
    try:
        with h5py.File(path) as file:
            groups = {**GEOMETRY, **(GAZE if has_gaze else {})}
            num = len(_read(file, "face_R/data"))
            arrays, is_valid = {}, {}
            for name, (group, shape, dtype) in groups.items():
                arrays[name], is_valid[group] = _rows(file, group, shape=shape, dtype=dtype, num=num)
            arrays["head_rotation"] = _rotations(_rows(file, "head_rvec", shape=(3,), dtype="float64", num=num)[0])
            constants = {name: _constant(file, name, shape) for name, shape in CONSTANTS.items()}
    except (OSError, RuntimeError) as error:
        raise DataError(f"{path}: cannot be read as HDF5: {error}; copy it again") from error
    if not has_gaze:
        return StepLabels(num, arrays, np.full(num, "", object), constants)
    arrays |= {f"valid_{side}": np.isfinite(arrays[f"gaze_{side}"]).all(axis=1) for side in ("left", "right")}
    return StepLabels(num, arrays, _problems(arrays["gaze"], ~is_valid[LABEL]), constants)


def _problems(gaze: np.ndarray, is_marked: np.ndarray) -> np.ndarray:
    """(N,) why a row has no label to learn from; empty where it has."""
    problem = np.full(len(gaze), "", object)
    with np.errstate(invalid="ignore"):
        problem[(np.abs(gaze) > (np.pi / 2, np.pi)).any(axis=1)] = "no angle"
    problem[~np.isfinite(gaze).all(axis=1)] = "nonfinite"
    problem[is_marked] = "invalid"
    return problem


@cache
def _memory_type(dtype: np.dtype[Any]) -> h5py.h5t.TypeID:
    """HDF5's name of a type; working it out takes longer than reading an array of labels."""
    return h5py.h5t.py_create(dtype)


def _read(file: h5py.File, name: str) -> np.ndarray:
    """A whole array, by HDF5's own calls: h5py's take longer than decoding a step of three seconds."""
    try:
        dataset = h5py.h5d.open(file.id, name.encode())
    except KeyError:
        raise DataError(f"{file.filename}: no array {name}; copy the file again") from None
    values = np.empty(dataset.shape, dataset.dtype)
    dataset.read(h5py.h5s.ALL, h5py.h5s.ALL, values, _memory_type(values.dtype))
    return values


def _rows(
    file: h5py.File, group: str, *, shape: tuple[int, ...], dtype: str, num: int
) -> tuple[np.ndarray, np.ndarray]:
    """(N, ...) NaN where not valid, (N,) where it is; NaN altogether where the file has no such group."""
    try:
        data = _read(file, f"{group}/data")
    except DataError:
        if group in file or group in {LABEL, "face_R", "face_o"}:
            raise
        return np.full((num, *shape), np.nan, dtype), np.zeros(num, bool)
    size = math.prod(shape)
    # head_rvec is (N, 3, 1) in the files, (N, 180, 3, 1) in their documentation, (N, 3) elsewhere.
    if data.shape[:1] != (num,) or data[:1].size != size * min(num, 1) or data.dtype.kind not in "fiub":
        raise DataError(
            f"{file.filename}: {group}/data is {data.dtype} {data.shape}; numbers of shape {(num, *shape)} are right"
        )
    values = data.reshape(num, *shape).astype(dtype, copy=False)
    is_valid = _validity(file, group, num)
    if not is_valid.all():
        values[~is_valid] = np.nan
    return values, is_valid


def _validity(file: h5py.File, group: str, num: int) -> np.ndarray:
    """(N,) bool, stored as bool, integer or float; a NaN is not a yes."""
    stored = _read(file, f"{group}/validity")
    if stored.size != num or stored.dtype.kind not in "fiub":
        raise DataError(f"{file.filename}: {group}/validity is {stored.dtype} {stored.shape}; one flag a row is right")
    return np.nan_to_num(stored.reshape(num)) != 0 if stored.dtype.kind == "f" else stored.reshape(num) != 0


def _constant(file: h5py.File, name: str, shape: tuple[int, ...]) -> np.ndarray:
    values = _read(file, name)
    if values.shape != shape:
        raise DataError(f"{file.filename}: {name} is {values.dtype} {values.shape}; numbers of shape {shape} are right")
    values = values.astype(np.float64)
    if not np.isfinite(values).all():
        raise DataError(f"{file.filename}: {name} is not finite; copy the file again")
    return values


def _rotations(vectors: np.ndarray) -> np.ndarray:
    """(N, 3) rotation vectors -> (N, 3, 3) float32, NaN where unknown (Rodrigues' formula)."""
    angle = np.linalg.norm(vectors, axis=1)[:, None, None]
    with np.errstate(invalid="ignore"):
        x, y, z = (vectors / np.maximum(angle[:, 0], 1e-12)).T
    zero = np.zeros_like(x)
    cross = np.stack((zero, -z, y, z, zero, -x, -y, x, zero), axis=1).reshape(-1, 3, 3)
    turned = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * (cross @ cross)
    return turned.astype(np.float32)


def read_stamps(path: Path) -> np.ndarray:
    """Read one time stamp a frame.

    Args:
        path: a text file of integers, one a line.

    Returns:
        (N,) int64, in the file's own unit: as floats, nanoseconds since 1970 would lose their last 256.

    Raises:
        DataError: something else stands there.
    """
    try:
        lines = path.read_text(encoding="ascii").split()
        return np.array([int(line) for line in lines], np.int64)
    except (OSError, ValueError, OverflowError) as error:
        raise DataError(f"{path}: no time stamps: {error}; one integer a line is right, copy it again") from error


def unit_of(stamps: np.ndarray, *, fps: float) -> str | None:
    """The unit in which neighbouring frames are one frame apart.

    Args:
        stamps: (N,) of one recording.
        fps: frames a second of its video.

    Returns:
        `ns`, `us`, `ms` or `s`; None where none fits within a factor of two.

    >>> unit_of(np.arange(9) * 16_667, fps=60)
    'us'
    """
    if len(stamps) < 2:
        return None
    step = float(np.median(np.diff(stamps)))
    fits = [unit for unit, ns in UNITS_NS.items() if 0.5 < step * ns * fps / 1e9 < 2.0]
    return fits[0] if fits else None
