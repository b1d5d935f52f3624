"""Where the frames of an HDF5 array lie in their file, so that reading them needs no HDF5."""

from dataclasses import dataclass

import h5py
import numpy as np


@dataclass(frozen=True)
class FrameArray:
    """One image array of one crop file, as it lies on the disk."""

    shape: tuple[int, int, int]
    """Height, width in px, channels: one frame, uint8."""
    offsets: range | np.ndarray | None
    """Byte of the file at which each frame starts; None where only HDF5 can decode the frames."""
    block: int
    """How many neighbouring frames HDF5 decodes together."""
    layout: str
    """For people: how the array is stored."""
    num_bytes: int
    """Size of one frame."""


def frame_array(dataset: h5py.Dataset) -> FrameArray:
    """Find the frames of an (N, H, W, C) uint8 array.

    Args:
        dataset: the array, in a file that nobody is writing to.

    Returns:
        With offsets when every frame lies in one piece and as it is; the rest is slow but readable.
    """
    chunks = dataset.chunks
    return FrameArray(
        shape=tuple(dataset.shape[1:]),
        offsets=_offsets(dataset),
        block=chunks[0] if chunks else 1,
        layout=_layout(dataset),
        num_bytes=int(np.prod(dataset.shape[1:])),
    )


def _offsets(dataset: h5py.Dataset) -> range | np.ndarray | None:
    properties = dataset.id.get_create_plist()
    if dataset.file.userblock_size or dataset.is_virtual or dataset.external or properties.get_nfilters():
        return None
    if dataset.chunks is None:
        return _contiguous(dataset)
    if dataset.chunks[1:] != dataset.shape[1:]:
        return None
    return _chunked(dataset)


def _contiguous(dataset: h5py.Dataset) -> range | None:
    first = dataset.id.get_offset()
    # A tiny array may sit inside its header, and one that nobody wrote to has no place yet.
    if first is None:
        return None
    step = int(np.prod(dataset.shape[1:]))
    return range(first, first + len(dataset) * step, step)


def _chunked(dataset: h5py.Dataset) -> np.ndarray | None:
    frames, step = dataset.chunks[0], int(np.prod(dataset.shape[1:]))
    starts = np.full(-(-len(dataset) // frames), -1, np.int64)

    def note(chunk: h5py.h5d.StoreInfo) -> None:
        starts[chunk.chunk_offset[0] // frames] = chunk.byte_offset

    dataset.id.chunk_iter(note)
    if (starts < 0).any():  # chunks that were never written
        return None
    return (starts[:, None] + step * np.arange(frames)).ravel()[: len(dataset)]


def _layout(dataset: h5py.Dataset) -> str:
    if dataset.chunks is None:
        return "not chunked"
    filters = [str(dataset.compression)] if dataset.compression else []
    filters += ["shuffle"] if dataset.shuffle else []
    return " ".join([*filters, f"chunks {dataset.chunks}"])
