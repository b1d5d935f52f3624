"""Which output is horizontal, and whether photos are mirror images: asked of the pictures, not of names.

Files of L2CS-Net call their outputs yaw and pitch in either order, and a webcam program may have mirrored
its photos without a note. A mirrored face looks to the other side and as high as before; so the output that
changes its sign is the horizontal one.

Shapes: N pictures.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from gaze_exp.errors import DataError

CLEAR = 0.3
"""Correlations nearer to zero say nothing."""
SURE = 2.58
"""Standard deviations of chance, Fisher's z, beyond which a correlation counts: 1 in 100."""
FEWEST = 6
SMALLEST_SPREAD_DEG = 0.1
"""Answers that differ less from picture to picture have nothing to correlate."""
BATCH_SIZE = 32


@dataclass(frozen=True)
class FlipTest:
    """What mirroring did to the two outputs."""

    horizontal: int | None
    """Position of the horizontal output, 0 or 1; None where the pictures do not tell."""
    correlations: tuple[float, float]
    """Of each output with itself on the mirrored pictures: near -1 horizontal, near 1 vertical."""
    num_pictures: int

    @property
    def verdict(self) -> Literal["right", "swapped", "inconclusive"]:
        """Whether yaw comes first, as it should."""
        return "inconclusive" if self.horizontal is None else ("right", "swapped")[self.horizontal]

    def __str__(self) -> str:
        told = "r = {:.2f} for the first output and {:.2f} for the second".format(*self.correlations)
        said = {
            "right": "the first output is the horizontal one, as it should be",
            "swapped": "the second output is the horizontal one: the heads are swapped",
            "inconclusive": "does not tell which output is horizontal; pictures that look to both sides would",
        }
        return f"flip test on {self.num_pictures} pictures: {said[self.verdict]} ({told})"


def flip_test(angles_of: Callable[[Tensor], Tensor], images: Tensor) -> FlipTest:
    """Compare the answers to pictures with those to their mirror images.

    Args:
        angles_of: faces (n, 3, H, W) RGB 0..255 -> (n, 2) of two angles in degrees, such as a model's.
        images: (N, 3, H, W) faces that look to different places.

    Returns:
        Which output changed its sign.
    """
    answers = torch.cat([angles_of(part) for part in images.split(BATCH_SIZE)]).double()
    mirrored = torch.cat([angles_of(part.flip(-1)) for part in images.split(BATCH_SIZE)]).double()
    pairs = [(answers[:, k], mirrored[:, k]) for k in range(2)]
    r = tuple(correlation(a, b) for a, b in pairs)
    horizontal = None
    for k in range(2):
        if is_clear(-r[k], len(images)) and not is_clear(-r[1 - k], len(images)):
            horizontal = k
    return FlipTest(horizontal, (r[0], r[1]), len(images))


def mirrored(base_yaw_deg: Tensor, screen_x: Tensor) -> Literal["mirrored", "not mirrored", "unknown"]:
    """Tell from a base model's answers whether photos are mirror images.

    Who looks at the right of the screen looks to the left of an unmirrored photo. The base model's yaw
    grows to the left of the picture, so it grows with x on unmirrored photos.

    Args:
        base_yaw_deg: (N,) L2CS-Net's own yaw, positive to the left of the image.
        screen_x: (N,) where the person looked, px or degrees, positive to the right.

    Returns:
        `unknown` where too few photos, or too little agreement, do not tell.
    """
    if base_yaw_deg.shape != screen_x.shape:
        raise DataError(f"mirrored: {len(base_yaw_deg)} answers for {len(screen_x)} targets; as many are right")
    r = correlation(base_yaw_deg.double(), screen_x.double())
    if is_clear(-r, len(screen_x)):
        return "mirrored"
    return "not mirrored" if is_clear(r, len(screen_x)) else "unknown"


def correlation(a: Tensor, b: Tensor) -> float:
    """Pearson's r of (N,) and (N,); 0 where one of them hardly varies."""
    if len(a) < FEWEST or min(a.std().item(), b.std().item()) < SMALLEST_SPREAD_DEG:
        return 0.0
    return float(torch.corrcoef(torch.stack((a, b)))[0, 1])


def is_clear(r: float, number: int) -> bool:
    """Whether a positive correlation of so many pairs is large, and more than chance."""
    return number >= FEWEST and r > CLEAR and math.atanh(min(r, 1 - 1e-9)) * math.sqrt(number - 3) > SURE
