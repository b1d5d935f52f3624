"""Where a crop file says what each pixel of an eye is. N rows, h w pixels.

mask_left, mask_right (N, h, w)                                     0 background, 1 sclera, 2 iris, 3 pupil
segmentation/masks_left_hybrid, segmentation/masks_right_hybrid     the same, where the left eye may have 4 to 6
"""

from dataclasses import replace

import h5py
import numpy as np

from gaze_exp.data.frame_offsets import FrameArray, frame_array
from gaze_exp.errors import DataError

UNKNOWN = 255
"""Of a pixel of which nothing is said."""

SCHEMES = (
    {"leye": "mask_left", "reye": "mask_right"},
    {"leye": "segmentation/masks_left_hybrid", "reye": "segmentation/masks_right_hybrid"},
)
"""Stored eye -> array that may hold its mask; the first scheme that a file follows counts."""


def find_masks(file: h5py.File, *, num_rows: int) -> dict[str, FrameArray]:
    """Look for masks in a crop file.

    Args:
        file: an open crop file.
        num_rows: N.

    Returns:
        Name of the array -> where its rows lie; nothing where the file has none.

    Raises:
        DataError: an array of another shape or type.
    """
    for scheme in SCHEMES:
        if all(name in file for name in scheme.values()):
            return {name: _mask_array(file, name, eye=eye, num_rows=num_rows) for eye, name in scheme.items()}
    return {}


def _mask_array(file: h5py.File, name: str, *, eye: str, num_rows: int) -> FrameArray:
    dataset, shape = file[name], (num_rows, *file[eye].shape[1:3])
    if not isinstance(dataset, h5py.Dataset) or dataset.shape != shape or dataset.dtype.kind not in "uib":
        what = f"{dataset.dtype} {dataset.shape}" if isinstance(dataset, h5py.Dataset) else "no array"
        raise DataError(
            f"{file.filename}: {name} is {what}; whole numbers 0..3 of shape {shape} are right, a pixel for each of "
            f"`{eye}`"
        )
    found = frame_array(dataset)
    return found if dataset.dtype == np.uint8 else replace(found, offsets=None)
