"""What travels between data, model, loss and metrics: every key with its shape, unit and frame.

Shapes: B batch, H W pixels. Left and right are the subject's own. Windows of T frames that follow each other
have (B, T, ...) for (B, ...) everywhere.
"""

import inspect
from collections.abc import Mapping
from typing import NotRequired, TypedDict, cast

from torch import Tensor, nn


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
    """(B,) int64 row in the whole data set, files in sorted order; negative for what only fills up a window."""
    head: NotRequired[Tensor]
    """(B, 2) float32 head pitch, yaw in radians, same frame as `gaze`; NaN where unknown."""
    gaze_left: NotRequired[Tensor]
    """(B, 2) float32 pitch, yaw in radians, in the normalised camera of the left eye's crop; NaN where unknown."""
    gaze_right: NotRequired[Tensor]
    """(B, 2) likewise of the right eye."""
    head_left: NotRequired[Tensor]
    """(B, 2) float32 head pitch, yaw in radians, in the normalised camera of the left eye's crop, or of the face
    where the file has no other; NaN where unknown."""
    head_right: NotRequired[Tensor]
    """(B, 2) likewise of the right eye."""
    pupil_left_mm: NotRequired[Tensor]
    """(B,) float32 diameter of the left pupil; NaN where unknown."""
    pupil_right_mm: NotRequired[Tensor]
    """(B,) likewise of the right one."""
    mask_left: NotRequired[Tensor]
    """(B, h, w) uint8 of the left eye's pixels: 0 background, 1 sclera, 2 iris, 3 pupil; 255 unknown."""
    mask_right: NotRequired[Tensor]
    """(B, h, w) likewise of the right eye."""


class GazeOutput(TypedDict):
    """What every model returns."""

    gaze: Tensor
    """(B, 2) pitch, yaw in radians, in the normalised camera of the face crop."""
    gaze_left: NotRequired[Tensor]
    """(B, 2) of a model that answers for each eye: pitch, yaw in radians, normalised camera of that eye's crop."""
    gaze_right: NotRequired[Tensor]
    """(B, 2) likewise of the right eye."""
    pupil_left_mm: NotRequired[Tensor]
    """(B,) diameter of the left pupil."""
    pupil_right_mm: NotRequired[Tensor]
    """(B,) likewise of the right one."""
    mask_left_logits: NotRequired[Tensor]
    """(B, 4, h, w) of a model that says what each pixel of the left eye is."""
    mask_right_logits: NotRequired[Tensor]
    """(B, 4, h, w) likewise of the right eye."""
    yaw_logits: NotRequired[Tensor]
    """(B, K) of a model that chooses among bins of yaw, degrees (`gaze_bins.Bins`)."""
    pitch_logits: NotRequired[Tensor]
    """(B, K) likewise for pitch."""


def input_parameters(model: nn.Module) -> list[inspect.Parameter]:
    """What a model reads: the arguments of its `forward`; those of its `frame_model` where it is built around one.

    Args:
        model: any model; a compiled one is read through to the original.
    """
    model = cast("nn.Module", getattr(model, "_orig_mod", model))
    forward = cast("nn.Module", getattr(model, "frame_model", model)).forward
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)  # not *args, **kwargs
    return [a for a in inspect.signature(forward).parameters.values() if a.kind in named]


def model_inputs(model: nn.Module, batch: GazeBatch | Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Pick what a model reads: the batch keys that its `forward` names as arguments.

    Args:
        model: any model.
        batch: a `GazeBatch`.

    Returns:
        Keyword arguments for `model`. An argument with a default may be missing from the batch.

    Raises:
        KeyError: an argument without a default is not in the batch.

    Example:
        >>> import torch
        >>> model_inputs(nn.Linear(2, 1), {"input": torch.zeros(1, 2), "row": torch.zeros(1)})
        {'input': tensor([[0., 0.]])}
    """
    arguments = input_parameters(model)
    missing = [a.name for a in arguments if a.name not in batch and a.default is a.empty]
    if missing:
        raise KeyError(f"{type(model).__name__}.forward reads {missing}; the batch has {sorted(batch)}")
    tensors = cast("Mapping[str, Tensor]", batch)
    return {a.name: tensors[a.name] for a in arguments if a.name in tensors}
