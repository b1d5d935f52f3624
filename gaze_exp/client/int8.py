"""An ONNX file of a personal model in 8 bits, quantised on its user's own crops.

Static quantisation, activations in U8 by the ranges that the crops produce, weights in S8 for each channel: on
x86 the fastest form that onnxruntime has. What decodes angles stays in float32: one step of an 8 bit angle would
be a fifth of a degree. Rounding can shift all answers to one side, by a degree and more; that shift is measured on
the crops and taken out by two numbers at the end of the graph, where that brings the photos of other targets closer.
"""

import contextlib
import logging
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import torch
from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.calibrate import CalibrationDataReader
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import Tensor

from gaze_exp.client.custom_onnx import answers_deg, client_tensor, describe, save_graph

QUANTISED = ("Conv", "Add", "Relu", "MaxPool")


class _Crops(CalibrationDataReader):
    """Crops one by one, as the client's tensor."""

    def __init__(self, images: Tensor, *, name: str) -> None:
        self.rows = iter(images)
        self.name = name

    def get_next(self) -> Any:
        """One feed, None at the end."""
        image = next(self.rows, None)
        return None if image is None else {self.name: client_tensor(image[None]).numpy()}


@dataclass(frozen=True)
class Quantised:
    """What 8 bits changed: (N, 2) client degrees each."""

    raw_deg: Tensor
    """Answers without any shift."""
    held_out_deg: Tensor
    """Each target's photos, shifted as the other targets' photos ask; an estimate for photos to come."""
    shift_deg: Tensor
    """(2,) what the file adds; zero where no shift helps."""


def quantise(
    path: str | Path, to: str | Path, images: Tensor, *, float32_deg: Tensor, target: Tensor, max_crops: int = 64
) -> Quantised:
    """Write the 8 bit version of a file.

    Args:
        path: of a file that `write_custom_onnx` wrote.
        to: of the new one; it appears when it is whole.
        images: (N, 3, S, S) RGB 0..255, the user's crops.
        float32_deg: (N, 2) what the file answers to them.
        target: (N,) which target each photo shows.
        max_crops: as many of them, evenly chosen, set the ranges.

    Returns:
        What it answers to the crops.
    """
    chosen = images[torch.linspace(0, len(images) - 1, min(max_crops, len(images))).round().long().unique()]
    source = onnx.load(str(path))
    with tempfile.TemporaryDirectory() as folder, _quiet():
        prepared, made = Path(folder, "prepared.onnx"), Path(folder, "int8.onnx")
        quant_pre_process(str(path), str(prepared), skip_symbolic_shape=True)
        quantize_static(
            str(prepared),
            str(made),
            _Crops(chosen, name=source.graph.input[0].name),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            op_types_to_quantize=list(QUANTISED),
            calibrate_method=CalibrationMethod.MinMax,
        )
        graph = onnx.load(str(made))
        raw_deg = answers_deg(made, images)
    made_of = choose_shift(raw_deg, float32_deg.double(), target=target)
    _add_at_end(graph, made_of.shift_deg)
    entries = {entry.key: entry.value for entry in source.metadata_props}
    describe(graph, entries | {"precision": f"int8, static QDQ U8/S8 per channel, {len(chosen)} crops"})
    save_graph(graph, Path(to))
    return made_of


def _add_at_end(graph: onnx.ModelProto, shift_deg: Tensor) -> None:
    """Add two numbers to the graph's one output, which keeps its name."""
    name = graph.graph.output[0].name
    before = f"{name}_before_shift"
    for node in graph.graph.node:
        node.output[:] = [before if each == name else each for each in node.output]
        node.input[:] = [before if each == name else each for each in node.input]
    graph.graph.initializer.append(onnx.numpy_helper.from_array(shift_deg.float().view(1, 2).numpy(), "int8_shift_deg"))
    graph.graph.node.append(onnx.helper.make_node("Add", [before, "int8_shift_deg"], [name], name="int8_shift"))


def choose_shift(raw_deg: Tensor, float32_deg: Tensor, *, target: Tensor) -> Quantised:
    """Shift the answers by their mean difference, if that helps targets that it was not measured on.

    Args:
        raw_deg: (N, 2) answers in 8 bits.
        float32_deg: (N, 2) likewise in float32.
        target: (N,) which target each photo shows.
    """
    apart = float32_deg - raw_deg
    targets = target.unique()
    shifted = raw_deg.clone()
    for each in targets if len(targets) > 1 else []:
        others = target != each
        shifted[~others] += apart[others].mean(dim=0)
    if bool((float32_deg - shifted).norm(dim=1).mean() < apart.norm(dim=1).mean()):
        return Quantised(raw_deg, shifted, apart.mean(dim=0))
    return Quantised(raw_deg, raw_deg, torch.zeros(2, dtype=raw_deg.dtype))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep onnxruntime's hints about its own next step off the screen; they go to the root logger."""
    root = logging.getLogger()
    level = root.level
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        root.setLevel(logging.ERROR)
        try:
            yield
        finally:
            root.setLevel(level)
