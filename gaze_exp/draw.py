"""Pictures of gaze: pure functions from image to image. Images are (H, W, 3) uint8 RGB numpy arrays.

On a picture a gaze points along x and y of its unit vector: yaw > 0 to the left, pitch > 0 up.
"""

import math
from collections.abc import Sequence

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gaze_exp.geometry import angular_error, pitch_yaw_to_vector

Image = NDArray[np.uint8]
Colour = tuple[int, int, int]
Gaze = Tensor | NDArray[np.floating] | Sequence[float]

PREDICTED_COLOUR: Colour = (255, 59, 48)
TARGET_COLOUR: Colour = (60, 220, 90)
OUTLINE_COLOUR: Colour = (20, 20, 20)
TEXT_COLOUR: Colour = (255, 255, 255)
STRIP_GREY = 24
SMALLEST_PICTURE_PX = 224
MASK_COLOURS = {1: (60, 140, 255), 2: (255, 150, 30), 3: (255, 40, 160)}
ARROW_LENGTH = 0.8  # of the shorter side, for a gaze along the image plane: 30 degrees reach 0.4 of it


def rgb_image(face: Tensor) -> Image:
    """One image of a batch as a picture.

    Args:
        face: (3, H, W) uint8, or float in 0..255, on any device.

    Returns:
        (H, W, 3) uint8 copy.
    """
    pixels = face.detach().float().round().clamp(0, 255).to(torch.uint8)
    return np.ascontiguousarray(pixels.permute(1, 2, 0).cpu().numpy())


def gaze_arrow(image: Image, gaze: Gaze, *, colour: Colour, thickness: float = 1.0) -> Image:
    """Draw a gaze from the image centre, as an arrow whose length is that of its part in the image plane.

    Args:
        image: (H, W, 3) uint8.
        gaze: (2,) pitch, yaw in radians.
        colour: RGB.
        thickness: times the usual width.

    Returns:
        A copy with the arrow; a gaze straight into the camera is a dot, one that is not a number nothing.
    """
    if not bool(torch.isfinite(torch.as_tensor(gaze)).all()):
        return image.copy()
    height, width = image.shape[:2]
    x, y, _ = pitch_yaw_to_vector(torch.as_tensor(gaze, dtype=torch.float64)).tolist()
    start = (width / 2, height / 2)
    length_px = ARROW_LENGTH * min(height, width)
    end = (start[0] + length_px * x, start[1] + length_px * y)
    line_px = max(1, round(thickness * min(height, width) / 90))
    picture = image.copy()
    _stroke(picture, start, end, colour=OUTLINE_COLOUR, line_px=line_px + 2)
    _stroke(picture, start, end, colour=colour, line_px=line_px)
    return picture


def _stroke(
    picture: Image, start: tuple[float, float], end: tuple[float, float], *, colour: Colour, line_px: int
) -> None:
    """Draw one arrow in place; the dot at its foot is all that is left of a zero-length one."""
    first, last = ((round(x), round(y)) for x, y in (start, end))
    length_px = max(math.dist(start, end), 1e-6)
    head_px = 5 + 0.04 * min(picture.shape[:2])
    cv2.circle(picture, first, line_px + 1, colour, thickness=-1, lineType=cv2.LINE_AA)
    cv2.arrowedLine(
        picture,
        first,
        last,
        colour,
        thickness=line_px,
        line_type=cv2.LINE_AA,
        tipLength=min(0.5, head_px / length_px),
    )


