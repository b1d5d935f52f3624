"""A temporal model as an ONNX file that takes one frame and its state, and gives the gaze and the next state.

Inputs: the images of one frame, as in `onnx_export`, and `state` (batch, ...), zeros before the first frame.
Outputs: `gaze` (batch, 2) pitch, yaw in radians, and `next_state`, which is the `state` of the next frame.
"""

import copy
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from gaze_exp.batch import GazeBatch, model_inputs
from gaze_exp.onnx_export import as_input, describe, open_session, trace, write_graph

STATE, NEXT_STATE = "state", "next_state"


class OneFrame(nn.Module):
    """A temporal model with its inputs by position, for one frame."""

    def __init__(self, model: nn.Module, *, input_names: list[str]) -> None:
        super().__init__()
        self.model = model
        self.input_names = input_names

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Images (B, 3, H, W) in the order of the names, and the state -> (B, 2) radians, and the next state."""
        *images, state = inputs
        frame = {name: image[:, None] for name, image in zip(self.input_names, images, strict=True)}
        gaze, state = cast("Any", self.model).go_on(frame, state)
        return gaze[:, 0], state


def export_streaming(
    model: nn.Module, example: Mapping[str, Tensor], path: str | Path, *, metadata: Mapping[str, str] | None = None
) -> Path:
    """Write a temporal model as one ONNX file.

    Args:
        model: a `TemporalGaze`; left as it is.
        example: one or more windows of every input, (B, T, 3, H, W).
        path: of the file; it appears when it is whole.
        metadata: more entries for the file.

    Returns:
        The path.
    """
    frames = {name: as_input(images[:, 0]) for name, images in model_inputs(model, example).items()}
    exportable = OneFrame(copy.deepcopy(model).cpu().float().eval(), input_names=list(frames))
    state = cast("Any", exportable.model).initial_state(len(next(iter(frames.values()))))
    proto = trace(exportable, (*frames.values(), state), names=[*frames, STATE], output_names=["gaze", NEXT_STATE])
    entries = describe(model, frames) | {
        "frame_model": type(cast("Any", model).frame_model).__name__,
        "state": json.dumps(list(state.shape[1:])),
        "state_use": f"zeros before the first frame; then the {NEXT_STATE} of the frame before",
    }
    return write_graph(proto, entries | dict(metadata or {}), Path(path))


def streaming_inputs(model: nn.Module, example: GazeBatch | Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The first frame of each window, and the state before it: what the file takes.

    Args:
        model: a `TemporalGaze`.
        example: windows of every input, (B, T, 3, H, W).
    """
    frames = {name: images[:, 0] for name, images in model_inputs(model, example).items()}
    return frames | {STATE: cast("Any", model).initial_state(len(next(iter(frames.values())))).cpu()}


def compare_streaming(path: str | Path, model: nn.Module, windows: Iterable[Mapping[str, Tensor]]) -> float:
    """Feed the file one frame after the other, and compare with what torch says to whole windows.

    Args:
        path: of the file.
        model: what it was exported from; left as it is.
        windows: each with (B, T, 3, H, W) images by name, any dtype, 0..255.

    Returns:
        Largest difference of an angle, radians; NaN where either side gives one.
    """
    session = open_session(path)
    reference = copy.deepcopy(model).cpu().float().eval()
    differences = [0.0]
    for window in windows:
        images = {name: each.detach().cpu().float() for name, each in model_inputs(model, window).items()}
        with torch.inference_mode():
            expected = reference(**images)["gaze"].numpy()
        state = streaming_inputs(model, window)[STATE].numpy()
        for time in range(expected.shape[1]):
            feed = {name: each[:, time].contiguous().numpy() for name, each in images.items()}
            gaze, state = session.run(["gaze", NEXT_STATE], feed | {STATE: state})
            differences.append(float(np.abs(gaze - expected[:, time]).max()))
    return float(np.max(differences))
