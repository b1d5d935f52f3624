"""An ONNX file as a graph to walk: who makes a tensor, who reads it, and which tensors are constants."""

from functools import cached_property
from pathlib import Path
from typing import cast

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx import NodeProto, numpy_helper
from onnx.external_data_helper import load_external_data_for_model, uses_external_data
from onnx.reference import ReferenceEvaluator

from gaze_exp.errors import DataError

PASSING = frozenset({"Identity", "Cast", "CastLike", "Dropout"})
"""Operators that leave a tensor's meaning as it is."""
QUANTISED = frozenset({"DequantizeLinear", "DynamicQuantizeLinear"})
"""Operators behind which numbers have been rounded away."""


class OnnxFile:
    """The graph of an ONNX file, with its numbers.

    Args:
        path: of the file; data beside it are read too.

    Raises:
        DataError: no ONNX file, or its external data are not there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.graph = _load(path).graph
        self.nodes = list(self.graph.node)

    @cached_property
    def initialisers(self) -> dict[str, onnx.TensorProto]:
        """Stored tensors by name."""
        return {tensor.name: tensor for tensor in self.graph.initializer}

    @cached_property
    def maker(self) -> dict[str, NodeProto]:
        """Tensor -> the node that makes it."""
        return {name: node for node in self.nodes for name in node.output}

    @cached_property
    def readers(self) -> dict[str, list[NodeProto]]:
        """Tensor -> the nodes that read it."""
        made: dict[str, list[NodeProto]] = {}
        for node in self.nodes:
            for name in node.input:
                made.setdefault(name, []).append(node)
        return made

    def source(self, name: str) -> NodeProto | None:
        """The node that makes a tensor, looking through what only passes it on; None for inputs and constants."""
        node = self.maker.get(name)
        while node is not None and node.op_type in PASSING:
            node = self.maker.get(node.input[0])
        return node

    @cached_property
    def from_pictures(self) -> frozenset[str]:
        """Tensors that depend on an input of the graph by value; nodes stand in the order of running."""
        found = {graph_input.name for graph_input in self.graph.input} - set(self.initialisers)
        for node in self.nodes:
            data = node.input[:1] if node.op_type in PASSING else node.input
            if node.op_type != "Shape" and found.intersection(data):
                found.update(node.output)
        return frozenset(found)

    def constant(self, name: str) -> NDArray[np.generic] | None:
        """The numbers of a constant, or of what nodes make of constants alone; None where pictures have a part."""
        if name in self.initialisers:
            return numpy_helper.to_array(self.initialisers[name])
        node = self.maker.get(name)
        if node is None or name in self.from_pictures or node.op_type in QUANTISED:
            return None
        if node.op_type in PASSING:
            return self.constant(node.input[0])
        inputs = {name: self.constant(name) for name in node.input if name}
        if any(value is None for value in inputs.values()):
            return None
        (value,) = cast("list[NDArray[np.generic]]", ReferenceEvaluator(node).run(None, inputs))
        return value

    def numbers(self, name: str, *, what: str) -> NDArray[np.generic]:
        """The numbers of a constant that has to be there.

        Raises:
            DataError: it is computed, as in a quantised graph.
        """
        found = self.constant(name)
        if found is None:
            node = self.maker.get(name)
            how = f"comes from {node.op_type}" if node is not None else "is an input"
            raise DataError(
                f"{self.path}: {what} ('{name}') {how} instead of being stored: a quantised or changed graph; "
                "the float file it was made from is right"
            )
        return found


def _load(path: Path) -> onnx.ModelProto:
    try:
        model = onnx.load(path, load_external_data=False)
    except (DecodeError, ValueError, OSError) as error:
        raise DataError(f"{path}: cannot be read as ONNX ({error}); take another copy") from error
    if not model.graph.node:
        raise DataError(f"{path}: holds no graph of ONNX; take another copy")
    _load_external_data(model, path)
    return model


def _load_external_data(model: onnx.ModelProto, path: Path) -> None:
    outside = [tensor for tensor in model.graph.initializer if uses_external_data(tensor)]
    files = sorted({e.value for tensor in outside for e in tensor.external_data if e.key == "location"})
    missing = [name for name in files if not (path.parent / name).is_file()]
    if missing:
        raise DataError(
            f"{path}: keeps its numbers in {', '.join(missing)}, which is not beside it; copy both files together"
        )
    try:
        load_external_data_for_model(model, str(path.parent))
    except (onnx.checker.ValidationError, ValueError, OSError, RuntimeError) as error:
        raise DataError(f"{path}: {', '.join(files)} cannot be read ({error}); copy both files again") from error
