"""One picture of a prepared calibration: each photo with its face and crop, each crop with its label."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from PIL import Image as Pillow

from gaze_exp.draw import OUTLINE_COLOUR, TARGET_COLOUR, Colour, Image, caption, gaze_arrow, grid
from gaze_exp.screen import ScreenGeometry

FACE_COLOUR: Colour = (64, 190, 255)
CROP_COLOUR: Colour = (255, 255, 255)
_WIDTH_PX, _PHOTO_PX, _CROP_PX = 320, 180, 160
_GREY = 40
_MOST = 96
_COLUMNS = range(8, 4, -1)
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Preview:
    """What the sheet shows of one photo."""

    photo: Image
    """Reduced to at most 320 x 180 px."""
    crop: Image
    """(160, 160, 3) uint8."""
    face: Box
    """Left, top, right, bottom in parts of the photo; so is the next."""
    window: Box


def preview_of(photo: Pillow.Image, crop: Pillow.Image, *, face: Box, window: Box) -> Preview:
    """Reduce a photo and its crop.

    Args:
        photo: RGB.
        crop: RGB.
        face: left, top, right, bottom in px of the photo.
        window: the same of what was cut out.
    """
    scale = min(_WIDTH_PX / photo.width, _PHOTO_PX / photo.height)
    size = (max(1, round(photo.width * scale)), max(1, round(photo.height * scale)))
    small = photo.resize(size, Pillow.Resampling.BILINEAR, reducing_gap=1.0)
    parts = np.array([photo.width, photo.height] * 2)
    return Preview(
        photo=np.asarray(small),
        crop=np.asarray(crop.resize((_CROP_PX, _CROP_PX), Pillow.Resampling.BILINEAR, reducing_gap=1.0)),
        face=tuple((np.array(face) / parts).tolist()),
        window=tuple((np.array(window) / parts).tolist()),
    )


def contact_sheet(
    previews: Sequence[Preview],
    *,
    captions: Sequence[str],
    targets_px: Sequence[tuple[float, float]],
    geometry: ScreenGeometry,
    mirrored: bool,
) -> Image:
    """Put all photos side by side; of very many, some from the first to the last.

    Args:
        previews: at least one.
        captions: ASCII, one a photo.
        targets_px: x, y of the client's window, one a photo.
        geometry: of the screen.
        mirrored: photos are mirror images, so that a look to the screen's right goes to the right in them.

    Returns:
        A picture with a legend above.
    """
    shown = np.unique(np.linspace(0, len(previews) - 1, min(_MOST, len(previews))).round().astype(int)).tolist()
    tiles = []
    for index in shown:
        one = previews[index]
        label = geometry.to_degrees(torch.tensor(targets_px[index], dtype=torch.float64))
        crop = gaze_arrow(one.crop, _in_picture(label, mirrored=mirrored), colour=TARGET_COLOUR)
        screen = _screen(targets_px, index, geometry=geometry)
        tile = np.vstack((_photo(one), np.hstack((crop, screen))))
        tiles.append(caption(tile, captions[index]))
    columns = min(_COLUMNS, key=lambda num: -len(tiles) % num)  # leaves the fewest places empty
    sheet = grid(tiles, num_columns=columns, gap_px=8)
    return np.vstack((_legend(sheet.shape[1], mirrored=mirrored), sheet))


def _in_picture(label_deg: torch.Tensor, *, mirrored: bool) -> torch.Tensor:
    """Client degrees (yaw right, pitch down) as the (pitch, yaw) in radians that arrows are drawn from."""
    yaw, pitch = torch.deg2rad(label_deg).unbind(-1)
    return torch.stack((-pitch, -yaw if mirrored else yaw))


def _photo(one: Preview) -> Image:
    height, width = one.photo.shape[:2]
    picture = one.photo.copy()
    for box, colour in ((one.window, CROP_COLOUR), (one.face, FACE_COLOUR)):
        left, top, right, bottom = (round(part * px) for part, px in zip(box, (width, height) * 2, strict=True))
        for line_colour, line_px in ((OUTLINE_COLOUR, 3), (colour, 1)):
            cv2.rectangle(picture, (left, top), (right - 1, bottom - 1), line_colour, line_px, cv2.LINE_8)
    canvas = np.full((_PHOTO_PX, _WIDTH_PX, 3), _GREY, np.uint8)
    y, x = (_PHOTO_PX - height) // 2, (_WIDTH_PX - width) // 2
    canvas[y : y + height, x : x + width] = picture
    return canvas


def _screen(targets_px: Sequence[tuple[float, float]], index: int, *, geometry: ScreenGeometry) -> Image:
    """The client's window with all targets, and an arrow from the place of zero degrees to one."""
    window = np.array([[0.0, 0.0], [geometry.window_width_px, geometry.window_height_px]])
    points = np.array(targets_px)
    # A pointer may stand outside of the window.
    everything = np.concatenate((window, points))
    low, high = everything.min(0), everything.max(0)
    margin_px = 12
    scale = float(((_CROP_PX - 2 * margin_px) / (high - low)).min())
    shift = (_CROP_PX - (high - low) * scale) / 2

    def place(point: np.ndarray) -> tuple[int, int]:
        x, y = (point - low) * scale + shift
        return round(float(x)), round(float(y))

    canvas = np.full((_CROP_PX, _CROP_PX, 3), _GREY, np.uint8)
    cv2.rectangle(canvas, place(window[0]), place(window[1]), (120, 120, 120), 1, cv2.LINE_AA)
    for point in points:
        cv2.circle(canvas, place(point), 2, (150, 150, 150), -1, cv2.LINE_AA)
    zero, there = place(np.array([geometry.center_x, geometry.center_y])), place(points[index])
    tip = 8 / max(8.0, float(np.hypot(there[0] - zero[0], there[1] - zero[1])))
    cv2.arrowedLine(canvas, zero, there, TARGET_COLOUR, 1, cv2.LINE_AA, tipLength=tip)
    cv2.circle(canvas, there, 4, TARGET_COLOUR, -1, cv2.LINE_AA)
    return canvas


def _legend(width_px: int, *, mirrored: bool) -> Image:
    """Say what the colours are."""
    strip = np.full((26, width_px, 3), 255, np.uint8)
    how = "in a mirrored photo" if mirrored else "in a photo that is not mirrored"
    x = 8
    for text, colour in (("face", FACE_COLOUR), ("crop", CROP_COLOUR), (f"label, as it goes {how}", TARGET_COLOUR)):
        if x + 60 > width_px:
            break
        cv2.rectangle(strip, (x, 6), (x + 14, 20), colour, -1)
        cv2.rectangle(strip, (x, 6), (x + 14, 20), OUTLINE_COLOUR, 1)
        cv2.putText(strip, text, (x + 21, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.42, OUTLINE_COLOUR, 1, cv2.LINE_AA)
        x += 21 + cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.42, 1)[0][0] + 16
    return strip
