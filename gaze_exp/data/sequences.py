"""Frames that follow each other: where a recording goes on without a gap, and windows over it.

Shapes: N rows of a file, K windows, T frames of a window.
"""

from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np

from gaze_exp.data.crop_file import open_hdf5
from gaze_exp.data.crop_labels import row_array
from gaze_exp.errors import DataError

PADDING = -1
"""In place of a row, where a window is longer than what there is."""

_CLOCKS = ("frame_index", "timestamp")
_GAP = 1.5
"""Of the usual distance between two rows: a clock may waver, a frame that is missing doubles it."""


def read_runs(path: Path, *, num_rows: int) -> np.ndarray:
    """Number the runs of a crop file: rows of one step without a gap between them.

    Args:
        path: a crop file with `step_id`, and `frame_index` or `timestamp` or both.
        num_rows: N.

    Returns:
        (N,) int64; a run's rows lie beside each other.

    Raises:
        DataError: the file does not say which frames follow each other.
    """
    with open_hdf5(path) as file:
        _refuse_unordered(file, path)
        broken = np.diff(row_array(file, "step_id", (num_rows,))) != 0
        for name in _CLOCKS:
            if name in file:
                broken |= _jumps(row_array(file, name, (num_rows,)), within=~broken)
    return np.concatenate(([0], np.cumsum(broken)))


def _refuse_unordered(file: h5py.File, path: Path) -> None:
    lacking = "step_id" if "step_id" not in file else "frame_index or timestamp"
    if lacking == "step_id" or not any(name in file for name in _CLOCKS):
        raise DataError(
            f"{path}: no array `{lacking}`: nothing says which rows follow each other, and a window must not run "
            "from one recording, or over a gap, into the next; convert the data again with step_id, frame_index and "
            "timestamp, or train on single frames: sequence_length=1"
        )


def _jumps(clock: np.ndarray, *, within: np.ndarray) -> np.ndarray:
    """(N-1,) where the next row is not the next frame; `within` (N-1,) are the pairs of one step."""
    distance = np.diff(clock.astype(np.float64))
    forward = distance[within & (distance > 0)]
    if not len(forward):  # a clock that stands still says nothing
        return np.zeros(len(distance), bool)
    return (distance <= 0) | (distance > _GAP * np.median(forward))


def windows(runs: np.ndarray, *, length: int, every: int = 1, every_phase: bool = False) -> np.ndarray:
    """Cut runs into windows; each row is in one window at most.

    A run that is longer than a window is cut into windows of about the same size: a last one with a frame
    or two would have no past.

    Args:
        runs: (N,) from `read_runs`, or of many files.
        length: T.
        every: distance of a window's frames, rows.
        every_phase: go through the rows between them too, in windows of their own.

    Returns:
        (K, T) int64 rows; `PADDING` behind the last row of a window that is not full.

    Example:
        >>> windows(np.array([0, 0, 0, 0, 0, 1]), length=3).tolist()
        [[0, 1, 2], [3, 4, -1], [5, -1, -1]]
    """
    parts = [part for rows in _phases(runs, every=every, every_phase=every_phase) for part in _cut(rows, length)]
    cut = np.full((len(parts), length), PADDING, np.int64)
    for window, part in zip(cut, parts, strict=True):
        window[: len(part)] = part
    return cut


def _phases(runs: np.ndarray, *, every: int, every_phase: bool) -> Iterator[np.ndarray]:
    for rows in np.split(np.arange(len(runs)), np.flatnonzero(np.diff(runs)) + 1):
        for phase in range(min(every if every_phase else 1, len(rows))):
            yield rows[phase::every]


def _cut(rows: np.ndarray, length: int) -> list[np.ndarray]:
    return np.array_split(rows, -(-len(rows) // length))