def validation_picture(face: Image, predicted: Gaze, target: Gaze | None = None) -> Image:
    """A face with its gazes: target green and broad, prediction red and narrow on top, the error below.

    Args:
        face: (H, W, 3) uint8; a small one is enlarged to at least 224 px.
        predicted: (2,) pitch, yaw in radians.
        target: the same; None or NaN where there is no label, and the angles are written instead.

    Returns:
        (H', W', 3) uint8.
    """
    picture = enlarged(face)
    predicted = torch.as_tensor(predicted, dtype=torch.float64)
    known = None if target is None else torch.as_tensor(target, dtype=torch.float64)
    if known is None or not bool(torch.isfinite(known).all()):
        pitch_deg, yaw_deg = torch.rad2deg(predicted).tolist()
        text = f"pitch {pitch_deg:+.1f} yaw {yaw_deg:+.1f} deg"
    else:
        text = f"{math.degrees(float(angular_error(predicted, known))):.1f} deg"
        picture = gaze_arrow(picture, known, colour=TARGET_COLOUR, thickness=2.5)
    return caption(gaze_arrow(picture, predicted, colour=PREDICTED_COLOUR), text)


def enlarged(image: Image, *, to_px: int = SMALLEST_PICTURE_PX) -> Image:
    """The image, or a whole multiple of it that lines and letters are legible on.

    Args:
        image: (H, W, 3) uint8.
        to_px: its shorter side, at least.
    """
    factor = math.ceil(to_px / min(image.shape[:2]))
    if factor == 1:
        return image.copy()
    return cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC).astype(np.uint8)


def mask_overlay(eye: Image, mask: NDArray[np.uint8], *, strength: float = 0.45) -> Image:
    """Colour the parts of an eye: sclera blue, iris orange, pupil pink.

    Args:
        eye: (h, w, 3) uint8 RGB.
        mask: (h, w) 0 background, 1 sclera, 2 iris, 3 pupil; anything else stays as it is.
        strength: share of the colour.

    Returns:
        (h, w, 3) uint8 RGB.
    """
    coloured = eye.astype(np.float32)
    for part, colour in MASK_COLOURS.items():
        chosen = mask == part
        coloured[chosen] += strength * (np.array(colour, np.float32) - coloured[chosen])
    return coloured.round().astype(np.uint8)


def caption(image: Image, text: str) -> Image:
    """Write a line on a dark strip below the picture, where it hides no arrow that points down.

    Args:
        image: (H, W, 3) uint8.
        text: ASCII, OpenCV's font has nothing else.

    Returns:
        A higher copy; the text is as large as the strip and the width allow.
    """
    width = image.shape[1]
    strip_px = max(16, round(image.shape[0] * 0.13))
    picture = np.concatenate((image, np.full((strip_px, width, 3), STRIP_GREY, np.uint8)))
    height = len(picture)
    (text_px, above_px), below_px = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 1.0, 2)
    scale = min(0.8 * strip_px / (above_px + below_px), 0.94 * width / text_px)
    margin_px = (strip_px - scale * (above_px + below_px)) / 2
    origin = (round(0.03 * width), height - round(margin_px + scale * below_px))
    weight_px = max(1, round(scale * 1.6))
    cv2.putText(picture, text, origin, cv2.FONT_HERSHEY_SIMPLEX, scale, TEXT_COLOUR, weight_px, cv2.LINE_AA)
    return picture


def grid(images: Sequence[Image], *, num_columns: int | None = None, gap_px: int = 4) -> Image:
    """Put pictures of one size side by side, row by row, on white.

    Args:
        images: at least one, all of the same (H, W, 3).
        num_columns: as square as can be when not given.
        gap_px: between neighbours.

    Returns:
        One picture.
    """
    assert images, "a grid needs a picture"
    columns = min(num_columns or math.ceil(math.sqrt(len(images))), len(images))
    rows = math.ceil(len(images) / columns)
    height, width = images[0].shape[:2]
    canvas = np.full((rows * (height + gap_px) - gap_px, columns * (width + gap_px) - gap_px, 3), 255, np.uint8)
    for index, image in enumerate(images):
        top, left = (index // columns) * (height + gap_px), (index % columns) * (width + gap_px)
        canvas[top : top + height, left : left + width] = image
    return canvas


def png_bytes(image: Image) -> bytes:
    """An image as the bytes of a PNG file.

    Args:
        image: (H, W, 3) uint8 RGB.

    Returns:
        The file.
    """
    done, encoded = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    assert done, "OpenCV could not encode a PNG"
    return encoded.tobytes()
