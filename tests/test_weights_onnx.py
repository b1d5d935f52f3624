"""An exported L2CS-Net turned back into torch, whichever exporter wrote it."""

import onnx
import pytest
import torch
from l2cs_files import Official, Yakhyo, export, lively
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from gaze_exp.errors import DataError
from gaze_exp.models.l2cs import L2CS
from gaze_exp.weights.load import load_l2cs
from gaze_exp.weights.onnx_graph import convolutions_to_arch
from gaze_exp.weights.read import read_l2cs

KEEP = {"training": torch.onnx.TrainingMode.PRESERVE, "do_constant_folding": False}
WRITERS = {
    "torchscript": ({"dynamo": False, "opset_version": 17}, True),
    "torchscript_batch_norm_kept": ({"dynamo": False, "opset_version": 17, **KEEP}, False),
    "dynamo": ({"dynamo": True, "external_data": False}, True),
    "dynamo_unoptimised": ({"dynamo": True, "external_data": False, "optimize": False}, False),
}
by_writer = pytest.mark.parametrize(
    "writer", [pytest.param(name, marks=pytest.mark.slow if "dynamo" in name else ()) for name in WRITERS]
)


@pytest.fixture(scope="module")
def source():
    torch.manual_seed(0)
    return lively(Official(finetune=False))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("onnx")


@pytest.fixture(scope="module")
def folded(source, folder):
    """As most people's files are: by TorchScript, batch norm folded."""
    return export(source, folder / "folded.onnx", **WRITERS["torchscript"][0])


def answers(source, model, size=64):
    """Largest difference of a logit, as a part of their spread."""
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected, given = source(images), model._head_outputs(model.late(model.early(images)))
    return max(((a - b).abs().max() / a.std()).item() for a, b in zip(expected, given, strict=True))


def changed(path, to, change):
    proto = onnx.load(path)
    change(proto.graph)
    onnx.save(proto, to)
    return to


@by_writer
def test_a_graph_comes_back_to_float_rounding(source, folder, writer):
    options, folds = WRITERS[writer]
    model, report = load_l2cs(export(source, folder / f"{writer}.onnx", **options), image_size=None)
    assert answers(source, model) < 1e-4
    assert report.norm_folded == model.frozen_norm == folds
    assert (report.arch, report.num_bins, report.num_tensors) == ("resnet18", 90, 120)
    if not folds:
        assert torch.equal(model.layer3[0].downsample[1].running_var, source.layer3[0].downsample[1].running_var)


@pytest.mark.slow
def test_a_resnet50_comes_back_too(folder):
    """Its first block has two convolutions of one shape, which only their place in the graph tells apart."""
    torch.manual_seed(0)
    source = lively(Yakhyo("resnet50"))
    path = export(source, folder / "r50.onnx", dynamo=False, opset_version=17)
    assert answers(source, L2CS(weights=path, image_size=None).eval()) < 1e-4
    path.unlink()


def test_the_order_of_nodes_in_the_file_does_not_matter(source, folded, folder):
    """A shortcut may stand before the convolutions beside it."""

    def shortcuts_first(graph):
        nodes = list(graph.node)
        for conv in [n for n in nodes if n.op_type == "Conv" and "downsample" in n.name]:
            nodes.remove(conv)
            start = next(i for i, n in enumerate(nodes) if conv.input[0] in n.output)
            nodes.insert(start + 1, conv)
        del graph.node[:]
        graph.node.extend(nodes)

    path = changed(folded, folder / "reordered.onnx", shortcuts_first)
    assert answers(source, L2CS(weights=path, image_size=None).eval()) < 1e-4


def test_a_folded_net_is_frozen_for_good_and_says_so(folded):
    model = L2CS(weights=folded, image_size=32)
    assert model.frozen_norm
    assert model.rebuild_options["frozen_norm"] is True
    norms = [m for m in model.train().modules() if isinstance(m, nn.BatchNorm2d)]
    assert not any(m.training or m.weight.requires_grad or m.bias.requires_grad for m in norms)
    assert any("frozen" in line for line in load_l2cs(folded)[1].lines())


@pytest.mark.slow
def test_names_in_a_dynamo_file_are_not_trusted(source, folder):
    """It calls the folded numbers `conv1.weight`: another tensor than torch's, and a load by name would take it."""
    path = export(source, folder / "named.onnx", dynamo=True, external_data=False)
    stored = {t.name: torch.from_numpy(numpy_helper.to_array(t).copy()) for t in onnx.load(path).graph.initializer}
    assert (stored["conv1.weight"] - source.conv1.weight).abs().max() > 0.01
    assert torch.equal(read_l2cs(path).trunk["conv1.weight"], stored["conv1.weight"])
    assert answers(source, L2CS(weights=path, image_size=None).eval()) < 1e-4


def test_equal_numbers_stored_once_behind_identity_are_found(folder):
    """TorchScript keeps one copy of equal tensors: all the batch norms of an untrained net, unfolded or not."""
    torch.manual_seed(0)
    source = Official(finetune=False).eval()
    for name, options in (("folded", {}), ("kept", KEEP)):
        path = export(source, folder / f"same_{name}.onnx", dynamo=False, opset_version=17, **options)
        assert "Identity" in {node.op_type for node in onnx.load(path).graph.node}
        assert answers(source, L2CS(weights=path, image_size=None).eval()) < 1e-4


