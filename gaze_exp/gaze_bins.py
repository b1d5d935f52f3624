"""Angles as classes: the bins of L2CS-Net, of which model, loss and weight files must think alike.

A bin is named by its left edge, for the label and for the decoding. Centres would be half a bin nearer to
the truth, but weights trained with edges answer in edges.

Shapes: any leading axes, K bins.
Source: Abdelrahman et al., L2CS-Net, 2022 (arXiv 2203.03339), and its released code.
"""

import warnings
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from gaze_exp.errors import ConfigError, DataError

EDGE_TOLERANCE_DEG = 1e-4
"""An angle that float32 radians carried over the edge by rounding still counts as inside."""


@dataclass(frozen=True)
class Bins:
    """Bins of equal width.

    Example:
        >>> Bins().index(torch.tensor([0.0, 3.99, -0.01])).tolist()
        [45, 45, 44]
        >>> Bins(28, width_deg=3.0, first_deg=-42.0).expectation(torch.zeros(28)).item()
        -1.5
    """

    number: int = 90
    width_deg: float = 4.0
    first_deg: float = -180.0
    """Left edge of the first bin."""

    @classmethod
    def of(cls, number: int, *, width_deg: float | None = None, first_deg: float | None = None) -> Self:
        """The bins of a head with so many outputs.

        Args:
            number: of outputs.
            width_deg: None for that of the released weights with so many bins.
            first_deg: likewise.

        Raises:
            ConfigError: no released weights have so many, and the geometry is not given.
        """
        known = {90: (4.0, -180.0), 28: (3.0, -42.0)}.get(number, (None, None))
        width_deg = known[0] if width_deg is None else width_deg
        first_deg = known[1] if first_deg is None else first_deg
        if width_deg is None or first_deg is None:
            raise ConfigError(
                f"model.num_bins: {number} bins are neither the 90 of Gaze360 nor the 28 of MPIIGaze; "
                "model.bin_width_deg=... and model.first_bin_deg=... (left edge of the first) would be right"
            )
        if number < 2 or width_deg <= 0:
            raise ConfigError(
                f"model.num_bins: {number} bins of {width_deg} degrees cannot be; "
                "2 or more, wider than 0, would be right"
            )
        return cls(number, width_deg=float(width_deg), first_deg=float(first_deg))

    @property
    def last_deg(self) -> float:
        """Right edge of the last bin."""
        return self.first_deg + self.number * self.width_deg

    def edges_deg(self) -> Tensor:
        """(K,) float32 left edges, degrees."""
        return self.first_deg + self.width_deg * torch.arange(self.number, dtype=torch.float32)

    def index(self, angles_deg: Tensor) -> Tensor:
        """Bin of each angle.

        Args:
            angles_deg: (...) degrees.

        Returns:
            (...) int64 from 0 to K - 1. The right edge of the last bin counts as inside, with a warning.

        Raises:
            DataError: an angle lies outside all bins, or is no number.
        """
        inside = (angles_deg >= self.first_deg - EDGE_TOLERANCE_DEG) & (
            angles_deg <= self.last_deg + EDGE_TOLERANCE_DEG
        )
        if not inside.all():
            raise DataError(
                f"gaze: an angle of {angles_deg[~inside].flatten()[0].item():.2f} degrees lies outside of the bins "
                f"from {self.first_deg:g} to {self.last_deg:g}; drop the row, or take bins that reach further "
                "(90 of 4 degrees from -180)"
            )
        index = ((angles_deg - self.first_deg) / self.width_deg).floor().long()
        if (index >= self.number).any():
            warnings.warn(
                f"an angle of {self.last_deg:g} degrees, the end of the last bin, is put into it", stacklevel=2
            )
        return index.clamp(0, self.number - 1)

    def expectation(self, logits: Tensor) -> Tensor:
        """Expected angle: the left edges, weighed by the softmax.

        Args:
            logits: (..., K).

        Returns:
            (...) degrees, from the first to the last left edge.
        """
        return (logits.softmax(dim=-1) * self.edges_deg().to(logits)).sum(dim=-1)
