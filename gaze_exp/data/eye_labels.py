"""What a crop file says about each eye, as far as it says anything: gaze, head pose and pupil. N rows.

All of it is optional; NaN stands where a row says nothing.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import h5py
import numpy as np

from gaze_exp.errors import DataError

SIDES = ("left", "right")

SOURCES: Mapping[str, tuple[tuple[str, ...], tuple[int, ...]]] = MappingProxyType(
    {name: source for side in SIDES for name, source in {
        f"gaze_{side}": ((f"gaze_{side}",), (2,)),
        f"head_{side}": ((f"head_{side}", "head"), (2,)),
        f"pupil_{side}_mm": ((f"pupil_{side}_mm", "pupil_mm"), ()),
    }.items()}
)  # fmt: skip
"""Batch key -> arrays that may hold it, the first that is there counts; and the shape of a row."""


def read_eye_labels(file: h5py.File, *, num_rows: int) -> dict[str, np.ndarray]:
    """Read what is there.

    Args:
        file: an open crop file.
        num_rows: N.

    Returns:
        Key of `SOURCES` -> (N, ...) float32, NaN where unknown; a key of which the file says nothing is left out.

    Raises:
        DataError: an array of another shape, or that holds no numbers.
    """
    found = {}
    for name, (sources, shape) in SOURCES.items():
        source = next((each for each in sources if each in file), None)
        if source is not None:
            found[name] = _numbers(file, source, (num_rows, *shape))
    for side in SIDES:
        if f"gaze_{side}" in found and f"valid_{side}" in file:
            is_valid = _numbers(file, f"valid_{side}", (num_rows,))
            found[f"gaze_{side}"][~(np.nan_to_num(is_valid) != 0)] = np.nan
    return found


def _numbers(file: h5py.File, name: str, shape: tuple[int, ...]) -> np.ndarray:
    dataset = file[name]
    if not isinstance(dataset, h5py.Dataset) or dataset.shape != shape or dataset.dtype.kind not in "fiub":
        what = f"{dataset.dtype} {dataset.shape}" if isinstance(dataset, h5py.Dataset) else "no array"
        raise DataError(f"{file.filename}: {name} is {what}; numbers of shape {shape} are right, one row a frame")
    values: np.ndarray = dataset[:].astype(np.float32)
    values[np.isinf(values)] = np.nan
    return values


def join_eye_labels(files: Sequence[Mapping[str, np.ndarray]], num_rows: Sequence[int]) -> dict[str, np.ndarray]:
    """Put the rows of many files one behind the other.

    Args:
        files: of each file, from `read_eye_labels`.
        num_rows: of each file.

    Returns:
        Every key that any file has, NaN for the rows of the others.
    """
    joined = {}
    for name, (_, shape) in SOURCES.items():
        if any(name in each for each in files):
            unknown = [np.full((num, *shape), np.nan, np.float32) for num in num_rows]
            joined[name] = np.concatenate([each.get(name, nan) for each, nan in zip(files, unknown, strict=True)])
    return joined
