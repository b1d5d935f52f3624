"""What travels between data, model, loss and metrics: every key with its shape, unit and frame.

Shapes: B batch, H W pixels. Left and right are the subject's own.
"""

from typing import NotRequired, TypedDict

from torch import Tensor


class GazeBatch(TypedDict):
    """One batch of samples. A model reads the keys that its `forward` names as arguments."""

    face: Tensor
    """(B, 3, H, W) uint8 RGB, 0..255; float32 in the same range once augmented."""
    left_eye: Tensor
    """(B, 3, h, w), as `face`: the subject's left eye, at the right of an unmirrored picture."""
    right_eye: Tensor
    """(B, 3, h, w), as `face`: the subject's right eye."""
    gaze: Tensor
    """(B, 2) float32 pitch, yaw in radians, in the normalised camera of the face crop."""
    valid: Tensor
    """(B,) bool: False where `gaze` carries no label; its value there means nothing."""
    subject: Tensor
    """(B,) int64 index into `CropDataset.subjects`."""
    row: Tensor
    """(B,) int64 row in the whole data set, files in sorted order."""
    head: NotRequired[Tensor]
    """(B, 2) float32 head pitch, yaw in radians, same frame as `gaze`; NaN where unknown."""


class GazeOutput(TypedDict):
    """What every model returns."""

    gaze: Tensor
    """(B, 2) pitch, yaw in radians, in the normalised camera of the face crop."""
