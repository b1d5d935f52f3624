"""One crop file, checked and ready to read. What is in it stands in `crops.py`."""

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import h5py
import numpy as np

from gaze_exp.data.crop_labels import Labels, read_labels, text_attribute
from gaze_exp.data.crops import IMAGES, OPTIONAL
from gaze_exp.data.eye_labels import read_eye_labels
from gaze_exp.data.eye_masks import find_masks
from gaze_exp.data.frame_offsets import FrameArray, frame_array
from gaze_exp.errors import DataError


@dataclass(frozen=True)
class CropFile:
    """Where the frames of one file lie, and what the file says about itself."""

    path: Path
    num_rows: int
    images: dict[str, FrameArray]
    """`face`, `leye`, `reye` -> where its frames are."""
    colour: Literal["rgb", "bgr"] | None
    """None where the file does not say."""
    participant: str | None
    """The person, where the file says it."""
    state: tuple[int, int, int]
    """Inode, size and time of change when it was looked at: offsets hold for this state only."""
    masks: dict[str, FrameArray] = field(default_factory=dict)
    """Arrays of masks of the eyes, as `eye_masks.find_masks` has them; empty where they were not looked for."""

    @property
    def is_fast(self) -> bool:
        """Whether its frames can be read without decoding."""
        return all(image.offsets is not None for image in self.images.values())


def open_hdf5(path: Path) -> h5py.File:
    """Open a crop file for reading, with no chunk cache: 400 files would keep gigabytes.

    Raises:
        DataError: not there, not HDF5, or truncated.
    """
    try:
        return h5py.File(path, "r", rdcc_nbytes=0)
    except OSError as error:
        reason = str(error).replace("Unable to synchronously open file ", "").strip("()")
        raise DataError(f"{path}: cannot be read as HDF5: {reason}; copy or convert it again") from error


def file_state(status: os.stat_result) -> tuple[int, int, int]:
    """What changes when a file is replaced or rewritten."""
    return status.st_ino, status.st_size, status.st_mtime_ns


def index_crop_file(
    path: Path, *, need_gaze: bool = True, drop_nonfinite: bool = False, masks: bool = False
) -> tuple[CropFile, Labels]:
    """Check a crop file and note where everything is; no frame is read.

    Args:
        path: the file.
        need_gaze: refuse a file without labels.
        drop_nonfinite: leave rows with NaN or infinite labels out instead of refusing the file.
        masks: look for masks of the eyes too.

    Raises:
        DataError: whatever is wrong with it, with the key and the remedy.
    """
    with open_hdf5(path) as file:
        status = path.stat()
        try:
            images = {name: _image(file, name) for name in IMAGES}
            num_rows = _num_rows(file)
            labels = read_labels(file, num_rows=num_rows, need_gaze=need_gaze, drop_nonfinite=drop_nonfinite)
            found = find_masks(file, num_rows=num_rows) if masks else {}
            labels = replace(labels, eyes=read_eye_labels(file, num_rows=num_rows))
        except (OSError, RuntimeError, KeyError) as error:
            raise DataError(f"{path}: damaged: {error}; copy or convert it again") from error
        return CropFile(
            path=path,
            num_rows=num_rows,
            images=images,
            colour=_colour(file),
            participant=str(file.attrs["participant"]) if "participant" in file.attrs else None,
            state=file_state(status),
            masks=found,
        ), labels


def _image(file: h5py.File, name: str) -> FrameArray:
    dataset = file.get(name)
    if not isinstance(dataset, h5py.Dataset):
        found = ", ".join(sorted(file)) or "nothing"
        raise DataError(f"{file.filename}: no array `{name}` (found {found}); write it as uint8 RGB (N, H, W, 3)")
    if dataset.dtype != np.uint8:
        raise DataError(
            f"{file.filename}: {name} is {dataset.dtype}; it must be uint8 RGB 0..255: "
            f"store (255 * image).round().astype('uint8') if it is in [0, 1]"
        )
    if len(dataset.shape) != 4 or dataset.shape[-1] != 3:
        hint = " (channels come last)" if dataset.shape[1:2] == (3,) else ""
        raise DataError(f"{file.filename}: {name} has shape {dataset.shape}; it must be (N, H, W, 3){hint}")
    if 0 in dataset.shape:
        raise DataError(f"{file.filename}: {name} holds no frames, shape {dataset.shape}; remove the file")
    return frame_array(dataset)


def _num_rows(file: h5py.File) -> int:
    there = set(file)
    arrays = [name for name in (*IMAGES, "gaze", *OPTIONAL) if name in there]
    lengths = {name: shape[0] for name in arrays if (shape := getattr(file[name], "shape", ()))}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise DataError(f"{file.filename}: lengths disagree: {told}; every array holds one row a frame")
    return lengths["face"]


def _colour(file: h5py.File) -> Literal["rgb", "bgr"] | None:
    value = text_attribute(file, "color_order") or text_attribute(file, "colour_order")
    if value is None:
        return None
    if value not in ("rgb", "bgr"):
        raise DataError(f"{file.filename}: attribute color_order is {value!r}; it must be 'RGB' or 'BGR'")
    return "bgr" if value == "bgr" else "rgb"
