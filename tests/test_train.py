"""What a training run does and leaves behind."""

import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
import torch
from conftest import TINY, program
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from gaze_exp.config import rebuild

ROOT = Path(__file__).parents[1]

ONE_EPOCH = (*TINY, "trainer.max_epochs=1", "actions=[train]")


def train(crops, *overrides, cwd):
    done = program(*ONE_EPOCH, f"data.root={crops}", *overrides, cwd=cwd)
    assert done.code == 0, done.err
    return done


@pytest.fixture(scope="module")
def seed0(crops, tmp_path_factory):
    """One epoch, logged to CSV and TensorBoard at once."""
    return train(crops, "logger=[csv,tensorboard]", cwd=tmp_path_factory.mktemp("seed0"))


def last(run):
    return torch.load(run.folder / "checkpoints" / "last.ckpt", weights_only=True)


def rows_of(run):
    return run.read("history.json")["rows"]


def logged(run, name):
    """Step -> value of one column of the CSV logger."""
    with (run.folder / "csv" / "version_0" / "metrics.csv").open(newline="") as file:
        return {int(row["step"]): float(row[name]) for row in csv.DictReader(file) if row[name]}


def test_run_json_tells_command_code_versions_batch_and_data(trained, crops):
    run = trained.read("run.json")
    assert run["command"].startswith("python -m gaze_exp data=eve_crops")
    assert re.fullmatch(r"[0-9a-f]{40}", run["code"]["commit"] or "0" * 40)
    assert run["versions"]["torch"]
    assert run["machine"]["cores"] >= 1
    assert run["batch"] == {"device_batch": 16, "accumulate": 1, "num_devices": 1, "steps_per_epoch": 6}
    assert run["hardware"]["accelerator"] == "cpu"
    assert re.fullmatch(r"[0-9a-f-]+", run["data"]["hash"])
    assert run["data"]["splits"]["train"]["persons"] == ["participant_p1", "participant_p2"]
    assert run["data"]["splits"]["train"]["kept"] == 96
    assert run["config"]["data"]["root"] == str(crops)
    assert run["num_parameters"] > 1e5


def test_the_record_changes_with_the_data_and_not_with_their_place(seed0, own_crops, tmp_path):
    moved = train(own_crops, cwd=tmp_path)
    assert moved.read("run.json")["data"]["hash"] == seed0.read("run.json")["data"]["hash"]
    (own_crops / "train01" / "participant_p2").rename(own_crops / "val01" / "participant_p2")
    changed = train(own_crops, cwd=tmp_path / "changed")
    assert changed.read("run.json")["data"]["hash"] != seed0.read("run.json")["data"]["hash"]


def test_validation_twice_an_epoch_gives_two_rows_and_two_pictures_an_epoch(trained):
    assert [row["epoch"] for row in rows_of(trained)] == [0.5, 1.0, 1.5, 2.0, 2.5, 3.0]
    assert [row["step"] for row in rows_of(trained)] == [3, 6, 9, 12, 15, 18]
    pictures = sorted(path.name for path in (trained.folder / "pictures").iterdir())
    assert pictures == [f"step{step:07d}.png" for step in (3, 6, 9, 12, 15, 18)]
    assert cv2.imread(str(trained.folder / "pictures" / pictures[0])) is not None


def test_the_best_three_checkpoints_and_the_last_are_kept_by_name(trained):
    names = {path.name for path in (trained.folder / "checkpoints").iterdir()}
    errors = sorted(row["val/angular_error"] for row in rows_of(trained))[:3]
    assert {f"{error:.2f}" for error in errors} == {
        re.fullmatch(r"epoch\d-val_angular_error(\d+\.\d\d)\.ckpt", name)[1] for name in names - {"last.ckpt"}
    }
    assert len(names) == 4


def test_progress_is_a_plain_line_for_each_validation_where_there_is_no_terminal(trained):
    lines = [line for line in trained.out.splitlines() if "val angular error" in line and line.startswith("epoch")]
    assert len(lines) == 6
    assert re.match(r"epoch  0\.50/3  step 3  train loss \d\.\d+  val loss \d\.\d+  val angular error", lines[0])
    assert "\x1b" not in trained.out
    assert "\r" not in trained.out


def test_the_log_file_holds_what_the_screen_showed(trained):
    text = (trained.folder / "gaze_exp.log").read_text()
    assert all(line in text for line in trained.out.splitlines())


def test_training_learns(trained):
    assert rows_of(trained)[-1]["val/angular_error"] < rows_of(trained)[0]["val/angular_error"]
    assert trained.read("metrics.json")["mean"] < trained.read("metrics.json")["constant"]["mean"]


def test_a_checkpoint_is_plain_data_that_rebuilds_its_model(trained):
    saved = last(trained)
    ours = saved["gaze_exp"]
    assert ours["config"]["model"]["dropout"] == 0.1
    assert ours["config"]["trainer"]["val_check_interval"] == 0.5
    assert "${" not in str(ours["config"])
    assert ours["train_subjects"] == ["participant_p1", "participant_p2"]
    assert ours["crop_sizes"] == [32, 16]
    weights = {name.removeprefix("model."): w for name, w in saved["state_dict"].items() if name.startswith("model.")}
    rebuild(ours["config"], "model").load_state_dict(weights)


