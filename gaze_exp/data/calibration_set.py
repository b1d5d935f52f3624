"""A user's calibration as a set to learn from: the folder `dataset_clean`, read and written.

It holds a face crop (JPEG) of each photo, `labels.csv`, `manifest.json` and `contact_sheet.png`. Angles are
client degrees: yaw, pitch, right and down positive (`gaze_exp/screen.py`).
"""

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from gaze_exp.errors import ConfigError, DataError
from gaze_exp.screen import ScreenGeometry

LABELS = "labels.csv"
MANIFEST = "manifest.json"
SHEET = "contact_sheet.png"
FORMAT = "gaze_exp calibration set 1"
_AGAIN = "prepare it again: task=l2cs_prepare"


@dataclass(frozen=True)
class LabelRow:
    """One line of `labels.csv`; the fields are its columns, in this order."""

    filename: str
    """Of the crop, in the set's folder."""
    yaw: float
    """Client degrees; so is the next."""
    pitch: float
    target_x_px: float
    """Of the client's window; so is the next."""
    target_y_px: float
    session: int
    target: int
    """Photos of one target id were taken of (nearly) one point of the screen."""
    box_left_px: float
    """Of the face in the photo; so are the next three."""
    box_top_px: float
    box_right_px: float
    box_bottom_px: float
    confidence: float
    """Of the face, 0..1."""
    time_ms: int
    """Since 1970; -1 where the photo does not say."""
    source: str
    """The photo's file name."""


@dataclass(frozen=True)
class CalibrationSet:
    """A prepared calibration: N crops with their targets."""

    folder: Path
    filenames: list[str]
    angles_deg: Tensor
    """(N, 2) float64 yaw, pitch in client degrees."""
    target_px: Tensor
    """(N, 2) float64 px of the client's window."""
    session: Tensor
    """(N,) int64."""
    target: Tensor
    """(N,) int64."""
    geometry: ScreenGeometry
    manifest: dict[str, Any]

    def __len__(self) -> int:
        return len(self.filenames)

    @property
    def size_px(self) -> int:
        """Edge of the crops."""
        return int(self.manifest["size_px"])

    def images(self) -> Tensor:
        """The crops.

        Returns:
            (N, 3, S, S) uint8 RGB.

        Raises:
            DataError: one cannot be read, or has another size.
        """
        return torch.stack([read_crop(self.folder / name, size_px=self.size_px) for name in self.filenames])


def read_crop(path: Path, *, size_px: int) -> Tensor:
    """One crop as (3, size_px, size_px) uint8 RGB."""
    try:
        with Image.open(path) as file:
            pixels = np.array(file.convert("RGB"))
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as a picture ({error}); {_AGAIN}") from error
    if pixels.shape != (size_px, size_px, 3):
        height, width = pixels.shape[:2]
        raise DataError(f"{path}: is {width} x {height} px, {MANIFEST} says {size_px}; {_AGAIN}")
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


def read_calibration_set(root: str | Path) -> CalibrationSet:
    """Read the labels and the manifest; the crops wait for `images()`.

    Args:
        root: the folder that `task=l2cs_prepare` wrote.

    Returns:
        The set, in the order of its labels.

    Raises:
        DataError: it is not there, is not whole, or contradicts itself.
    """
    folder = Path(root).expanduser()
    manifest = read_manifest(folder)
    geometry, rows = _geometry_of(manifest, folder), _read_labels(folder / LABELS)
    missing = [row.filename for row in rows if not (folder / row.filename).is_file()]
    if missing:
        raise DataError(
            f"{folder / LABELS}: filename: {missing[0]} is not in the folder ({len(missing)} such); {_AGAIN}"
        )
    angles_deg = torch.tensor([(row.yaw, row.pitch) for row in rows], dtype=torch.float64)
    target_px = torch.tensor([(row.target_x_px, row.target_y_px) for row in rows], dtype=torch.float64)
    apart = (geometry.to_degrees(target_px) - angles_deg).abs().amax(-1)
    if bool((apart > 1e-3).any()):
        row = rows[int(apart.argmax())]
        raise DataError(
            f"{folder / LABELS}: {row.filename}: yaw, pitch are not what target_x_px, target_y_px are in the geometry "
            f"of {MANIFEST}; to change the geometry, {_AGAIN} screen=..."
        )
    return CalibrationSet(
        folder=folder,
        filenames=[row.filename for row in rows],
        angles_deg=angles_deg,
        target_px=target_px,
        session=torch.tensor([row.session for row in rows]),
        target=torch.tensor([row.target for row in rows]),
        geometry=geometry,
        manifest=manifest,
    )


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a folder, if it is one of ours.

    Raises:
        DataError: it is missing, unreadable, or another program's.
    """
    path = folder / MANIFEST
    if not path.is_file():
        what = "holds no manifest.json" if folder.is_dir() else "there is no such folder"
        raise DataError(f"{folder}: {what}; make the set from your photos with task=l2cs_prepare")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as JSON ({error}); {_AGAIN}") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise DataError(f"{path}: format: is not '{FORMAT}'; {_AGAIN}")
    return manifest


def _geometry_of(manifest: dict[str, Any], folder: Path) -> ScreenGeometry:
    try:
        geometry = ScreenGeometry(**manifest["geometry"])
        int(manifest["size_px"])
    except (KeyError, TypeError, ValueError, ConfigError) as error:
        raise DataError(f"{folder / MANIFEST}: geometry or size_px: {error}; {_AGAIN}") from error
    return geometry


def _read_labels(path: Path) -> list[LabelRow]:
    types = {name: field.type for name, field in LabelRow.__dataclass_fields__.items()}
    try:
        with path.open(encoding="utf-8", newline="") as file:
            lines = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read ({error}); {_AGAIN}") from error
    if not lines:
        raise DataError(f"{path}: holds no photo; {_AGAIN}")
    absent = [name for name in types if name not in lines[0]]
    if absent:
        raise DataError(f"{path}: has no column {', '.join(absent)}; {_AGAIN}")
    rows = []
    for number, line in enumerate(lines, start=2):
        try:
            row = LabelRow(**{name: kind(line[name]) for name, kind in types.items()})  # type: ignore[operator]
        except (TypeError, ValueError) as error:
            raise DataError(f"{path}: line {number}: {error}; {_AGAIN}") from error
        if not all(map(math.isfinite, (row.yaw, row.pitch, row.target_x_px, row.target_y_px))):
            raise DataError(f"{path}: line {number}: holds a number that is not finite; {_AGAIN}")
        rows.append(row)
    return rows


def labels_text(rows: Sequence[LabelRow]) -> str:
    """Rows as the text of `labels.csv`."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(LabelRow.__dataclass_fields__), lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    return text.getvalue()
