"""Where a window's pixels lie in degrees, for a user at the calibrated seat.

Convention: client degrees, `(yaw, pitch)` in that order, yaw positive to the right of the screen and pitch
positive down, both linear in pixels: an eye tracker draws them the same way back. This is the door to another
program; everything else in the package speaks (pitch, yaw) in radians (docs/conventions.md).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from gaze_exp.errors import ConfigError


@dataclass(frozen=True)
class ScreenGeometry:
    """A window, the point in it that has zero degrees, and degrees a pixel.

    The defaults are the client's own constants: a window of 1728x1117 points, 53 degrees wide.
    """

    center_x: float = 864.0
    """Pixel of zero yaw."""
    center_y: float = 558.0
    """Pixel of zero pitch."""
    deg_per_pixel: float = 0.0307
    window_width_px: int = 1728
    window_height_px: int = 1117

    def __post_init__(self) -> None:
        """Refuse what has no inverse."""
        numbers = (self.center_x, self.center_y, self.deg_per_pixel)
        if not all(math.isfinite(number) for number in numbers):
            raise ConfigError(f"screen: {numbers} are not all finite; numbers in pixels and degrees a pixel are right")
        if self.deg_per_pixel <= 0:
            raise ConfigError(f"screen.deg_per_pixel: {self.deg_per_pixel:g} is no scale; 0.0307 is the client's")
        if self.window_width_px < 1 or self.window_height_px < 1:
            raise ConfigError("screen.window_width_px: a window has at least one pixel; 1728 by 1117 is the client's")

    def to_degrees(self, points_px: Tensor) -> Tensor:
        """Points of the window as labels.

        Args:
            points_px: (..., 2) x right, y down; they may lie outside of the window.

        Returns:
            (..., 2) yaw, pitch in client degrees.

        Source:
            The client's prepare script: `yaw = (x - center_x) * deg_per_pixel`, pitch likewise.

        >>> ScreenGeometry().to_degrees(torch.tensor([1728.0, 1117.0], dtype=torch.float64)).numpy().round(4).tolist()
        [26.5248, 17.1613]
        """
        return (points_px - self._center(points_px)) * self.deg_per_pixel

    def to_pixels(self, angles_deg: Tensor) -> Tensor:
        """Invert `to_degrees`: (..., 2) yaw, pitch in client degrees -> (..., 2) px."""
        return angles_deg / self.deg_per_pixel + self._center(angles_deg)

    def _center(self, like: Tensor) -> Tensor:
        return torch.tensor([self.center_x, self.center_y], dtype=like.dtype, device=like.device)


def measured_screen(
    width_px: int, height_px: int, *, width_mm: float, height_mm: float, distance_mm: float
) -> ScreenGeometry:
    """Derive the geometry of a full-screen window from a ruler and a viewing distance.

    The scale is that of the screen's centre along its width; `height_mm` only proves that pixels are square,
    since client degrees have one scale for both axes.

    Args:
        width_px: of the screen, in the pixels (or points) that the client reports.
        height_px: likewise.
        width_mm: of the screen's picture.
        height_mm: likewise.
        distance_mm: from the eyes to the screen.

    Returns:
        The geometry; zero degrees are at the screen's centre.

    Raises:
        ConfigError: a length that is not above zero, or pixels that are not square within 5 %.

    >>> round(measured_screen(1728, 1117, width_mm=345.0, height_mm=223.0, distance_mm=372.6).deg_per_pixel, 4)
    0.0307
    """
    lengths = {
        "width_px": width_px, "height_px": height_px, "width_mm": width_mm, "height_mm": height_mm,
        "distance_mm": distance_mm,
    }  # fmt: skip
    for name, length in lengths.items():
        if not length > 0:
            raise ConfigError(f"screen.{name}: {length:g} is no length; measure it with a ruler")
    mm_per_px, mm_per_px_down = width_mm / width_px, height_mm / height_px
    if abs(mm_per_px_down / mm_per_px - 1) > 0.05:
        raise ConfigError(
            f"screen.height_mm: pixels of {mm_per_px:.3f} x {mm_per_px_down:.3f} mm are not square; "
            "width and height of the picture itself, without the frame, would be right"
        )
    return ScreenGeometry(
        center_x=width_px / 2,
        center_y=height_px / 2,
        deg_per_pixel=math.degrees(mm_per_px / distance_mm),
        window_width_px=width_px,
        window_height_px=height_px,
    )
