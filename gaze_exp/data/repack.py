"""Rewrite crop files into the layout that is read at memory speed."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from gaze_exp.data.crop_file import CropFile, index_crop_file, open_hdf5
from gaze_exp.data.crops import ATTRIBUTES, REQUIRED, CropWriter
from gaze_exp.errors import DataError

_ROWS_AT_ONCE = 64


@dataclass(frozen=True)
class RepackedFile:
    """What became of one file."""

    source: Path
    target: Path
    num_rows: int
    was: str
    """The layout of its slowest array."""
    seconds: float
    """0 where a fast target was there already."""


def repack_root(root: str | Path, to: str | Path) -> Iterator[RepackedFile]:
    """Rewrite every crop file of a data set, one after the other.

    Args:
        root: folder with `*/participant_*/frames_*.h5`, all cameras.
        to: where the same tree is written; `root` itself replaces the slow files. What is there and fast
            already is left alone, so a stopped run goes on where it was.

    Yields:
        Each file when it is whole.

    Raises:
        DataError: nothing to rewrite, a file that cannot be used, a full disk. No target is left in halves.
    """
    root, to = Path(root).expanduser(), Path(to).expanduser()
    sources = sorted(root.glob("*/participant_*/frames_*.h5"))
    if not sources:
        raise DataError(f"data.root: {root} holds no */participant_*/frames_*.h5; give the folder above train01")
    for source in sources:
        yield repack_file(source, to / source.relative_to(root))


def repack_file(source: Path, target: Path) -> RepackedFile:
    """Rewrite one crop file; pixels, labels, further arrays and attributes stay as they are.

    Args:
        source: a crop file of any layout.
        target: where to; may be `source`.

    Returns:
        What was done; nothing when the target is there, whole and fast.

    Raises:
        DataError: a file that cannot be used, or a disk that takes no more.
    """
    begin = time.perf_counter()
    crops, _ = index_crop_file(source, need_gaze=False, drop_nonfinite=True)
    was = next((image.layout for image in crops.images.values() if image.offsets is None), "fast")
    if target.exists():
        there, _ = index_crop_file(target, need_gaze=False, drop_nonfinite=True)
        if there.is_fast and there.num_rows == crops.num_rows:
            return RepackedFile(source, target, crops.num_rows, was, 0.0)
    with open_hdf5(source) as file:
        _copy(file, crops, target)
    return RepackedFile(source, target, crops.num_rows, was, time.perf_counter() - begin)


def _copy(file: h5py.File, crops: CropFile, target: Path) -> None:
    rows = {name for name, item in file.items() if _has_rows(item, crops.num_rows)}
    optional = {name: (file[name].shape[1:], str(file[name].dtype)) for name in sorted(rows - {*REQUIRED})}
    # What the source does not say about itself, the copy must not say either.
    unsaid: dict[str, object] = dict.fromkeys(ATTRIBUTES, None)
    with CropWriter(
        target,
        num_rows=crops.num_rows,
        face_size=crops.images["face"].shape[:2],
        eye_size=crops.images["leye"].shape[:2],
        optional=optional,
        attrs=unsaid | {"format_version": ATTRIBUTES["format_version"]} | dict(file.attrs),
        has_gaze="gaze" in rows,
    ) as writer:
        block = max(image.block for image in crops.images.values())
        step = block * max(1, _ROWS_AT_ONCE // block)
        for start in range(0, crops.num_rows, step):
            writer.append({name: _read(file, name, slice(start, start + step)) for name in rows})
        for name in sorted(set(file) - rows):
            writer.copy_object(file, name)


def _read(file: h5py.File, name: str, rows: slice) -> np.ndarray:
    try:
        return file[name][rows]
    except (OSError, RuntimeError) as error:
        raise DataError(
            f"{file.filename}: {name} cannot be read from row {rows.start}: {error}; restore the file, or move it "
            f"away and go on without it"
        ) from error


def _has_rows(item: object, num_rows: int) -> bool:
    if not isinstance(item, h5py.Dataset) or item.shape[:1] != (num_rows,):
        return False
    return np.issubdtype(item.dtype, np.number) or item.dtype == bool
