"""Rows of one step on their way into a crop file: raw bytes, one array behind the other.

An HDF5 file of 40 arrays costs more than the decoding of a step of three seconds; this costs nothing.
"""

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from gaze_exp.data.sources.eve_labels import columns
from gaze_exp.errors import DataError

Arrays = Mapping[str, tuple[tuple[int, ...], str]]


def row_arrays(*, face_size: int, eye_size: int, has_gaze: bool) -> dict[str, tuple[tuple[int, ...], str]]:
    """Every array of a row: shape and type.

    Args:
        face_size: side of the face crop, px.
        eye_size: side of the eye crops, px.
        has_gaze: whether there are labels.
    """
    eye = ((eye_size, eye_size, 3), "uint8")
    images = {"face": ((face_size, face_size, 3), "uint8"), "leye": eye, "reye": eye}
    gaze: dict[str, tuple[tuple[int, ...], str]] = {"gaze": ((2,), "float32")} if has_gaze else {}
    return {**images, **gaze, **columns(has_gaze=has_gaze)}


class RowsWriter:
    """Write rows of a known number, a few at a time.

    Args:
        path: the file; whole on a clean exit, gone on an exception.
        arrays: from `row_arrays`.
        num_rows: how many there will be.

    Raises:
        DataError: the disk takes no more.
    """

    def __init__(self, path: Path, arrays: Arrays, *, num_rows: int) -> None:
        self.path = path
        self._places = _places(arrays, num_rows)
        self._sizes = {name: _row_bytes(*of) for name, of in arrays.items()}
        self._types = {name: dtype for name, (_, dtype) in arrays.items()}

    def __enter__(self) -> "RowsWriter":
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("wb", buffering=0)
        except OSError as error:
            raise self._cannot_write(error) from error
        return self

    def write(self, start: int, rows: Mapping[str, np.ndarray]) -> None:
        """Write some rows.

        Args:
            start: number of the first.
            rows: name -> (rows, ...) of some arrays.
        """
        try:
            for name, values in rows.items():
                content = np.ascontiguousarray(values, self._types[name]).data.cast("B")
                place = self._places[name] + start * self._sizes[name]
                while content:  # a call writes 2 GB at most
                    done = os.pwrite(self._file.fileno(), content, place)
                    content, place = content[done:], place + done
        except OSError as error:
            raise self._cannot_write(error) from error

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                os.fsync(self._file.fileno())
        except OSError as error:
            raise self._cannot_write(error) from error
        finally:
            self._file.close()
            if kind is not None:
                self.path.unlink(missing_ok=True)

    def _cannot_write(self, error: OSError) -> DataError:
        return DataError(f"{self.path}: cannot write: {error.strerror}; free space or choose another data.root")


def read_rows(path: Path, arrays: Arrays, *, num_rows: int) -> dict[str, np.ndarray]:
    """Look at rows that were written, without copying them.

    Args:
        path: the file.
        arrays: as they were written.
        num_rows: likewise.

    Returns:
        Name -> (R, ...), read-only.
    """
    content = np.memmap(path, np.uint8, mode="r")
    places = _places(arrays, num_rows)
    return {
        name: content[places[name] : places[name] + num_rows * _row_bytes(shape, dtype)]
        .view(dtype)
        .reshape(num_rows, *shape)
        for name, (shape, dtype) in arrays.items()
    }


def rows_bytes(arrays: Arrays, *, num_rows: int) -> int:
    """Size of the file."""
    return num_rows * sum(_row_bytes(*of) for of in arrays.values())


def _row_bytes(shape: tuple[int, ...], dtype: str) -> int:
    return int(np.prod(shape)) * np.dtype(dtype).itemsize


def _places(arrays: Arrays, num_rows: int) -> dict[str, int]:
    """Where each array begins."""
    ends = np.cumsum([0, *(num_rows * _row_bytes(*of) for of in arrays.values())])
    return dict(zip(arrays, ends.tolist(), strict=False))