def test_the_first_output_is_yaw_whatever_it_is_called(source, folder):
    """Older files of yakhyo's say `pitch` first and mean the horizontal angle."""
    path = export(source, folder / "old.onnx", dynamo=False, opset_version=17, output_names=["pitch", "yaw"])
    assert torch.equal(read_l2cs(path).heads["fc_yaw_gaze.weight"], source.fc_yaw_gaze.weight)
    swapped, _ = load_l2cs(path, heads="swap")
    assert torch.equal(swapped.fc_yaw_gaze.weight, source.fc_pitch_gaze.weight)


def test_numbers_in_a_file_beside_are_read_and_missed_by_name(source, folded, folder):
    apart = folder / "apart"
    apart.mkdir()
    onnx.save(onnx.load(folded), apart / "l2cs.onnx", save_as_external_data=True, location="l2cs.onnx.data")
    assert answers(source, L2CS(weights=apart / "l2cs.onnx", image_size=None).eval()) < 1e-4
    data = apart / "l2cs.onnx.data"
    data.write_bytes(data.read_bytes()[:1000])
    with pytest.raises(DataError, match=r"l2cs\.onnx\.data.*copy both files again"):
        read_l2cs(apart / "l2cs.onnx")
    data.unlink()
    with pytest.raises(DataError, match=r"keeps its numbers in l2cs\.onnx\.data, which is not beside it"):
        read_l2cs(apart / "l2cs.onnx")


# Graphs that cannot be taken apart.


def without(graph, node):
    """Take a node out and let its readers read its input."""
    for reader in graph.node:
        for index, name in enumerate(reader.input):
            if name == node.output[0]:
                reader.input[index] = node.input[0]
    graph.node.remove(node)


def test_a_graph_that_lost_a_convolution_is_refused(folded, folder):
    def lose(graph):
        without(graph, next(n for n in graph.node if "layer2/layer2.1/conv2" in n.name and n.op_type == "Conv"))

    with pytest.raises(DataError, match=r"has 19 convolutions; 20 \(resnet18\), 36 \(resnet34\), 53 \(resnet50\)"):
        read_l2cs(changed(folded, folder / "lost.onnx", lose))


def test_a_graph_that_lost_a_sum_is_refused_where_it_differs(folded, folder):
    def lose(graph):
        without(graph, [n for n in graph.node if n.op_type == "Add"][2])

    with pytest.raises(DataError, match=r"differs from a ResNet's at .*layer2\.0"):
        read_l2cs(changed(folded, folder / "no_sum.onnx", lose))


def test_angles_decoded_in_the_graph_are_refused(folder):
    """Two outputs (B,) in radians, as Roboflow's files have them."""

    class Decoded(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = Official(finetune=False)
            self.register_buffer("edges", torch.arange(90.0) * 4 - 180)

        def forward(self, x):
            return tuple((logits.softmax(1) * self.edges).sum(1) * 0.017453 for logits in self.net(x))

    names = ["output_yaw", "output_pitch"]
    path = export(Decoded(), folder / "roboflow.onnx", dynamo=False, opset_version=17, output_names=names)
    with pytest.raises(DataError, match=r"output 'output_yaw' comes from .* decoded in the graph"):
        read_l2cs(path)


def test_one_output_of_degrees_is_refused_with_the_remedy(folded, folder):
    path = changed(folded, folder / "one.onnx", lambda graph: graph.output.pop())
    with pytest.raises(DataError, match=r"has 1 output\(s\) \(yaw\).*from which it was exported is right"):
        read_l2cs(path)


def test_a_quantised_graph_is_refused(folded, folder):
    def quantise(graph):
        conv = next(n for n in graph.node if n.op_type == "Conv")
        graph.initializer.append(helper.make_tensor("s", TensorProto.FLOAT, [], [0.01]))
        graph.initializer.append(numpy_helper.from_array(torch.ones(64, 3, 7, 7, dtype=torch.int8).numpy(), "q"))
        graph.node.insert(0, helper.make_node("DequantizeLinear", ["q", "s"], ["dequantised"]))
        conv.input[1] = "dequantised"

    with pytest.raises(DataError, match=r"comes from DequantizeLinear .*the float file"):
        read_l2cs(changed(folded, folder / "int8.onnx", quantise))


def test_nan_in_a_graph_is_refused(folded, folder):
    def spoil(graph):
        tensor = next(t for t in graph.initializer if t.name == "fc_yaw_gaze.weight")
        array = numpy_helper.to_array(tensor).copy()
        array[3, 5] = float("nan")
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))

    with pytest.raises(DataError, match=r"fc_yaw_gaze\.weight holds NaN"):
        read_l2cs(changed(folded, folder / "nan.onnx", spoil))


def test_every_arch_is_told_by_its_number_of_convolutions():
    expected = {20: "resnet18", 36: "resnet34", 53: "resnet50", 104: "resnet101", 155: "resnet152"}
    assert convolutions_to_arch() == expected
