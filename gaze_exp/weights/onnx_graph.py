"""Turn an exported L2CS-Net back into tensors for torch.

Exporters fold batch norm into the convolutions, and one keeps the name `conv1.weight` for the folded
numbers: a load by name would run and give garbage. So names are not looked at. The graph is walked from the
picture on, as the ResNet runs, and each convolution found is the one that stands there in torch.

A folded convolution comes back as itself and a batch norm that only adds its bias: mean 0, variance 1,
weight sqrt(1 + eps). Its statistics are gone; it must stay in evaluation.
"""

import math
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import NodeProto, helper
from torch import Tensor, nn

from gaze_exp.errors import DataError
from gaze_exp.weights.contents import (
    ARCHS,
    L2CSWeights,
    bins_of,
    checked_heads,
    checked_trunk,
    empty_resnet,
)
from gaze_exp.weights.onnx_file import OnnxFile

BATCH_NORM_EPS = 1e-5
STEM_SHAPE = (64, 3, 7, 7)


def read_onnx(path: Path) -> L2CSWeights:
    """Read trunk and heads of an exported L2CS-Net with a ResNet of torchvision's shape.

    Args:
        path: of the .onnx; its data file has to lie beside it where it has one.

    Raises:
        DataError: not such a graph, or incomplete.
    """
    file = OnnxFile(path)
    layers = _heads(file)
    number = sum(node.op_type == "Conv" for node in file.nodes)
    arch = convolutions_to_arch().get(number)
    if arch is None:
        raise DataError(
            f"{path}: has {number} convolutions; {', '.join(f'{n} ({a})' for n, a in convolutions_to_arch().items())} "
            "are known: a node is missing, or it is another network"
        )
    state: dict[str, Tensor] = {}
    folded = False
    for name, node in _walk(file, arch):
        tensors, without_norm = _convolution(file, name, node)
        state |= tensors
        folded |= without_norm
    heads = checked_heads(layers, path=path)
    return L2CSWeights(
        path,
        f"ONNX graph {'with batch norm folded' if folded else 'with batch norm'}",
        arch,
        checked_trunk(state, arch=arch, path=path),
        heads,
        bins=bins_of(heads),
        norm_folded=folded,
    )


@cache
def convolutions_to_arch() -> dict[int, str]:
    """Number of convolutions of each ResNet."""
    return {sum(isinstance(m, nn.Conv2d) for m in empty_resnet(arch).modules()): arch for arch in ARCHS}


def _walk(file: OnnxFile, arch: str) -> Iterator[tuple[str, NodeProto]]:
    """Each convolution with torchvision's name for it, in the order of running."""
    stems = [n for n in file.nodes if n.op_type == "Conv" and _shape(file, n) == STEM_SHAPE]
    if len(stems) != 1:
        raise DataError(f"{file.path}: has {len(stems)} convolutions of shape {STEM_SHAPE}; a ResNet starts with one")
    yield "conv1", stems[0]
    entry = stems[0]
    for name, module in empty_resnet(arch).named_modules():
        if not hasattr(module, "downsample"):
            continue
        main = [n for n, m in module.named_children() if isinstance(m, nn.Conv2d)]
        found, entry = _block(file, entry, name=name, main=main, shortcut=module.downsample is not None)
        yield from found.items()


def _block(
    file: OnnxFile, entry: NodeProto, *, name: str, main: list[str], shortcut: bool
) -> tuple[dict[str, NodeProto], NodeProto]:
    """Convolutions of a residual block that reads what `entry` makes, and the sum that ends it."""
    starts, ends = _next(file, entry)
    direct = [conv for conv in starts if not _next(file, conv)[0]]
    starts = [conv for conv in starts if _next(file, conv)[0]]
    _expect(file, len(starts) == 1 and len(direct) == shortcut and len(ends) == (not shortcut), where=name)
    found = {f"{name}.{main[0]}": starts[0]}
    for part in main[1:]:
        follower, sums = _next(file, starts[0])
        _expect(file, len(follower) == 1 and not sums, where=f"{name}.{part}")
        found[f"{name}.{part}"] = follower[0]
        starts = follower
    if shortcut:
        found[f"{name}.downsample.0"] = direct[0]
        ends = _next(file, direct[0])[1]
    sums = _next(file, starts[0])[1]
    _expect(file, len(sums) == 1 and [s.output for s in sums] == [e.output for e in ends], where=f"the end of {name}")
    return found, sums[0]


