"""The exported file is the checkpoint's model, or it does not get its name."""

import json

import onnxruntime
import pytest
import torch
from conftest import program

from gaze_exp import checkpoint as checkpoints
from gaze_exp.assemble import model_of


@pytest.fixture(scope="module")
def session(trained):
    return onnxruntime.InferenceSession(trained.folder / "model.onnx")


def test_inputs_are_named_as_the_arguments_of_forward(session):
    shapes = {node.name: node.shape[1:] for node in session.get_inputs()}
    assert shapes == {"face": [3, 32, 32], "left_eye": [3, 16, 16], "right_eye": [3, 16, 16]}
    assert [node.name for node in session.get_outputs()] == ["gaze"]


def test_metadata_say_order_unit_frame_sizes_and_colour(session, trained):
    said = session.get_modelmeta().custom_metadata_map
    assert (said["output_order"], said["unit"], said["color_order"]) == ("pitch,yaw", "rad", "RGB")
    assert "normalised camera" in said["frame"]
    assert json.loads(said["inputs"])["face"] == [3, 32, 32]
    assert said["checkpoint_sha256"] == trained.read("metrics.json")["checkpoint"]["sha256"]


@pytest.mark.parametrize("num_rows", [1, 2, 7])
def test_any_number_of_rows_gives_what_torch_gives(num_rows, session, checkpoint):
    model = model_of(checkpoints.load(checkpoint))
    generator = torch.Generator().manual_seed(num_rows)
    images = {
        node.name: torch.randint(0, 256, (num_rows, *node.shape[1:]), generator=generator).float()
        for node in session.get_inputs()
    }
    with torch.inference_mode():
        expected = model(**images)["gaze"]
    (gaze,) = session.run(["gaze"], {name: image.numpy() for name, image in images.items()})
    torch.testing.assert_close(torch.from_numpy(gaze), expected, rtol=0, atol=1e-4)


def test_model_json_holds_the_difference_on_real_rows_and_the_latency(trained):
    said = trained.read("model.json")
    assert 0 <= said["largest_difference_rad"] < 1e-4
    assert said["rows"] == 64
    assert [row["threads"] for row in said["latency"]] == [1, 2]
    assert all(0 < row["median_ms"] <= row["p95_ms"] for row in said["latency"])


@pytest.mark.slow
def test_a_graph_beyond_the_tolerance_is_refused_and_does_not_get_its_name(checkpoint, tmp_path):
    impossible = "export.tolerance_rad=-1"  # by luck there might be no difference at all
    done = program("actions=[export]", f"checkpoint={checkpoint}", "hardware=cpu", impossible, cwd=tmp_path)
    assert done.code == 2
    assert "model.refused.onnx: differs from torch by" in done.err
    assert [path.name for path in done.folder.glob("model*")] == ["model.refused.onnx"]
