"""The labels of one crop file, checked."""

from dataclasses import dataclass, field

import h5py
import numpy as np

from gaze_exp.errors import DataError

_EXPECTED_ATTRIBUTES = {"unit": ("rad", "radians"), "angle_order": ("pitch,yaw",)}


@dataclass(frozen=True)
class Labels:
    """What a crop file says about its N frames."""

    gaze: np.ndarray
    """(N, 2) float32 pitch, yaw in radians; means nothing where not `valid`."""
    valid: np.ndarray
    """(N,) bool."""
    head: np.ndarray | None
    """(N, 2) float32 head pitch, yaw in radians."""
    dropped: dict[str, int]
    """Why rows are not valid -> how many."""
    eyes: dict[str, np.ndarray] = field(default_factory=dict)
    """What is known of each eye, from `eye_labels.read_eye_labels`."""


def read_labels(file: h5py.File, *, num_rows: int, need_gaze: bool, drop_nonfinite: bool) -> Labels:
    """Read gaze, validity and head pose.

    Args:
        file: an open crop file.
        num_rows: N, the number of frames.
        need_gaze: refuse a file without labels; otherwise all its rows are "unlabelled".
        drop_nonfinite: treat NaN or infinite labels as invalid rows instead of refusing the file.

    Raises:
        DataError: labels that are missing, of another shape, not finite, or not radians.
    """
    _check_attributes(file)
    head = row_array(file, "head", (num_rows, 2)).astype(np.float32) if "head" in file else None
    if "gaze" not in file and not need_gaze:
        nothing = np.full((num_rows, 2), np.nan, np.float32)
        return Labels(nothing, np.zeros(num_rows, bool), head, {"unlabelled": num_rows})
    gaze = row_array(file, "gaze", (num_rows, 2)).astype(np.float32)
    valid = _validity(file, num_rows)
    dropped = {"invalid": int((~valid).sum())}
    nonfinite = valid & ~np.isfinite(gaze).all(axis=1)
    if nonfinite.any() and not drop_nonfinite:
        raise DataError(
            f"{file.filename}: gaze is NaN or infinite in {nonfinite.sum()} valid rows, first row "
            f"{nonfinite.argmax()}; mark them in `validity`, or leave them out with data.drop_nonfinite=true"
        )
    dropped["nonfinite"] = int(nonfinite.sum())
    valid &= ~nonfinite
    _check_radians(file, gaze, valid)
    return Labels(gaze, valid, head, {reason: count for reason, count in dropped.items() if count})


def _check_attributes(file: h5py.File) -> None:
    for name, allowed in _EXPECTED_ATTRIBUTES.items():
        value = text_attribute(file, name)
        if value is not None and value.replace(" ", "") not in allowed:
            raise DataError(
                f"{file.filename}: attribute {name} is {value!r}; it must be {allowed[0]!r}: convert `gaze`"
            )


def text_attribute(file: h5py.File, name: str) -> str | None:
    """A file attribute as lower-case text, None where it is absent."""
    value = file.attrs.get(name)
    if value is None:
        return None
    return (value.decode() if isinstance(value, bytes) else str(value)).strip().lower()


def row_array(file: h5py.File, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """A whole array of numbers.

    Args:
        file: an open crop file.
        name: of the array.
        shape: that it must have, one row a frame.

    Raises:
        DataError: absent, of another shape, or not numbers.
    """
    dataset = file.get(name)
    if not isinstance(dataset, h5py.Dataset):
        raise DataError(f"{file.filename}: no array `{name}`; it must be {shape} numbers")
    if dataset.shape != shape:
        raise DataError(
            f"{file.filename}: {name} has shape {dataset.shape}, `face` has {shape[0]} frames; "
            f"it must be {shape}: every array holds one row a frame"
        )
    if dataset.dtype.kind not in "fiub":
        raise DataError(f"{file.filename}: {name} is {dataset.dtype}; it must be numbers")
    return dataset[:]


def _validity(file: h5py.File, num_rows: int) -> np.ndarray:
    if "validity" not in file:
        return np.ones(num_rows, bool)
    # Stored as bool, integer or float; a NaN is not a yes.
    return np.nan_to_num(row_array(file, "validity", (num_rows,)).astype(np.float32)) != 0


def _check_radians(file: h5py.File, gaze: np.ndarray, valid: np.ndarray) -> None:
    limit = np.array([np.pi / 2, np.pi], np.float32) + 1e-4
    beyond = valid & (np.abs(gaze) > limit).any(axis=1)
    if beyond.any():
        row = int(beyond.argmax())
        raise DataError(
            f"{file.filename}: gaze has |pitch| over pi/2 or |yaw| over pi in {beyond.sum()} rows, "
            f"first row {row}: {gaze[row].tolist()}; are these degrees? Store np.deg2rad(gaze)"
        )