def _expect(file: OnnxFile, as_expected: bool, *, where: str) -> None:
    if not as_expected:
        raise DataError(
            f"{file.path}: its graph differs from a ResNet's at {where}: a node is missing or changed; "
            "the file as it was exported is right"
        )


def _next(file: OnnxFile, node: NodeProto) -> tuple[list[NodeProto], list[NodeProto]]:
    """The convolutions and the sums that a node's output reaches first."""
    convolutions, sums = [], []
    waiting = [node.output[0]]
    while waiting:
        tensor = waiting.pop(0)
        for reader in file.readers.get(tensor, []):
            if reader.op_type == "Add" and all(file.constant(name) is None for name in reader.input):
                sums.append(reader)
            elif reader.input[0] != tensor:
                continue  # asks for its type or shape only
            elif reader.op_type == "Conv":
                convolutions.append(reader)
            else:
                waiting.append(reader.output[0])
    return convolutions, sums


def _shape(file: OnnxFile, convolution: NodeProto) -> tuple[int, ...]:
    return file.numbers(convolution.input[1], what="weight of a convolution").shape


def _convolution(file: OnnxFile, name: str, node: NodeProto) -> tuple[dict[str, Tensor], bool]:
    """Tensors of a convolution and its batch norm, and whether that had been folded."""
    weight = _tensor(file.numbers(node.input[1], what=f"weight of {name}"))
    bias = _tensor(file.numbers(node.input[2], what=f"bias of {name}")) if len(node.input) > 2 else None
    bias = torch.zeros(len(weight), dtype=weight.dtype) if bias is None else bias
    norm = name.replace("conv", "bn") if "conv" in name else name.replace("downsample.0", "downsample.1")
    follower = next((n for n in file.readers[node.output[0]] if n.op_type == "BatchNormalization"), None)
    if follower is None:
        ones = torch.ones_like(bias)
        values = (ones * math.sqrt(1 + BATCH_NORM_EPS), bias, torch.zeros_like(bias), ones)
    else:
        scale, shift, mean, var = (_tensor(file.numbers(n, what=f"a tensor of {norm}")) for n in follower.input[1:5])
        given = {a.name: helper.get_attribute_value(a) for a in follower.attribute}.get("epsilon", BATCH_NORM_EPS)
        values = (scale, shift, mean - bias, var + (given - BATCH_NORM_EPS))
    names = ("weight", "bias", "running_mean", "running_var")
    made = {f"{norm}.{part}": value for part, value in zip(names, values, strict=True)}
    return {f"{name}.weight": weight, **made}, follower is None


def _heads(file: OnnxFile) -> dict[str, Tensor]:
    """The two last layers: by position the first is yaw, whatever it is called."""
    outputs = [output.name for output in file.graph.output]
    if len(outputs) != 2:
        raise DataError(
            f"{file.path}: has {len(outputs)} output(s) ({', '.join(outputs)}) instead of the logits of yaw and pitch: "
            "its answers are decoded inside; the file or checkpoint from which it was exported is right"
        )
    heads: dict[str, Tensor] = {}
    for head, output in zip(("fc_yaw_gaze", "fc_pitch_gaze"), outputs, strict=True):
        heads[f"{head}.weight"], heads[f"{head}.bias"] = _linear(file, output)
    return heads


def _linear(file: OnnxFile, output: str) -> tuple[Tensor, Tensor]:
    """Weight (K, F) and bias (K,) of the layer that makes an output."""
    node = file.source(output)
    if node is not None and node.op_type == "Gemm":
        options = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        weight, bias = (_tensor(file.numbers(name, what=f"layer of '{output}'")) for name in node.input[1:3])
        return (weight if options.get("transB") else weight.T) * options.get("alpha", 1.0), bias
    if node is not None and node.op_type == "Add":
        product = next((p for name in node.input if (p := file.source(name)) and p.op_type == "MatMul"), None)
        bias_array = next((c for name in node.input if (c := file.constant(name)) is not None), None)
        if product is not None and bias_array is not None:
            return _tensor(file.numbers(product.input[1], what=f"layer of '{output}'")).T, _tensor(bias_array)
    raise DataError(
        f"{file.path}: output '{output}' comes from {node.op_type if node else 'nowhere'}, not from a layer of logits: "
        "angles decoded in the graph, as Roboflow's files have them, cannot be taken apart; "
        "an export with two outputs of 90 or 28 logits is right"
    )


def _tensor(array: NDArray[np.generic]) -> Tensor:
    return torch.from_numpy(np.array(array))
