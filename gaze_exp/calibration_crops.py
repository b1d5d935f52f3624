"""From one of a user's photos to the crop of his face."""

import io
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from gaze_exp.data.calibration_sheet import Preview, preview_of
from gaze_exp.data.sources.calibration import Photo
from gaze_exp.errors import DataError
from gaze_exp.faces.crop_rule import Rule, cut, window_of
from gaze_exp.faces.face import Face
from gaze_exp.faces.finder import FaceFinder
from gaze_exp.screen import ScreenGeometry

JPEG = {"format": "JPEG", "quality": 95, "subsampling": 0}
"""Of the crops; the photos themselves are never written."""
_ORIENTATION = 0x0112


@dataclass(frozen=True)
class Cutting:
    """How crops are made."""

    finder: FaceFinder
    geometry: ScreenGeometry
    rule: Rule = "client"
    size_px: int = 448
    mirrored: bool = True
    """Of the arrows on the contact sheet alone."""


@dataclass(frozen=True)
class Cropped:
    """One photo, done."""

    photo: Photo
    face: Face
    num_faces: int
    size_px: tuple[int, int]
    preview: Preview


def crop_photo(photo: Photo, cutting: Cutting, *, folder: Path) -> Cropped:
    """Cut the face out of one photo and write it under the photo's name.

    Raises:
        DataError: why this photo is of no use.
    """
    picture = open_photo(photo.path)
    face, num_faces = cutting.finder.find(picture)
    window = window_of(face, width_px=picture.width, height_px=picture.height, rule=cutting.rule)
    crop = cut(picture, window, size_px=cutting.size_px)
    crop.save(folder / crop_name(photo), **JPEG)  # type: ignore[arg-type]
    preview = preview_of(
        picture,
        crop,
        face=(face.left, face.top, face.right, face.bottom),
        window=(window.left, window.top, window.left + window.width, window.top + window.height),
    )
    return Cropped(photo, face, num_faces, picture.size, preview)


def crop_name(photo: Photo) -> str:
    """File name of a photo's crop."""
    return f"{photo.path.stem}.jpg"


def open_photo(path: Path) -> Image.Image:
    """Decode a photo as it is stored.

    Returns:
        RGB.

    Raises:
        DataError: it is damaged, or not what the client writes.
    """
    try:
        picture = Image.open(io.BytesIO(path.read_bytes()))
        if picture.format not in {"JPEG", "MPO"}:
            raise DataError(f"is a {picture.format}, whatever its name says; the client writes JPEG")
        turned = picture.getexif().get(_ORIENTATION, 1)
        picture.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        what = "is empty" if path.is_file() and not path.stat().st_size else f"cannot be read as a picture ({error})"
        raise DataError(what) from error
    if turned not in {0, 1}:
        raise DataError(
            f"its EXIF says that it is turned or mirrored (orientation {turned}), which the client never writes: what "
            "its pixels show is not known"
        )
    if picture.mode != "RGB":
        raise DataError(f"is no colour photo (mode {picture.mode}); the client writes RGB")
    return picture
