"""A face in a photo, as a detector saw it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Face:
    """A box in px of the photo, x right, y down; it may reach beyond the frame."""

    left: float
    top: float
    right: float
    bottom: float
    confidence: float
    """0..1."""

    @classmethod
    def at(cls, box_px: Sequence[float] | NDArray[np.floating], confidence: float) -> "Face":
        """A face from left, top, right, bottom."""
        left, top, right, bottom = (float(edge) for edge in box_px)
        return cls(left, top, right, bottom, float(confidence))

    @property
    def area(self) -> float:
        """Square px."""
        return (self.right - self.left) * (self.bottom - self.top)


def faces_of(
    boxes_px: NDArray[np.floating], scores: NDArray[np.floating], *, min_confidence: float, max_overlap: float = 0.3
) -> list[Face]:
    """The sure boxes without those that a surer one overlaps.

    Args:
        boxes_px: (N, 4) left, top, right, bottom.
        scores: (N,) 0..1.
        min_confidence: a face is above it.
        max_overlap: intersection over union from which on two boxes are one face.

    Returns:
        The faces, the surest first.

    Source:
        Hard non-maximum suppression with the defaults of UltraFace's own script.
    """
    sure = np.flatnonzero(scores > min_confidence)
    order = sure[np.argsort(-scores[sure], kind="stable")]
    kept: list[int] = []
    for index in order.tolist():
        if all(overlap(boxes_px[index], boxes_px[other]) <= max_overlap for other in kept):
            kept.append(index)
    return [Face.at(boxes_px[index], scores[index]) for index in kept]


def overlap(box: Sequence[float] | NDArray[np.floating], other: Sequence[float] | NDArray[np.floating]) -> float:
    """Intersection over union of two boxes (left, top, right, bottom)."""
    width = min(box[2], other[2]) - max(box[0], other[0])
    height = min(box[3], other[3]) - max(box[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    both = float(width * height)
    return both / (float((box[2] - box[0]) * (box[3] - box[1]) + (other[2] - other[0]) * (other[3] - other[1])) - both)
