"""Which part of a photo the gaze model sees: 1.5 times the face's box, cut at the frame's edge by one of two rules.

client: exactly as the eye tracker does it at run time. Beyond the left or upper edge the square slides inwards
and stays a square; beyond the right or lower edge it is cut off, and what is left is stretched to a square.
pad: the square stays where it is, black beyond the edge.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image

from gaze_exp.errors import DataError
from gaze_exp.faces.face import Face

Rule = Literal["client", "pad"]
RULES: tuple[Rule, ...] = ("client", "pad")
MARGIN = 1.5
SMALLEST_PX = 10


@dataclass(frozen=True)
class Window:
    """A rectangle of a photo in whole px; with the rule `pad` it may reach beyond the frame."""

    left: int
    top: int
    width: int
    height: int


def window_of(face: Face, *, width_px: int, height_px: int, rule: Rule = "client") -> Window:
    """The part of a photo to cut out.

    Args:
        face: its box.
        width_px: of the photo.
        height_px: likewise.
        rule: at the frame's edge.

    Returns:
        The window.

    Raises:
        DataError: next to nothing of the face is in the photo.

    Source:
        The client's `L2CSPipeline::process`, in its float32.

    >>> window_of(Face(860, 300, 1100, 640, 1.0), width_px=1920, height_px=1080)
    Window(left=725, top=215, width=510, height=510)
    """
    left, top, right, bottom = (np.float32(edge) for edge in (face.left, face.top, face.right, face.bottom))
    half_width, half_height = (right - left) / 2, (bottom - top) / 2
    size = max(right - left, bottom - top) * np.float32(MARGIN)
    x, y = left + half_width - size / 2, top + half_height - size / 2
    if rule == "pad":
        window = Window(int(np.floor(x)), int(np.floor(y)), int(size), int(size))
    else:
        x, y = max(x, np.float32(0)), max(y, np.float32(0))
        width, height = min(size, width_px - x), min(size, height_px - y)
        window = Window(int(x), int(y), max(0, int(width)), max(0, int(height)))
    if min(window.width, window.height) < SMALLEST_PX:
        raise DataError(
            f"the face's crop would be {window.width} x {window.height} px; {SMALLEST_PX} or more is a face"
        )
    return window


def cut(photo: Image.Image, window: Window, *, size_px: int) -> Image.Image:
    """Cut a window out and resize it, whatever its proportions, to a square.

    Args:
        photo: RGB.
        window: of it.
        size_px: edge of the result.

    Returns:
        The crop.

    Source:
        Pillow's BILINEAR is a triangle filter that widens when it makes things smaller, as is the client's
        `Triangle`: they differ by one grey level at most. OpenCV's INTER_LINEAR differs by up to 17.
    """
    edges = (window.left, window.top, window.left + window.width, window.top + window.height)
    # Cut first: resize(box=...) would let pixels from beyond the window in.
    return photo.crop(edges).resize((size_px, size_px), Image.Resampling.BILINEAR)
