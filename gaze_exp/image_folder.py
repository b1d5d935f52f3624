"""A folder of face and eye pictures as batches, for prediction."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from gaze_exp.batch import GazeBatch
from gaze_exp.errors import DataError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
PARTS = {"face": "face", "leye": "left_eye", "reye": "right_eye"}


@dataclass(frozen=True)
class ImageFolder:
    """Samples `NAME_face.png`, `NAME_leye.png`, `NAME_reye.png` (or .jpg, ...), resized to the model's sizes."""

    folder: Path
    names: list[str]
    pictures: dict[str, Path]
    """`NAME_face`, ... -> its file."""
    face_size: int
    eye_size: int
    parts: tuple[str, ...]

    @classmethod
    def open(cls, folder: Path, *, needs: set[str], face_size: int, eye_size: int) -> "ImageFolder":
        """Find the samples of a folder.

        Args:
            folder: where the pictures are.
            needs: batch keys that the model reads.
            face_size: side of the face crop the model was trained on, px.
            eye_size: side of its eye crops, px.

        Raises:
            DataError: no face picture, or an eye picture missing.
        """
        parts = tuple(part for part, key in PARTS.items() if key in needs)
        pictures = {p.stem: p for p in sorted(folder.iterdir()) if p.suffix.lower() in SUFFIXES}
        names = [stem.removesuffix("_face") for stem in pictures if stem.endswith("_face")]
        if not names:
            raise DataError(
                f"{folder}: no picture named NAME_face{SUFFIXES[0]}; a sample is "
                + ", ".join(f"NAME_{part}.png" for part in parts)
            )
        made = cls(folder, sorted(names), pictures, face_size, eye_size, parts)
        for name in names:
            for part in parts:
                made.path(name, part)
        return made

    def path(self, name: str, part: str) -> Path:
        """The picture of one part of a sample."""
        if f"{name}_{part}" not in self.pictures:
            raise DataError(f"{self.folder}: {name}_{part}.png is missing; the model reads {', '.join(self.parts)}")
        return self.pictures[f"{name}_{part}"]

    def batches(self, size: int = 64) -> Iterator[GazeBatch]:
        """Give the samples in the order of their names, each its own subject; no label is valid."""
        for start in range(0, len(self.names), size):
            names = self.names[start : start + size]
            images = {PARTS[part]: self._stack(names, part) for part in self.parts}
            yield GazeBatch(
                **images,  # type: ignore[typeddict-item]
                gaze=torch.full((len(names), 2), torch.nan),
                valid=torch.zeros(len(names), dtype=torch.bool),
                subject=torch.arange(start, start + len(names)),
                row=torch.arange(start, start + len(names)),
            )

    def face(self, row: int) -> np.ndarray:
        """(H, W, 3) uint8 RGB face of one sample."""
        return self._stack([self.names[row]], "face")[0].permute(1, 2, 0).numpy()

    def _stack(self, names: list[str], part: str) -> Tensor:
        side = self.face_size if part == "face" else self.eye_size
        return torch.stack([_read(self.path(name, part), side) for name in names])


def _read(path: Path, side_px: int) -> Tensor:
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise DataError(f"{path}: cannot be decoded as a picture; replace or remove it")
    if image.shape[0] != image.shape[1]:
        raise DataError(
            f"{path}: is {image.shape[1]} x {image.shape[0]}; a crop is square, stretching it moves the gaze"
        )
    if image.shape[0] != side_px:
        shrink = cv2.INTER_AREA if image.shape[0] > side_px else cv2.INTER_LINEAR
        image = cv2.resize(image, (side_px, side_px), interpolation=shrink)
    rgb = np.ascontiguousarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
    return torch.from_numpy(rgb).permute(2, 0, 1)
