"""Read frames of many crop files straight into a batch, from any number of threads.

A frame that lies in one piece is one `preadv` into its place in the batch: no intermediate copy, no chunk
cache, and, unlike a memory map, a resident size that does not grow with the data and a truncated file
that ends in an error instead of a killed process.
"""

import os
import resource
import threading
import weakref
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np

from gaze_exp.data.crop_file import CropFile, file_state, open_hdf5
from gaze_exp.errors import DataError

_OTHERS = 512  # descriptors left to the rest of the process


class FrameReader:
    """Reads frames; opens a file when it is first needed and keeps it open.

    Args:
        files: the files, in the order in which they are counted.
        reverse_channels: for each file, whether its BGR frames are to be turned into RGB.
    """

    def __init__(self, files: Sequence[CropFile], *, reverse_channels: Sequence[bool]) -> None:
        self.files = list(files)
        self.reverse_channels = list(reverse_channels)
        self._forget()

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._is_fast = [file.is_fast for file in self.files]
        self._budget = _reserve_descriptors(len(self.files))
        self._descriptors: dict[int, int] = {}
        self._handles: dict[int, h5py.File] = {}
        weakref.finalize(self, _close, self._descriptors, self._handles).atexit = False

    def __getstate__(self) -> dict[str, Any]:
        return {"files": self.files, "reverse_channels": self.reverse_channels}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()

    def read(self, files: np.ndarray, *, rows: np.ndarray, out: Mapping[str, np.ndarray]) -> None:
        """Read one batch.

        Args:
            files: (B,) the file of each frame.
            rows: (B,) its row in that file.
            out: stored name -> (B, H, W, 3) uint8, contiguous.

        Raises:
            DataError: a file ends too early or was changed since it was looked at.
        """
        views = {name: images.data.cast("B") for name, images in out.items()}
        slots = np.argsort(files, kind="stable")
        for places in np.split(slots, np.flatnonzero(np.diff(files[slots])) + 1):
            file = int(files[places[0]])
            if self._is_fast[file]:
                self._read_fast(file, rows[places], places, views)
            else:
                self._read_slow(file, rows[places], places, out)
            if self.reverse_channels[file]:
                _reverse_channels(places, out)

    def _read_fast(self, file: int, rows: np.ndarray, slots: np.ndarray, views: Mapping[str, memoryview]) -> None:
        descriptor, is_kept = self._descriptor(file)
        try:
            for name, view in views.items():
                array = self.files[file].images[name]
                assert array.offsets is not None
                size = array.num_bytes
                offsets = [array.offsets[row] for row in rows.tolist()]
                # Neighbours on the disk that are neighbours in the batch come in one read.
                for start, count in _runs(offsets, slots, size):
                    begin = int(slots[start]) * size
                    if not _fill(descriptor, view[begin : begin + count * size], offsets[start]):
                        raise self._ends_early(file, name, int(rows[start]))
        finally:
            if not is_kept:
                os.close(descriptor)

    def _read_slow(self, file: int, rows: np.ndarray, slots: np.ndarray, out: Mapping[str, np.ndarray]) -> None:
        handle = self._handle(file)
        order = np.argsort(rows, kind="stable")
        rows, slots = rows[order], slots[order]
        for name, images in out.items():
            # Frames that HDF5 decodes together are decoded once.
            cuts = np.flatnonzero(np.diff(rows // self.files[file].images[name].block)) + 1
            for part, places in zip(np.split(rows, cuts), np.split(slots, cuts), strict=True):
                try:
                    frames = handle[name][part[0] : part[-1] + 1]
                except (OSError, RuntimeError) as error:
                    raise self._ends_early(file, name, int(part[0])) from error
                images[places] = frames[part - part[0]]

    def _descriptor(self, file: int) -> tuple[int, bool]:
        """Descriptor of a file, and whether it stays open."""
        descriptor = self._descriptors.get(file)
        if descriptor is not None:
            return descriptor, True
        with self._lock:
            if file in self._descriptors:
                return self._descriptors[file], True
            path = self.files[file].path
            try:
                descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except OSError as error:
                raise DataError(f"{path}: cannot be read: {error.strerror}; it was there at the start") from error
            try:
                self._check_unchanged(file, os.fstat(descriptor))
            except DataError:
                os.close(descriptor)
                raise
            if len(self._descriptors) >= self._budget:
                return descriptor, False
            self._descriptors[file] = descriptor
            return descriptor, True

    def _handle(self, file: int) -> h5py.File:
        with self._lock:
            if file not in self._handles:
                path = self.files[file].path
                self._handles[file] = open_hdf5(path)
                self._check_unchanged(file, path.stat())
            return self._handles[file]

    def _check_unchanged(self, file: int, status: os.stat_result) -> None:
        if file_state(status) != self.files[file].state:
            raise DataError(f"{self.files[file].path}: was changed while in use; start the run again")

    def _ends_early(self, file: int, name: str, row: int) -> DataError:
        path: Path = self.files[file].path
        return DataError(f"{path}: {name} cannot be read at row {row}: the file is cut short or damaged; restore it")


def _reverse_channels(slots: np.ndarray, out: Mapping[str, np.ndarray]) -> None:
    for images in out.values():
        for slot in slots:
            cv2.cvtColor(images[slot], cv2.COLOR_BGR2RGB, dst=images[slot])


def _runs(offsets: list[int], slots: np.ndarray, size: int) -> list[tuple[int, int]]:
    """Split into (start, count) such that a run is in one piece both in the file and in the batch."""
    if len(offsets) == 1:
        return [(0, 1)]
    broken = (np.diff(offsets) != size) | (np.diff(slots) != 1)
    starts = [0, *(np.flatnonzero(broken) + 1).tolist(), len(offsets)]
    return [(start, stop - start) for start, stop in pairwise(starts)]


def _fill(descriptor: int, view: memoryview, offset: int) -> bool:
    """Read until `view` is full; False at the end of the file."""
    got = os.preadv(descriptor, [view], offset)
    while got and got < len(view):  # a signal, or a read over 2 GB
        view, offset = view[got:], offset + got
        got = os.preadv(descriptor, [view], offset)
    return got > 0


def _reserve_descriptors(num_files: int) -> int:
    """Raise the soft limit of open files where needed; how many of ours may stay open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Twice, since training and validation are open side by side.
    wanted = 2 * num_files + _OTHERS
    if soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return max(16, (soft - _OTHERS) // 2)


def _close(descriptors: dict[int, int], handles: dict[int, h5py.File]) -> None:
    for descriptor in descriptors.values():
        os.close(descriptor)
    for handle in handles.values():
        handle.close()
