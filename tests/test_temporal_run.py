"""The whole program on videos and with a second task: train, compare, stream, go on after a kill."""

import csv
import json
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import PERSONS, TINY, program
from test_resume import assert_same, interrupted, last
from user_project.my_lab import lit

from gaze_exp.checkpoint import best_in
from gaze_exp.data.crops import CropWriter
from gaze_exp.onnx_export import open_session

pytestmark = pytest.mark.slow

TEMPORAL = (
    *TINY, "model=temporal_gru", "model@model.frame_model=gazetr_tiny", "model.token_width=16", "sequence_length=4",
)  # fmt: skip
OPTIONAL = {"step_id": ((), "int32"), "frame_index": ((), "int64"), "mask_left": ((16, 16), "uint8")}
OPTIONAL |= {"mask_right": ((16, 16), "uint8"), "pupil_mm": ((), "float32")}


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Five persons, 48 frames each in four steps, whose pictures are brighter on the side to which they look."""
    root = tmp_path_factory.mktemp("videos")
    for split, names in PERSONS.items():
        for name in names:
            random = np.random.default_rng(int(name[1]))
            gaze = np.cumsum(random.uniform(-0.05, 0.05, (48, 2)), axis=0).astype(np.float32) % 0.8 - 0.4
            mask = np.clip(lit(gaze, 16)[..., 0] // 64, 0, 3)
            path = root / split / f"participant_{name}" / "frames_basler.h5"
            with CropWriter(path, num_rows=48, face_size=32, eye_size=16, optional=OPTIONAL) as writer:
                writer.append({
                    "face": lit(gaze, 32), "leye": lit(gaze, 16), "reye": lit(gaze, 16), "gaze": gaze,
                    "step_id": np.repeat(np.arange(4, dtype=np.int32), 12), "frame_index": np.tile(np.arange(12), 4),
                    "mask_left": mask, "mask_right": mask, "pupil_mm": np.full(48, 4, np.float32),
                })  # fmt: skip
    return root


@pytest.fixture(scope="module")
def single(videos, tmp_path_factory):
    done = program(*TINY, f"data.root={videos}", "actions=[train]", cwd=tmp_path_factory.mktemp("single"))
    assert done.code == 0, done.err
    return done


@pytest.fixture(scope="module")
def temporal(videos, single, tmp_path_factory):
    done = program(
        *TEMPORAL, f"data.root={videos}", f"model.frame_checkpoint={single.folder}", "model.freeze_frame_model=true",
        "actions=[train,evaluate,export]", cwd=tmp_path_factory.mktemp("temporal"),
    )  # fmt: skip
    assert done.code == 0, done.err
    return done


def test_it_is_built_on_the_checkpoint_and_compared_with_it_on_the_same_frames(temporal, single):
    metrics = temporal.read("metrics.json")
    found = metrics["comparison"]
    assert found["with"] == str(best_in(single.folder))
    assert found["num_frames"] == metrics["num_kept"] == 96
    assert found["mean"] == pytest.approx(metrics["mean"], abs=1e-5)
    assert found["gain"]["mean"] == pytest.approx(found["other"]["mean"] - found["mean"], abs=1e-5)
    assert found["gain"]["ci95"][0] <= found["gain"]["mean"] <= found["gain"]["ci95"][1]
    assert "On the same 96 frames" in (temporal.folder / "report.html").read_text()


def test_its_frozen_frame_model_is_the_checkpoints(temporal, single):
    ours = torch.load(best_in(temporal.folder), weights_only=True)
    theirs = torch.load(best_in(single.folder), weights_only=True)["state_dict"]
    for name, value in theirs.items():
        assert torch.equal(value, ours["state_dict"][name.replace("model.", "model.frame_model.", 1)]), name
    assert ours["gaze_exp"]["config"]["model"]["frame_model"]["encoder"] == "gaze_plain8"


def test_the_exported_file_streams(temporal, videos):
    session = open_session(temporal.folder / "model.onnx")
    shapes = {node.name: node.shape[1:] for node in session.get_inputs()}
    state = np.zeros((1, *shapes.pop("state")), np.float32)
    frame = {name: np.full((1, *shape), 90, np.float32) for name, shape in shapes.items()}
    first, state = session.run(["gaze", "next_state"], frame | {"state": state})
    second, _ = session.run(["gaze", "next_state"], frame | {"state": state})
    assert first.shape == second.shape == (1, 2)
    assert temporal.read("model.json")["largest_difference_rad"] < 1e-4


def test_a_checkpoint_alone_predicts_each_frame_of_a_file_and_refuses_pictures(temporal, videos, tmp_path):
    path = videos / "test01" / "participant_p4" / "frames_basler.h5"
    arguments = ("actions=[predict]", f"checkpoint={best_in(temporal.folder)}", "hardware=cpu")
    done = program(*arguments, f"predict.source={path}", cwd=tmp_path)
    assert done.code == 0, done.err
    with (done.folder / "predictions.csv").open() as file:
        rows = [int(row["row"]) for row in csv.DictReader(file)]
    assert rows == list(range(48))
    (tmp_path / "pictures").mkdir()
    refused = program(*arguments, f"predict.source={tmp_path / 'pictures'}", cwd=tmp_path / "again")
    assert refused.code != 0
    assert "needs frames in order" in refused.err + refused.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((*TEMPORAL[:-1],), "sequence_length: 1 gives single frames"),
        ((*TINY, "sequence_length=4"), "reads single frames"),
    ],
)
def test_models_and_windows_that_do_not_fit_are_refused(arguments, said, videos, tmp_path):
    done = program(*arguments, f"data.root={videos}", "actions=[train]", cwd=tmp_path)
    assert done.code != 0
    assert said in done.err + done.out


def test_a_killed_run_over_windows_ends_bit_for_bit_like_one_that_was_not(videos, tmp_path):
    settings = (
        *TEMPORAL, f"data.root={videos}", "augment._target_=interrupted.Interrupted", "hardware.max_device_batch=8",
        "trainer.val_check_interval=0.6", "trainer.max_epochs=2", "actions=[train]",
    )  # fmt: skip
    whole = program(*settings, cwd=tmp_path / "whole")
    assert whole.code == 0, whole.err
    (tmp_path / "killed").mkdir()
    killed = interrupted(*settings, cwd=tmp_path / "killed", at="9@21")
    assert killed.code == -signal.SIGKILL, killed.err
    assert last(killed)["global_step"] % 6, "the last checkpoint should be in the middle of an epoch"
    done = program(f"resume={killed.folder}", cwd=tmp_path / "killed")
    assert done.code == 0, done.err
    for part in ("state_dict", "optimizer_states", "loops", "global_step"):
        assert_same(last(whole)[part], last(done)[part], at=part)


MULTITASK = (
    *TINY, "model=gazetr_multitask_tiny", "loss=multitask", "data.masks=true", "loss.pupil_weight=0.01",
    "trainer.max_epochs=4",
)  # fmt: skip


def test_a_second_task_is_trained_measured_drawn_and_judged(videos, tmp_path):
    alone = program(
        *MULTITASK, f"data.root={videos}", "loss.segmentation_weight=0", "actions=[train,evaluate]",
        cwd=tmp_path / "alone",
    )  # fmt: skip
    assert alone.code == 0, alone.err
    both = program(
        *MULTITASK, f"data.root={videos}", "loss.segmentation_weight=1", "actions=[train,evaluate,export]",
        f"evaluate.compare_with={alone.folder}", cwd=tmp_path / "both",
    )  # fmt: skip
    assert both.code == 0, both.err
    metrics = both.read("metrics.json")
    assert metrics["segmentation"]["num_eyes"] == 192
    assert set(metrics["segmentation"]["iou"]) == {"background", "sclera", "iris", "pupil"}
    assert metrics["segmentation"]["miou"] > alone.read("metrics.json")["segmentation"]["miou"] + 0.05
    assert metrics["comparison"]["num_frames"] == 96
    page = (both.folder / "report.html").read_text()
    assert "Is the second task beneficial" in page
    assert any(answer in page for answer in ("Yes:", "No:", "Not shown:"))
    assert (both.folder / "figures" / "eye_parts.png").stat().st_size > 1000
    assert json.loads((both.folder / "model.json").read_text())["largest_difference_rad"] < 1e-4
    assert Path(both.folder / "model.onnx").is_file()
