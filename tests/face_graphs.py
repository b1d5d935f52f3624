"""Small ONNX models with the inputs and outputs of face detectors and meshes, whose answers are known."""

import numpy as np
from onnx import TensorProto, helper, numpy_helper, save

NUM_BOXES = 4420
NAMES = ("scores", "boxes")


def write_model(path, nodes, *, inputs, outputs, weights):
    """A checked ONNX file of a few nodes; inputs and outputs are name -> shape."""
    make = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "test",
        [make(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [make(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()],
    )
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    return path


def write_ultraface(path, box=(0.25, 0.25, 0.75, 0.75), *, confidence=0.99, decodes=True, in_order=True):
    """An UltraFace that sees one face, in parts of the picture, whatever it is shown.

    `decodes` has an exponential in the graph; `in_order` has corners in order, as decoded boxes have.
    """
    scores = np.zeros((1, NUM_BOXES, 2), np.float32)
    scores[0, 7, 1] = confidence
    boxes = np.tile(
        np.array([0.1, 0.1, 0.2, 0.2] if in_order else [0.5, 0.4, -0.3, 0.2], np.float32), (1, NUM_BOXES, 1)
    )
    boxes[0, 7] = box
    weights = {"nought": np.zeros(1, np.float32), "known_scores": scores, "known_boxes": boxes}
    nodes = [
        helper.make_node("ReduceMean", ["input"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "nought"], ["none"]),
        helper.make_node("Add", ["known_scores", "none"], ["scores"]),
    ]
    if decodes:  # the exponential of nothing is one, of which nothing remains
        nodes += [
            helper.make_node("Exp", ["none"], ["one"]),
            helper.make_node("Mul", ["known_boxes", "one"], ["boxes"]),
        ]
    else:
        nodes.append(helper.make_node("Add", ["known_boxes", "none"], ["boxes"]))
    outputs = {"scores": [1, NUM_BOXES, 2], "boxes": [1, NUM_BOXES, 4]}
    return write_model(path, nodes, inputs={"input": [1, 3, 240, 320]}, outputs=outputs, weights=weights)


def write_mesh(path, *, num_points=468, shape=(1, 192, 192, 3), nan=False):
    """A mesh whose points are an affine function of the picture's mean colour (-1..1); returns their rule too.

    Returns:
        The path, and mean colour (3,) -> (num_points, 3) points in px of the input.
    """
    random = np.random.default_rng(3)
    base = random.uniform(40, 150, (num_points, 3)).astype(np.float32)
    slope = random.uniform(-20, 20, (3, num_points * 3)).astype(np.float32)
    if nan:
        base[:] = np.nan
    weights = {"slope": slope, "base": base.reshape(1, -1)}
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["colour"], axes=[1, 2], keepdims=0),
        helper.make_node("MatMul", ["colour", "slope"], ["moved"]),
        helper.make_node("Add", ["moved", "base"], ["points"]),
    ]
    write_model(path, nodes, inputs={"image": list(shape)}, outputs={"points": [1, 3 * num_points]}, weights=weights)
    return path, lambda colour: base + (np.asarray(colour, np.float32) @ slope).reshape(-1, 3)
