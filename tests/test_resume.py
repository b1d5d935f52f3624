"""A run that is stopped, however hard, and goes on ends exactly like one that was never stopped."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import TINY, Ended, program

TESTS = Path(__file__).parent

pytestmark = pytest.mark.slow


def interrupted(*arguments, cwd, at):
    """Run the program in a process of its own that gets a signal at one of its training batches."""
    path = os.pathsep.join([str(TESTS), str(TESTS.parent)])
    done = subprocess.run(
        [sys.executable, "-m", "gaze_exp", *arguments],
        cwd=cwd, env={**os.environ, "INTERRUPT": at, "PYTHONPATH": path}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return Ended(done.returncode, done.stdout, done.stderr, cwd)


def settings(crops):
    """Dropout, augmentation, two batches a step; 12 batches an epoch, of which validation comes after 6 and 12."""
    return (
        *TINY, f"data.root={crops}", "augment._target_=interrupted.Interrupted", "hardware.max_device_batch=8",
        "trainer.val_check_interval=0.6", "actions=[train]",
    )  # fmt: skip


@pytest.fixture(scope="module")
def uninterrupted(crops, tmp_path_factory):
    done = program(*settings(crops), cwd=tmp_path_factory.mktemp("uninterrupted"))
    assert done.code == 0, done.err
    return done


@pytest.fixture(scope="module")
def killed_twice(crops, tmp_path_factory):
    """Killed within step 11 (its last checkpoint is of step 9, mid-epoch), then in step 13 (of 12, an epoch's end)."""
    cwd = tmp_path_factory.mktemp("killed")
    first = interrupted(*settings(crops), cwd=cwd, at="9@22")
    assert first.code == -signal.SIGKILL, first.err
    assert last(first)["global_step"] == 9
    second = interrupted(f"resume={first.folder}", cwd=cwd, at="9@8")
    assert second.code == -signal.SIGKILL, second.err
    assert last(second)["global_step"] == 12
    third = program(f"resume={first.folder}", cwd=cwd)
    assert third.code == 0, third.err
    return third


def last(run):
    return torch.load(run.folder / "checkpoints" / "last.ckpt", weights_only=True)


def assert_same(one, other, *, at):
    """Equal bit for bit, whatever it holds."""
    if isinstance(one, dict):
        assert one.keys() == other.keys(), at
        for name in one:
            assert_same(one[name], other[name], at=f"{at}.{name}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), at
        for index, (a, b) in enumerate(zip(one, other, strict=True)):
            assert_same(a, b, at=f"{at}[{index}]")
    else:
        assert torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other, at


@pytest.mark.parametrize("part", ["state_dict", "optimizer_states", "lr_schedulers", "loops", "global_step", "epoch"])
def test_a_killed_run_ends_bit_for_bit_like_one_that_was_not(part, uninterrupted, killed_twice):
    assert last(uninterrupted)["global_step"] == 18
    assert_same(last(uninterrupted)[part], last(killed_twice)[part], at=part)


def test_its_curves_and_its_best_checkpoints_are_the_same(uninterrupted, killed_twice):
    assert killed_twice.read("history.json") == uninterrupted.read("history.json")
    kept = [sorted(p.name for p in (run.folder / "checkpoints").iterdir()) for run in (uninterrupted, killed_twice)]
    assert kept[0] == kept[1]


def test_it_goes_on_in_its_own_folder_with_its_own_settings(uninterrupted, killed_twice):
    assert len(list(killed_twice.cwd.glob("outputs/*/*"))) == 1
    (was, done) = (run.read("run.json") for run in (uninterrupted, killed_twice))
    assert done["overrides"] == was["overrides"]
    again = [*was["overrides"], f"resume={killed_twice.folder}"]
    assert [each["overrides"] for each in done["resumed"]] == [again, again]


def test_its_record_keeps_the_command_that_repeats_it(uninterrupted, killed_twice):
    assert killed_twice.read("run.json")["command"] == uninterrupted.read("run.json")["command"]


def test_a_resumed_run_keeps_what_the_csv_logger_wrote_before(killed_twice):
    logged = [file.read_text() for file in sorted(killed_twice.folder.glob("csv/*/metrics.csv"))]
    assert len(logged) == 3
    assert "val/angular_error" in logged[0]


def test_a_finished_run_that_is_resumed_says_its_result_and_changes_nothing(uninterrupted):
    before = last(uninterrupted)
    again = program(f"resume={uninterrupted.folder}", cwd=uninterrupted.cwd)
    assert again.code == 0, again.err
    assert "best val angular error" in again.out
    assert_same(before["state_dict"], last(again)["state_dict"], at="state_dict")


@pytest.fixture(scope="module")
def stopped(crops, tmp_path_factory):
    """Ctrl-C in step 5, after the checkpoint of step 3."""
    return interrupted(*settings(crops), cwd=tmp_path_factory.mktemp("stopped"), at=f"{int(signal.SIGINT)}@10")


def test_ctrl_c_ends_with_130_and_says_how_to_go_on(stopped):
    assert stopped.code == 130, stopped.err
    assert "go on with: " in stopped.out
    assert f"-m gaze_exp resume={stopped.folder}" in stopped.out
    assert "Traceback" not in stopped.err


def test_ctrl_c_leaves_no_half_written_file(stopped):
    left = [path for path in stopped.folder.rglob("*") if path.is_file()]
    assert not [path for path in left if "partial" in path.name or path.stat().st_size == 0]
    assert last(stopped)["global_step"] in {3, 4}
    assert len(stopped.read("history.json")["rows"]) == 1
