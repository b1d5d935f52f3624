"""Evaluation from the checkpoint alone: the same numbers anywhere, on persons never seen."""

import csv
import json
import shutil

import pytest
import torch
from conftest import program
from test_command_line import gaze_exp
from user_project.my_lab import convert


def evaluate(checkpoint, *overrides, cwd):
    return program("actions=[evaluate]", f"checkpoint={checkpoint}", "hardware=cpu", *overrides, cwd=cwd)


def numbers(metrics):
    """The metrics without where the checkpoint lies."""
    return {key: value for key, value in metrics.items() if key != "checkpoint"}


@pytest.mark.slow
def test_a_new_process_with_nothing_but_the_checkpoint_finds_the_same_numbers(trained, checkpoint, tmp_path):
    done = gaze_exp("actions=[evaluate]", f"checkpoint={checkpoint}", "hardware=cpu", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (path,) = tmp_path.glob("outputs/*/*/metrics.json")
    metrics = json.loads(path.read_text())
    assert numbers(metrics) == numbers(trained.read("metrics.json"))
    assert metrics["checkpoint"]["sha256"] == trained.read("metrics.json")["checkpoint"]["sha256"]


def test_metrics_hold_the_error_its_interval_each_person_and_the_constant_baseline(trained):
    metrics = trained.read("metrics.json")
    assert metrics["split"] == "test"
    assert metrics["num_persons"] == 2
    assert metrics["num_kept"] == 96
    assert metrics["ci95"][0] <= metrics["mean"] <= metrics["ci95"][1]
    assert metrics["median"] <= metrics["p95"]
    assert set(metrics["per_subject"]) == {"participant_p4", "participant_p5"}
    assert metrics["constant"]["mean"] > metrics["mean"]


def test_the_mean_is_that_of_the_predictions_beside_it(trained):
    with (trained.folder / "predictions.csv").open(newline="") as file:
        errors = [float(row["error_deg"]) for row in csv.DictReader(file)]
    assert sum(errors) / len(errors) == pytest.approx(trained.read("metrics.json")["mean"], abs=1e-5)


def test_the_report_is_there_with_the_command_that_repeats_the_run(trained):
    text = (trained.folder / "report.html").read_text()
    assert "python -m gaze_exp data=eve_crops" in text
    assert f"{trained.read('metrics.json')['mean']:.2f}" in text
    assert list((trained.folder / "figures").glob("*.png"))


def test_the_best_checkpoint_of_the_run_is_the_one_that_is_measured(trained):
    errors = [row["val/angular_error"] for row in trained.read("history.json")["rows"]]
    assert f"val_angular_error{min(errors):.2f}.ckpt" in trained.read("metrics.json")["checkpoint"]["path"]


def test_validation_persons_are_measured_on_request_and_said_to_be_selected_on(trained, checkpoint, tmp_path):
    done = evaluate(checkpoint, "evaluate.split=val", cwd=tmp_path)
    assert done.code == 0, done.err
    metrics = done.read("metrics.json")
    assert metrics["selected_on_this_split"] is True
    best = min(row["val/angular_error"] for row in trained.read("history.json")["rows"])
    assert metrics["mean"] == pytest.approx(best, abs=1e-4), "training and evaluation measure the same"


def test_another_folder_is_evaluated_where_the_command_line_names_one(checkpoint, tmp_path):
    convert(tmp_path / "other" / "test01" / "participant_new" / "frames_basler.h5", seed=9)
    done = evaluate(checkpoint, f"data.root={tmp_path}/other", cwd=tmp_path)
    assert done.code == 0, done.err
    assert set(done.read("metrics.json")["per_subject"]) == {"participant_new"}


@pytest.fixture
def with_a_seen_person(own_crops):
    """A data set whose test persons include one that the checkpoint was trained on."""
    (own_crops / "train01" / "participant_p1").rename(own_crops / "test01" / "participant_p1")
    return own_crops


def test_a_person_who_was_trained_on_is_refused_by_name(checkpoint, with_a_seen_person, tmp_path):
    done = evaluate(checkpoint, f"data.root={with_a_seen_person}", cwd=tmp_path)
    assert done.code == 2
    assert "was trained on 1 of the 3 persons in test: participant_p1;" in done.err
    assert not list(tmp_path.glob("outputs/*/*"))


def test_a_person_who_only_shares_a_name_can_be_let_in(checkpoint, with_a_seen_person, tmp_path):
    done = evaluate(
        checkpoint, f"data.root={with_a_seen_person}", "evaluate.allow_seen_persons=true", cwd=tmp_path
    )  # fmt: skip
    assert done.code == 0, done.err
    assert done.read("metrics.json")["num_persons"] == 3


def cut_short(path, checkpoint):
    path.write_bytes(checkpoint.read_bytes()[:-5000])


def text(path, checkpoint):
    path.write_text("hello")


def empty(path, checkpoint):
    path.touch()


def of_another_program(path, checkpoint):
    torch.save({"state_dict": {"weight": torch.zeros(3)}, "epoch": 1}, path)


def with_code_inside(path, checkpoint):
    torch.save({"gaze_exp": pytest.raises}, path)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (cut_short, "not a checkpoint, or cut short"),
        (text, "not a checkpoint, or cut short"),
        (empty, "not a checkpoint, or cut short"),
        (with_code_inside, "not a checkpoint, or cut short"),
        (of_another_program, "was not written by actions=[train] of this program"),
        (lambda *_: None, "there is no such checkpoint"),
    ],
)
def test_what_is_no_checkpoint_ends_in_one_line_that_names_it(make, expected, checkpoint, tmp_path):
    path = tmp_path / "given.ckpt"
    make(path, checkpoint)
    done = evaluate(path, cwd=tmp_path)
    assert done.code == 2
    assert done.err.startswith(f"error: {path}: ")
    assert expected in done.err
    assert done.err.count("\n") == 1
    assert not list(tmp_path.glob("outputs/*/*"))


def test_a_checkpoint_brings_its_own_model(checkpoint, tmp_path):
    done = evaluate(checkpoint, "model=timm_face", cwd=tmp_path)
    assert done.code == 2
    assert done.err.startswith("error: model: a checkpoint brings its own model")


def test_evaluating_before_training_says_what_to_do(tmp_path):
    done = program("actions=[evaluate]", "hardware=cpu", cwd=tmp_path)
    assert done.code == 2
    assert "checkpoint: nothing given" in done.err


def test_a_checkpoint_whose_data_has_gone_says_where_it_was(checkpoint, tmp_path):
    alone = shutil.copy(checkpoint, tmp_path / "gaze.ckpt")
    done = evaluate(alone, f"data.root={tmp_path}/gone", cwd=tmp_path)
    assert done.code == 2
    assert f"data.root: {tmp_path}/gone is not there" in done.err
