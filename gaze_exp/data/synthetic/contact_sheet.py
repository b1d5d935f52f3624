"""One picture of a written data set, made from the files themselves: what is wrong in them shows here."""

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import cv2
import h5py
import numpy as np

from gaze_exp.atomic_write import atomic_write
from gaze_exp.data.synthetic.set_plan import SHEET
from gaze_exp.data.synthetic.video import read_frames
from gaze_exp.draw import TARGET_COLOUR, Image, caption, gaze_arrow, grid, png_bytes

_FACE_PX = 192
_EYE_PX = _FACE_PX // 2
_PHOTO_WIDTH_PX = 320
_PER_PERSON = 6
_NUM_PERSONS = 8
_MASK_RGB = np.array([[0, 0, 0], [235, 235, 235], [70, 130, 220], [250, 200, 40]], np.uint8)
"""Background, sclera, iris, pupil."""


def write_contact_sheet(root: Path, *, layout: str) -> Path:
    """Show some frames of some persons, a person a row.

    Args:
        root: folder of a whole data set.
        layout: `crops`, `eve` or `calibration`.

    Returns:
        `<root>/contact_sheet.png`.
    """
    tiles_of = {"crops": _crop_tiles, "eve": _eve_tiles, "calibration": _photo_tiles}[layout]
    rows = [row for row in islice(tiles_of(root), _NUM_PERSONS) if row]
    blank = np.full_like(rows[0][0], 255)
    tiles = [tile for row in rows for tile in row + [blank] * (_PER_PERSON - len(row))]
    path = root / SHEET
    with atomic_write(path) as temporary:
        temporary.write_bytes(png_bytes(grid(tiles, num_columns=_PER_PERSON)))
    return path


def _crop_tiles(root: Path) -> Iterator[list[Image]]:
    for path in _spread(sorted(root.glob("*/participant_*/frames_*.h5")), _NUM_PERSONS):
        with h5py.File(path) as file:
            rows = np.unique(np.linspace(0, len(file["face"]) - 1, _PER_PERSON).round().astype(int))
            yield [_crop_tile(file, row, name=path.parts[-3]) for row in rows]


def _crop_tile(file: h5py.File, row: int, *, name: str) -> Image:
    face = gaze_arrow(_square(file["face"][row], _FACE_PX), file["gaze"][row], colour=TARGET_COLOUR)
    parts = [caption(face, f"{name} {row}")]
    # The subject's right eye is at the left of the picture, as in the face above.
    parts.append(np.hstack([_square(file[eye][row], _EYE_PX) for eye in ("reye", "leye")]))
    if "mask_left" in file:
        masks = [_MASK_RGB[file[mask][row]] for mask in ("mask_right", "mask_left")]
        parts.append(np.hstack([_square(mask, _EYE_PX, exact=True) for mask in masks]))
    return np.vstack(parts)


def _eve_tiles(root: Path) -> Iterator[list[Image]]:
    participants = sorted({path.parents[1] for path in root.glob("*/step*/basler.h5")})
    for participant in _spread(participants, _NUM_PERSONS):
        tiles: list[Image] = []
        for step in sorted(participant.glob("step*")):
            cameras = ("basler", "webcam_l", "webcam_c", "webcam_r") if not tiles else ("basler",)
            tiles += [_eve_tile(step, camera) for camera in cameras]
        yield tiles[:_PER_PERSON]


def _eve_tile(step: Path, camera: str) -> Image:
    with h5py.File(step / f"{camera}.h5") as file:
        middle = len(file["face_h/data"]) // 2
        gaze = file["face_g_tobii/data"][middle] if "face_g_tobii" in file else None
    face, eyes = (next(islice(read_frames(step / f"{camera}_{name}.mp4"), middle, None)) for name in ("face", "eyes"))
    face = _square(face, _FACE_PX)
    face = face if gaze is None else gaze_arrow(face, gaze, colour=TARGET_COLOUR)
    parts = [caption(face, f"{step.parent.name} {step.name[:7]} {camera}"), _resized(eyes, _FACE_PX, _EYE_PX)]
    if (step / f"{camera}.mp4").is_file():
        frame = next(islice(read_frames(step / f"{camera}.mp4"), middle, None))
        parts.append(_resized(frame, _FACE_PX, 108))
    return np.vstack(parts)


def _photo_tiles(root: Path) -> Iterator[list[Image]]:
    for folder in _spread(sorted(root.glob("participant_*/calibration_data")), _NUM_PERSONS):
        yield [_photo_tile(path) for path in _spread(sorted(folder.glob("img_*.json")), _PER_PERSON)]


def _photo_tile(path: Path) -> Image:
    label = json.loads(path.read_text(encoding="utf-8"))
    photo = np.asarray(cv2.imread(str(path.with_suffix(".jpg"))))[..., ::-1]
    picture = _resized(photo, _PHOTO_WIDTH_PX, round(_PHOTO_WIDTH_PX * photo.shape[0] / photo.shape[1]))
    return caption(picture, f"pointer at {label['screen_x']:.0f}, {label['screen_y']:.0f}")


def _spread(paths: list[Path], num: int) -> list[Path]:
    """Some of them, from the first to the last."""
    if len(paths) <= num:
        return paths
    return [paths[index] for index in np.linspace(0, len(paths) - 1, num).round().astype(int)]


def _square(image: np.ndarray, size_px: int, *, exact: bool = False) -> Image:
    return _resized(image, size_px, size_px, exact=exact)


def _resized(image: np.ndarray, width_px: int, height_px: int, *, exact: bool = False) -> Image:
    smaller = width_px < image.shape[1]
    how = cv2.INTER_NEAREST if exact else cv2.INTER_AREA if smaller else cv2.INTER_CUBIC
    return cv2.resize(image, (width_px, height_px), interpolation=how).astype(np.uint8)
