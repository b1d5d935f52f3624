"""A user's own model and data set run through the whole program without an edit of the package."""

import json
import shutil
from pathlib import Path

import onnxruntime
import pytest
from test_command_line import gaze_exp

PROJECT = Path(__file__).parent / "user_project"


@pytest.mark.slow
def test_a_users_own_model_and_data_set_train_evaluate_and_export(tmp_path):
    project = shutil.copytree(PROJECT, tmp_path / "project")
    done = gaze_exp("--config-dir", "my_conf", "task=mine", cwd=project)
    assert done.returncode == 0, done.stdout + done.stderr
    (folder,) = (project / "outputs" / "mine").iterdir()
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["num_persons"] == 2
    assert metrics["mean"] < metrics["constant"]["mean"]
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    assert [i.name for i in session.get_inputs()] == ["face"]
    assert (folder / "report.html").is_file()


def test_a_users_own_model_is_checked_like_ours(tmp_path):
    project = shutil.copytree(PROJECT, tmp_path / "project")
    done = gaze_exp("--config-dir", "my_conf", "task=mine", "+model.depth=3", cwd=project)
    assert done.returncode == 2
    assert "model.depth: my_lab.Net takes no such argument; width would be right" in done.stderr