def test_the_logged_learning_rate_is_the_optimisers(trained):
    optimizer, schedule = last(trained)["optimizer_states"][0], last(trained)["lr_schedulers"][0]
    rate = optimizer["param_groups"][0]["lr"]
    assert rows_of(trained)[-1]["lr"] == rate == schedule["_last_lr"][0]
    by_step = logged(trained, "lr-AdamW")
    assert {row["step"]: row["lr"] for row in rows_of(trained)[:-1]}.items() <= by_step.items()
    assert by_step[2] < by_step[3] == 3e-3 > by_step[4], "warm-up for half an epoch"


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(seed0, crops, tmp_path):
    again, other = (train(crops, *seed, cwd=tmp_path / str(i)) for i, seed in enumerate([(), ("seed=1",)]))
    weights, same, different = (last(run)["state_dict"] for run in (seed0, again, other))
    assert all(torch.equal(weights[name], same[name]) for name in weights)
    assert not any(torch.equal(weights[name], different[name]) for name in weights if name.endswith("head.weight"))
    assert rows_of(seed0) == rows_of(again) != rows_of(other)


def test_the_number_of_reading_threads_changes_nothing(seed0, crops, tmp_path):
    again = train(crops, "hardware.num_workers=0", cwd=tmp_path)
    assert rows_of(again) == rows_of(seed0)


def test_accumulated_pieces_make_as_many_steps_as_whole_batches(seed0, crops, tmp_path):
    pieces = train(crops, "hardware.max_device_batch=4", cwd=tmp_path)
    assert pieces.read("run.json")["batch"] == {
        "device_batch": 4,
        "accumulate": 4,
        "num_devices": 1,
        "steps_per_epoch": 6,
    }
    assert last(pieces)["global_step"] == last(seed0)["global_step"] == 6
    assert last(pieces)["lr_schedulers"] == last(seed0)["lr_schedulers"]


def test_an_epoch_has_whole_steps_alone_however_they_are_made(crops, tmp_path):
    whole, pieces = (
        train(crops, "global_batch=40", f"hardware.max_device_batch={size}", cwd=tmp_path / str(size))
        for size in (40, 10)
    )  # fmt: skip
    assert last(whole)["global_step"] == last(pieces)["global_step"] == 96 // 40


def test_a_global_batch_beyond_the_data_is_refused(crops, tmp_path):
    done = program(*ONE_EPOCH, f"data.root={crops}", "global_batch=100", "hardware.max_device_batch=50", cwd=tmp_path)
    assert done.code == 2
    assert done.err.startswith("error: global_batch: 100 is more than there are training rows")
    assert not list(tmp_path.glob("outputs/*"))


def test_early_stopping_stops_and_says_so(crops, tmp_path):
    done = train(crops, "trainer.max_epochs=9", "optim.lr=0", "early_stopping_patience=2", cwd=tmp_path)
    errors = [row["val/angular_error"] for row in rows_of(done)]
    assert len(errors) == errors.index(min(errors)) + 1 + 2 < 9
    assert "stopped before trainer.max_epochs=9" in done.out


def test_training_that_diverges_says_so(crops, tmp_path):
    done = program(*ONE_EPOCH, f"data.root={crops}", "optim.lr=1e12", cwd=tmp_path)
    assert done.code == 2
    assert done.err.startswith("error: optim.lr: training diverged")


def test_shuffled_labels_change_what_is_learned_and_nothing_else(seed0, crops, tmp_path):
    shuffled = train(crops, "data.shuffle_labels=true", cwd=tmp_path)
    assert rows_of(shuffled) != rows_of(seed0)
    assert shuffled.read("run.json")["data"]["hash"] == seed0.read("run.json")["data"]["hash"]
    assert last(shuffled)["gaze_exp"]["train_mean_gaze"] == pytest.approx(last(seed0)["gaze_exp"]["train_mean_gaze"])


def test_the_csv_logger_writes_the_curves(seed0):
    assert list(logged(seed0, "val/angular_error").values()) == pytest.approx([rows_of(seed0)[0]["val/angular_error"]])
    assert len(logged(seed0, "train/loss_step")) == 6


def test_tensorboard_beside_csv_gets_the_curves_and_the_pictures(seed0):
    events = EventAccumulator(str(seed0.folder / "tensorboard")).Reload()
    (value,) = events.Scalars("val/angular_error")
    assert value.value == pytest.approx(rows_of(seed0)[0]["val/angular_error"])
    assert len(events.Images("val/pictures")) == 1


def test_without_a_logger_the_curves_are_still_kept(crops, tmp_path):
    assert len(rows_of(train(crops, "logger=null", cwd=tmp_path))) == 1


@pytest.mark.slow
def test_wandb_without_a_key_writes_offline_and_says_how_to_sync(crops, tmp_path):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WANDB")}
    nobody = {"HOME": str(tmp_path / "home"), "WANDB_BASE_URL": "http://127.0.0.1:9", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "gaze_exp", *ONE_EPOCH, f"data.root={crops}", "logger=wandb", "run_name=mine"],
        cwd=tmp_path, env=environment | nobody, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (folder,) = tmp_path.glob("outputs/*/*")
    (offline,) = folder.glob("wandb/offline-run-*")
    assert f"wandb sync {folder}/wandb/offline-run-*" in done.stdout
    assert list(offline.glob("files/media/images/val/pictures*.png"))
    assert not (tmp_path / "wandb").exists()
    assert not done.stderr


def test_gradients_are_clipped_under_bf16_too(crops, tmp_path):
    run = train(crops, "hardware.precision=bf16-mixed", "trainer.gradient_clip_val=1e-6", cwd=tmp_path)
    (optimizer,) = last(run)["optimizer_states"]
    averages = torch.cat([state["exp_avg"].flatten() for state in optimizer["state"].values()])
    assert 0 < averages.norm() <= 1e-6
