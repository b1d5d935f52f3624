"""Rows of one step on their way into a crop file: raw bytes, one array behind the other.

An HDF5 file of 40 arrays costs more than the decoding of a step of three seconds; this costs nothing.
"""

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from io import FileIO
from pathlib import Path

import h5py
import numpy as np

from gaze_exp.data.sources.eve_labels import columns
from gaze_exp.errors import DataError

Arrays = Mapping[str, tuple[tuple[int, ...], str]]
_BYTES_AT_ONCE = 2**18
"""So that what was read is still in the processor's cache when it is hashed and written."""


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
        with _writing(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("wb", buffering=0)
        return self

    def write(self, start: int, rows: Mapping[str, np.ndarray]) -> None:
        """Write some rows.

        Args:
            start: number of the first.
            rows: name -> (rows, ...) of some arrays.
        """
        with _writing(self.path):
            for name, values in rows.items():
                content = np.ascontiguousarray(values, self._types[name]).data.cast("B")
                _write(self._file, content, self._places[name] + start * self._sizes[name])

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                with _writing(self.path):
                    os.fsync(self._file.fileno())
        finally:
            self._file.close()
            if kind is not None:
                self.path.unlink(missing_ok=True)


def put_together(path: Path, parts: Sequence[tuple[Path, int]], arrays: Arrays) -> str:
    """Fill a crop file whose room is reserved (`CropWriter.reserve`): every byte is read, hashed and written once.

    Args:
        path: the file.
        parts: files of rows and how many each holds, in order.
        arrays: as the rows were written.

    Returns:
        SHA-256 of the file, hexadecimal.

    Raises:
        DataError: the disk takes no more, or a part has lost some of its rows.
    """
    starts = _array_starts(path)
    digest, buffer, position = hashlib.sha256(), memoryview(bytearray(_BYTES_AT_ONCE)), 0
    with ExitStack() as files:
        whole = files.enter_context(path.open("r+b", buffering=0))
        sources = [
            (files.enter_context(part.open("rb", buffering=0)), num, _places(arrays, num)) for part, num in parts
        ]
        for name in sorted(arrays, key=starts.__getitem__):
            # What HDF5 itself keeps before the array.
            for piece in _pieces(whole, position, starts[name], buffer=buffer):
                digest.update(piece)
            position = starts[name]
            for source, num, places in sources:
                stop = places[name] + num * _row_bytes(*arrays[name])
                for piece in _pieces(source, places[name], stop, buffer=buffer):
                    digest.update(piece)
                    with _writing(path):
                        _write(whole, piece, position)
                    position += len(piece)
        for piece in _pieces(whole, position, path.stat().st_size, buffer=buffer):
            digest.update(piece)
        with _writing(path):
            os.fsync(whole.fileno())
    return digest.hexdigest()


def _array_starts(path: Path) -> dict[str, int]:
    """Where the bytes of each array begin."""
    with h5py.File(path) as file:
        return {name: h5py.h5d.open(file.id, name.encode()).get_offset() for name in file}


def _pieces(file: FileIO, start: int, stop: int, *, buffer: memoryview) -> Iterator[memoryview]:
    """The bytes of a file from `start` to `stop`, one buffer full after the other."""
    while start < stop:
        num = os.preadv(file.fileno(), [buffer[: stop - start]], start)
        if not num:
            raise DataError(f"{file.name}: ends too early; delete it, the same command again makes it anew")
        yield buffer[:num]
        start += num


def _write(file: FileIO, content: memoryview, place: int) -> None:
    while content:  # a call writes 2 GB at most
        done = os.pwrite(file.fileno(), content, place)
        content, place = content[done:], place + done


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = f"cannot write: {error.strerror}"
        raise DataError(f"{path}: {reason}; free space or choose another data.root") from error


def _row_bytes(shape: tuple[int, ...], dtype: str) -> int:
    return int(np.prod(shape)) * np.dtype(dtype).itemsize


def _places(arrays: Arrays, num_rows: int) -> dict[str, int]:
    """Where each array begins."""
    ends = np.cumsum([0, *(num_rows * _row_bytes(*of) for of in arrays.values())])
    return dict(zip(arrays, ends.tolist(), strict=False))
