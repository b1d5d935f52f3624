"""Masks of the eyes, read when a batch needs them, from the files that have them. B rows, h w pixels."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from gaze_exp.data.crop_file import CropFile
from gaze_exp.data.eye_masks import SCHEMES, UNKNOWN
from gaze_exp.data.frame_reader import FrameReader
from gaze_exp.errors import DataError

_CLASSES = np.full(256, UNKNOWN, np.uint8)
_CLASSES[:4] = range(4)
_CLASSES[4:7] = range(1, 4)  # the left eye's sclera, iris, pupil, where both eyes share one numbering


class MaskReader:
    """Reads masks of many crop files; safe from several threads.

    Args:
        files: the files, in the order in which they are counted, looked at with their masks.
        swap_eyes: `leye` holds the right eye.

    Raises:
        DataError: no file has masks.
    """

    def __init__(self, files: Sequence[CropFile], *, swap_eyes: bool) -> None:
        stored = ("reye", "leye") if swap_eyes else ("leye", "reye")
        self.keys = dict(zip(("mask_left", "mask_right"), stored, strict=True))
        self.shape = files[0].images["leye"].shape[:2]
        self.scheme = np.array([self._scheme_of(file) for file in files])
        if (self.scheme < 0).all():
            raise DataError(
                f"{files[0].path}: this and all {len(files)} files have no masks of the eyes "
                f"({' or '.join(scheme['leye'] for scheme in SCHEMES)}); add them, or go on without: data.masks=false"
            )
        self._reader = FrameReader(
            [replace(file, images=file.masks) for file in files], reverse_channels=[False] * len(files)
        )

    @staticmethod
    def _scheme_of(file: CropFile) -> int:
        """Number of the scheme that a file follows, -1 for none."""
        followed = [n for n, scheme in enumerate(SCHEMES) if scheme["leye"] in file.masks]
        return followed[0] if followed else -1

    def read(self, files: np.ndarray, *, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Read the masks of one batch.

        Args:
            files: (B,) the file of each row.
            rows: (B,) the row in that file.

        Returns:
            `mask_left`, `mask_right`: (B, h, w) uint8 0..3, `UNKNOWN` where nothing is said.
        """
        masks = {key: np.full((len(rows), *self.shape), UNKNOWN, np.uint8) for key in self.keys}
        for number, scheme in enumerate(SCHEMES):
            chosen = np.flatnonzero(self.scheme[files] == number)
            if not len(chosen):
                continue
            found = {scheme[eye]: np.empty((len(chosen), *self.shape), np.uint8) for eye in self.keys.values()}
            self._reader.read(files[chosen], rows=rows[chosen], out=found)
            for key, eye in self.keys.items():
                masks[key][chosen] = _CLASSES[found[scheme[eye]]]
        return masks
