"""The crop file `frames_<camera>.h5`: what is in it, and the writer.

Rows are frames of one person. Shapes: N rows, H W pixels of the face, h w pixels of an eye.

    face (N, H, W, 3), leye, reye (N, h, w, 3)   uint8 RGB; left and right are the subject's own
    gaze (N, 2)                                  float32 pitch, yaw in radians, normalised camera of the face

Everything else is optional; a file with these four arrays trains. The reader is in `crop_file.py`.
"""

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Self

import h5py
import numpy as np

from gaze_exp.errors import DataError

IMAGES = ("face", "leye", "reye")
REQUIRED = (*IMAGES, "gaze")

OPTIONAL: Mapping[str, tuple[tuple[int, ...], str]] = MappingProxyType(
    {
        "validity": ((), "bool"),
        "step_id": ((), "int32"),
        "frame_index": ((), "int64"),
        "timestamp": ((), "int64"),
        "gaze_left": ((2,), "float32"),
        "gaze_right": ((2,), "float32"),
        "pog_px": ((2,), "float32"),
        "head": ((2,), "float32"),
        "face_R": ((3, 3), "float32"),
        "face_o": ((3,), "float32"),
        "valid_left": ((), "bool"),
        "valid_right": ((), "bool"),
    }
)
"""Optional arrays: shape of a row and type. `mask_left` and `mask_right` are (h, w) uint8."""

ATTRIBUTES: Mapping[str, object] = MappingProxyType(
    {
        "format_version": 1,
        "color_order": "RGB",
        "eye_naming": "subject",
        "angle_order": "pitch,yaw",
        "unit": "rad",
    }
)
"""File attributes that every file from `CropWriter` carries."""


class CropWriter:
    """Write one crop file in the layout that is read at memory speed: contiguous, uncompressed.

    The rows go to `<path>.partial`, which becomes `<path>` only when all of them are on the disk. An
    exception, Ctrl-C or a full disk removes it, so a file under its own name is always whole.

    Args:
        path: the file to write; its folder is made.
        num_rows: how many rows will be appended, exactly.
        face_size: side of the face crop, or its height and width, px.
        eye_size: the same of the eye crops.
        optional: name -> (shape of one row, numpy dtype) of further arrays; see `OPTIONAL`.
        attrs: file attributes, over `ATTRIBUTES`; None leaves one of those out.
        has_gaze: False for frames whose labels are kept back.

    Raises:
        DataError: rows that do not fit what was announced, or a disk that takes no more.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "frames_basler.h5"
        >>> eye, face = np.zeros((1, 2, 2, 3), np.uint8), np.zeros((1, 4, 4, 3), np.uint8)
        >>> with CropWriter(path, num_rows=1, face_size=4, eye_size=2) as writer:
        ...     writer.append({"face": face, "leye": eye, "reye": eye, "gaze": np.zeros((1, 2), np.float32)})
        >>> sorted(h5py.File(path))
        ['face', 'gaze', 'leye', 'reye']
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        num_rows: int,
        face_size: int | tuple[int, int],
        eye_size: int | tuple[int, int],
        optional: Mapping[str, tuple[tuple[int, ...], str]] = MappingProxyType({}),
        attrs: Mapping[str, object] = MappingProxyType({}),
        has_gaze: bool = True,
    ) -> None:
        self.path = Path(path)
        self.partial = self.path.with_name(self.path.name + ".partial")
        self.num_rows = num_rows
        face, eye = ((*((size, size) if isinstance(size, int) else size), 3) for size in (face_size, eye_size))
        self._arrays: dict[str, tuple[tuple[int, ...], str]] = {
            "face": (face, "uint8"),
            "leye": (eye, "uint8"),
            "reye": (eye, "uint8"),
            **({"gaze": ((2,), "float32")} if has_gaze else {}),
            **optional,
        }
        self._attrs = {name: value for name, value in {**ATTRIBUTES, **attrs}.items() if value is not None}
        self._file: h5py.File | None = None
        self._datasets: dict[str, h5py.Dataset] = {}
        self._written = 0

    def __enter__(self) -> Self:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = h5py.File(self.partial, "w")
            for name, (shape, dtype) in self._arrays.items():
                self._datasets[name] = self._file.create_dataset(name, shape=(self.num_rows, *shape), dtype=dtype)
            self._file.attrs.update(self._attrs)
        except BaseException as error:
            self._abandon()
            if isinstance(error, OSError):
                raise self._cannot_write(error) from error
            raise
        return self

    def append(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Write the next rows.

        Args:
            arrays: every announced array, (rows, ...) each; images NHWC uint8.
        """
        assert self._file is not None, "append outside of the `with` block"
        stop = self._written + self._check(arrays)
        try:
            for name, values in arrays.items():
                self._datasets[name][self._written : stop] = values
        except OSError as error:
            raise self._cannot_write(error) from error
        self._written = stop

    def reserve(self) -> None:
        """Take room for all rows, instead of appending them: they will be written by their place in the file."""
        assert self._file is not None, "reserve outside of the `with` block"
        try:
            for dataset in self._datasets.values():
                # One number written makes HDF5 take the room of the whole array.
                dataset[(0,) * dataset.ndim] = 0
        except OSError as error:
            raise self._cannot_write(error) from error
        self._written = self.num_rows

    def copy_object(self, source: h5py.File, name: str) -> None:
        """Take over something that has no rows (a group, a matrix of the whole recording).

        Args:
            source: an open HDF5 file.
            name: what to copy from it.
        """
        assert self._file is not None, "copy_object outside of the `with` block"
        try:
            source.copy(name, self._file, name)
        except (OSError, RuntimeError) as error:
            raise self._cannot_write(error) from error

    def _check(self, arrays: Mapping[str, np.ndarray]) -> int:
        """Number of rows in `arrays`, all of which fit what was announced."""
        if arrays.keys() != self._arrays.keys():
            odd = ", ".join(sorted(arrays.keys() ^ self._arrays.keys()))
            raise DataError(f"{self.path}: rows do not match the arrays announced: {odd}; append all of them")
        num = len(arrays["face"])
        for name, (shape, dtype) in self._arrays.items():
            values = arrays[name]
            if values.shape != (num, *shape):
                raise DataError(f"{self.path}: {name} has shape {values.shape}; it must be {(num, *shape)}")
            # Floats in an image, or a rounded label, must not slip through as a cast.
            if not np.can_cast(values.dtype, dtype, casting="same_kind"):
                raise DataError(f"{self.path}: {name} is {values.dtype}; it must be {dtype}")
        if self._written + num > self.num_rows:
            raise DataError(f"{self.path}: more than the {self.num_rows} rows announced; count them first")
        return num

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._abandon()
            return
        try:
            self._finish()
        except BaseException as failure:
            self._abandon()
            if isinstance(failure, (OSError, RuntimeError)):
                raise self._cannot_write(failure) from failure
            raise

    def _finish(self) -> None:
        assert self._file is not None
        if self._written != self.num_rows:
            raise DataError(f"{self.path}: {self._written} rows written, {self.num_rows} announced; nothing was kept")
        self._file.close()
        with self.partial.open("rb") as file:
            os.fsync(file.fileno())
        self.partial.replace(self.path)

    def _abandon(self) -> None:
        # Closing a file on a full disk fails a second time; the first error is the one to tell.
        with contextlib.suppress(OSError, RuntimeError):
            if self._file is not None:
                self._file.close()
        self.partial.unlink(missing_ok=True)

    def _cannot_write(self, error: Exception) -> DataError:
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
        return DataError(f"{self.path}: cannot write: {reason}; free space or choose another folder (nothing was kept)")
