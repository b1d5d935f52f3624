"""From a model's client degrees to the pixel where the client draws them: its polynomials and its 20 px a degree."""

from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from gaze_exp.errors import ConfigError
from gaze_exp.screen import ScreenGeometry

PIXELS_PER_DEGREE = 20.0
"""A constant of the client's, from its window's centre."""


@dataclass(frozen=True)
class ClientMapping:
    """The six numbers of the client's `calibration.models.l2cs`."""

    yaw_gain: float = 1.0
    yaw_offset: float = 0.0
    yaw_curve: float = 0.0
    pitch_gain: float = 1.0
    pitch_offset: float = 0.0
    pitch_curve: float = 0.0

    def numbers(self) -> dict[str, float]:
        """By the client's names."""
        return asdict(self)

    def to_pixels(self, angles_deg: Tensor, *, window_px: tuple[int, int]) -> Tensor:
        """Where the client draws an answer of the model.

        Args:
            angles_deg: (..., 2) yaw, pitch in client degrees.
            window_px: width and height of the client's window.

        Returns:
            (..., 2) px of the window, x right, y down.

        Source:
            The client's overlay: `W/2 + 20 * poly(yaw)`; its two minus signs of pitch cancel.

        >>> ClientMapping().to_pixels(torch.tensor([10.0, -5.0]), window_px=(1920, 1080)).tolist()
        [1160.0, 440.0]
        """
        curve = angles_deg.new_tensor([self.yaw_curve, self.pitch_curve])
        gain = angles_deg.new_tensor([self.yaw_gain, self.pitch_gain])
        offset = angles_deg.new_tensor([self.yaw_offset, self.pitch_offset])
        degrees = curve * angles_deg**2 + gain * angles_deg + offset
        return angles_deg.new_tensor(window_px) / 2 + PIXELS_PER_DEGREE * degrees


def mapping_for(name: str, geometry: ScreenGeometry) -> ClientMapping:
    """The calibration that a hand-back writes.

    Args:
        name: `native` (the specification's: gain 1, nothing else) or `screen` (the pixel that the model means).
        geometry: of the labels that the model learnt, and the client's window.

    Raises:
        ConfigError: another name.

    >>> mapping_for("screen", ScreenGeometry(window_width_px=1440, window_height_px=900)).yaw_offset
    7.2
    """
    if name == "native":
        return ClientMapping()
    if name != "screen":
        raise ConfigError(f"mapping: {name!r} is none; native (gain 1) or screen (reaches the whole window) is right")
    gain = round(1.0 / (PIXELS_PER_DEGREE * geometry.deg_per_pixel), 6)
    return ClientMapping(
        yaw_gain=gain,
        yaw_offset=_offset(geometry.center_x, geometry.window_width_px),
        pitch_gain=gain,
        pitch_offset=_offset(geometry.center_y, geometry.window_height_px),
    )


def _offset(center_px: float, side_px: int) -> float:
    """Degrees of 20 px from the window's centre to the pixel of zero degrees."""
    return round((center_px - side_px / 2) / PIXELS_PER_DEGREE, 6) + 0.0  # no -0.0


def share_reached(mapping: ClientMapping, geometry: ScreenGeometry) -> float:
    """How far the pointer goes for a pixel that the user's eyes go: 1 reaches the whole window.

    >>> round(share_reached(ClientMapping(), ScreenGeometry()), 3)
    0.614
    """
    return mapping.yaw_gain * PIXELS_PER_DEGREE * geometry.deg_per_pixel


def drawn_at(mapping: ClientMapping, geometry: ScreenGeometry, targets_px: Tensor) -> Tensor:
    """Where a model without any error would let the client draw each calibration target.

    Args:
        mapping: the client's calibration.
        geometry: of the labels, and the client's window.
        targets_px: (N, 2) px of the window.

    Returns:
        (N, 2) px of the window.
    """
    window_px = (geometry.window_width_px, geometry.window_height_px)
    return mapping.to_pixels(geometry.to_degrees(targets_px), window_px=window_px)


def grid_of(geometry: ScreenGeometry) -> Tensor:
    """(9, 2) px: the window's middle, corners and sides, 5 % from its edge."""
    steps = torch.tensor([0.05, 0.5, 0.95], dtype=torch.float64)
    y, x = torch.meshgrid(steps * geometry.window_height_px, steps * geometry.window_width_px, indexing="ij")
    return torch.stack((x.flatten(), y.flatten()), dim=-1)
