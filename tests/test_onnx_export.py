import json
import logging

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from gaze_exp.errors import ConfigError
from gaze_exp.models.gazetr_lite import GazeTRLite
from gaze_exp.models.timm_face import TimmFace
from gaze_exp.onnx_export import compare_onnx, export_onnx, latency


def rows(num, seed=0):
    random = torch.Generator().manual_seed(seed)

    def images(size):
        return torch.randint(0, 256, (num, size, size, 3), dtype=torch.uint8, generator=random).permute(0, 3, 1, 2)

    return {"face": images(64), "left_eye": images(32), "right_eye": images(32), "gaze": torch.zeros(num, 2)}


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    model = GazeTRLite(
        encoder="gaze_plain8", pretrained=False, token_width=32, depth=2, num_heads=4, feedforward_width=64
    )
    nn.init.normal_(model.head.angles.weight, std=0.3)  # a fresh head would agree about nothing at all
    return model


@pytest.fixture(scope="module")
def exported(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    return export_onnx(model, rows(1), path, metadata={"checkpoint_sha256": "abc"})


def test_one_file_and_nothing_beside_it(exported):
    assert [p.name for p in exported.parent.iterdir()] == ["model.onnx"]


def test_inputs_are_the_arguments_of_forward_and_the_batch_is_free(exported):
    session = onnxruntime.InferenceSession(str(exported))
    assert {i.name: (i.type, i.shape[1:]) for i in session.get_inputs()} == {
        "face": ("tensor(float)", [3, 64, 64]),
        "left_eye": ("tensor(float)", [3, 32, 32]),
        "right_eye": ("tensor(float)", [3, 32, 32]),
    }
    assert [o.name for o in session.get_outputs()] == ["gaze"]
    for num in (1, 2, 7):
        feed = {k: v.float().numpy() for k, v in rows(num).items() if k != "gaze"}
        assert session.run(None, feed)[0].shape == (num, 2)


def test_the_file_says_what_goes_in_and_what_comes_out(exported):
    graph = onnx.load(exported)
    onnx.checker.check_model(graph, full_check=True)
    assert graph.opset_import[0].version >= 17
    entries = {entry.key: entry.value for entry in graph.metadata_props}
    assert entries["model"] == "GazeTRLite"
    assert json.loads(entries["inputs"]) == {"face": [3, 64, 64], "left_eye": [3, 32, 32], "right_eye": [3, 32, 32]}
    assert entries["color_order"] == "RGB"
    assert entries["value_range"] == "0..255"
    assert entries["output_order"] == "pitch,yaw"
    assert entries["unit"] == "rad"
    assert "yaw > 0 to the left of the image" in entries["frame"]
    assert entries["checkpoint_sha256"] == "abc"
    assert entries["gaze_exp_version"]


def test_onnx_answers_as_torch_does_on_raw_pixels(exported, model):
    assert compare_onnx(exported, model, [rows(1), rows(5, seed=1)]) < 1e-5


def test_comparison_sees_a_difference(exported, model):
    changed = GazeTRLite(
        encoder="gaze_plain8", pretrained=False, token_width=32, depth=2, num_heads=4, feedforward_width=64
    )
    changed.load_state_dict(model.state_dict())
    with torch.no_grad():
        changed.head.angles.bias += torch.tensor([0.0, 0.01])
    assert compare_onnx(exported, changed, [rows(3)]) == pytest.approx(0.01, abs=1e-4)


def test_comparison_does_not_hide_a_nan(exported, model):
    images = rows(2)
    images["face"] = images["face"].float()
    images["face"][1] = float("nan")
    assert np.isnan(compare_onnx(exported, model, [images, rows(2)]))


def test_the_model_is_left_as_it_was(model, tmp_path):
    model.train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    path = export_onnx(model, rows(1), tmp_path / "model.onnx")
    compare_onnx(path, model, [rows(2)])
    assert model.training
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_a_fixed_size_backbone_resizes_inside_the_graph(tmp_path):
    torch.manual_seed(0)
    model = TimmFace("test_vit", pretrained=False, image_size=32)
    nn.init.normal_(model.head.angles.weight, std=0.3)
    path = export_onnx(model, rows(2), tmp_path / "model.onnx")
    assert "Resize" in {node.op_type for node in onnx.load(path).graph.node}
    assert compare_onnx(path, model, [rows(3)]) < 1e-5


def test_a_failed_export_leaves_the_older_file(tmp_path):
    class Broken(nn.Module):
        def forward(self, face):
            raise RuntimeError("broken")

    path = tmp_path / "model.onnx"
    path.write_bytes(b"older")
    with pytest.raises(Exception, match="broken"):
        export_onnx(Broken(), rows(1), path)
    assert path.read_bytes() == b"older"
    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"]


def test_a_graph_tied_to_one_batch_size_is_refused(tmp_path):
    class Chunks(nn.Module):
        def forward(self, left_eye, right_eye):
            left, right = torch.cat((left_eye, right_eye)).mean((2, 3)).chunk(2)
            return {"gaze": left[:, :2] - right[:, :2]}

    with pytest.raises(ConfigError, match="fixed number of rows for 'left_eye'"):
        export_onnx(Chunks(), rows(1), tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_export_says_nothing_on_its_own(model, tmp_path, capfd, caplog):
    with caplog.at_level(logging.INFO):
        export_onnx(model, rows(1), tmp_path / "model.onnx")
    assert capfd.readouterr() == ("", "")
    assert not caplog.records


def test_latency_has_a_row_for_each_number_of_threads(exported):
    table = latency(exported, rows(4), threads=(1, 2), num_runs=5)
    assert [row["threads"] for row in table] == [1, 2]
    for row in table:
        assert row["num_runs"] == 5
        assert 0 < row["median_ms"] <= row["p95_ms"]
