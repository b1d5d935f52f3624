"""`task=synthetic` as a person types it: every layout, what it refuses, and Ctrl-C."""

import os
import signal
import subprocess
import sys
import threading
import time

import cv2
import pytest
from conftest import program

from gaze_exp.data.disk_space import readable_bytes
from gaze_exp.data.synthetic.jobs import alone_in
from gaze_exp.data.synthetic.set_plan import MANIFEST, SetPlan
from gaze_exp.errors import ConfigError

SMALL = ("synthetic.face_size=16", "synthetic.eye_size=16", "synthetic.steps=1", "synthetic.frame_width=0")


def synthetic(cwd, *arguments):
    return program("task=synthetic", *SMALL, *arguments, cwd=cwd)


def contents(root):
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


@pytest.mark.parametrize(("layout", "files"), [("crops", "*.h5"), ("eve", "*.mp4"), ("calibration", "img_*.jpg")])
def test_every_layout_is_written_with_a_contact_sheet_and_found_again(tmp_path, layout, files):
    typed = (f"layout={layout}", "data.root=people", "persons=2", "frames=2", "seed=3")
    done = synthetic(tmp_path, *typed)
    assert done.code == 0, done.err
    assert "contact sheet: people/contact_sheet.png" in done.out
    assert cv2.imread(str(tmp_path / "people" / "contact_sheet.png")).std() > 10
    assert list((tmp_path / "people").rglob(files))
    before = contents(tmp_path / "people")
    again = synthetic(tmp_path, *typed)
    assert "all of it is in people already" in again.out
    assert contents(tmp_path / "people") == before


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["crops", "eve", "calibration"])
def test_ctrl_c_leaves_whole_parts_and_the_same_command_goes_on_to_the_same_bytes(tmp_path, layout):
    num_persons, num_frames = (8, 40) if layout == "crops" else (4, 2)
    typed = (f"layout={layout}", f"persons={num_persons}", f"frames={num_frames}", "seed=1")
    assert synthetic(tmp_path, *typed, "data.root=whole").code == 0
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    pattern = {"crops": "*/*/*.h5", "eve": "*/step*", "calibration": "*/calibration_data"}[layout]

    def press_ctrl_c():
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and not list(stopped.glob(pattern)):
            time.sleep(0.001)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=press_ctrl_c).start()
    done = synthetic(tmp_path, *typed, "data.root=stopped")
    assert done.code == 130
    assert "the same command goes on" in done.out
    parts = len(list(stopped.glob(pattern)))
    assert 0 < parts < len(list(whole.glob(pattern)))
    assert not list(stopped.rglob("*.partial"))

    assert synthetic(tmp_path, *typed, "data.root=stopped").code == 0
    assert contents(stopped) == contents(whole)


def refused(cwd, *arguments):
    done = synthetic(cwd, *arguments)
    assert done.code == 2
    assert not list(cwd.rglob("*.h5")) + list(cwd.rglob("*.mp4")) + list(cwd.rglob("*.jpg"))
    return done.err


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("layout=mpii", "error: layout: 'mpii' is none; crops, eve, calibration are"),
        ("persons=0", "error: persons: 0 is too small; 1 or more"),
        ("frames=0", "error: frames: 0 is too small; 1 or more"),
        ("synthetic.targets=10", "error: synthetic.targets: 10 is no grid; 9, 16, 32 are"),
        ("synthetic.frame_width=100", "error: synthetic.frame_width: 100 px cannot be 16:9"),
        ("synthetic.val_seed=0", "error: synthetic.val_seed: 0 draws in val01 the person of train01 once more"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused_by_its_key(tmp_path, typed, said):
    assert refused(tmp_path, "data.root=people", "persons=6", typed).startswith(said)
    assert not (tmp_path / "people").exists()


def test_a_folder_with_something_else_in_it_is_refused_and_left_alone(tmp_path):
    (tmp_path / "people").mkdir()
    (tmp_path / "people" / "thesis.tex").write_text("precious")
    error = refused(tmp_path, "data.root=people", "persons=1", "frames=1")
    assert "people holds something else already: thesis.tex" in error
    assert (tmp_path / "people" / "thesis.tex").read_text() == "precious"
    assert not (tmp_path / "people" / MANIFEST).exists()


def test_another_set_is_not_mixed_into_one_that_is_there(tmp_path):
    typed = ("layout=crops", "data.root=people", "persons=1", "frames=1")
    assert synthetic(tmp_path, *typed, "seed=1").code == 0
    before = contents(tmp_path / "people")
    done = synthetic(tmp_path, *typed, "seed=2")
    assert done.code == 2
    assert "people holds another synthetic data set (seed=1 there, 2 here)" in done.err
    assert contents(tmp_path / "people") == before


def test_a_target_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    assert "data.root: cannot write to file/people" in refused(tmp_path, "data.root=file/people", "persons=1")


def test_a_disk_that_is_too_small_is_told_before_anything_is_rendered(tmp_path):
    error = refused(tmp_path, "data.root=people", "persons=1", "frames=1000000000000")
    assert "TB and its disk has" in error
    assert [readable_bytes(n) for n in (0, 4_200, 80_500_000, 999_600_000, 10**13)] == [
        "0.0 kB", "4.2 kB", "80 MB", "1.0 GB", "10 TB",
    ]  # fmt: skip


def test_a_second_run_says_that_it_waits_for_the_first(tmp_path):
    with alone_in(tmp_path / "people"):
        command = [
            sys.executable,
            "-m",
            "gaze_exp",
            "task=synthetic",
            *SMALL,
            "data.root=people",
            "persons=1",
            "frames=1",
        ]
        second = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        said = []
        for line in second.stdout:
            said.append(line)
            if "waiting" in line:
                break
        assert "another run is writing to people; waiting until it has ended" in said[-1]
        assert not list((tmp_path / "people").rglob("*.h5"))
    rest, _ = second.communicate(timeout=120)
    assert second.returncode == 0, rest
    assert list((tmp_path / "people").rglob("*.h5"))


def test_a_validation_seed_of_its_own_draws_other_people_whatever_the_training_set():
    few, many = (SetPlan(layout="crops", persons=n, frames=1, seed=1, val_seed=7).recordings for n in (6, 20))
    (mine,) = (one for one in few if one.folder == "val01")
    (same,) = (one for one in many if one.folder == "val01")
    assert (mine.seed, mine.drawn) == (same.seed, same.drawn) == (7, 1)
    with pytest.raises(ConfigError, match=r"synthetic\.test_seed: 7 draws in test01 the person of val01"):
        SetPlan(layout="crops", persons=6, frames=1, seed=1, val_seed=7, test_seed=7)


def test_fifty_four_persons_are_split_as_the_release_is():
    folders = [one.folder for one in SetPlan(layout="eve", persons=54, frames=2, seed=0).recordings]
    assert [folders[0], folders[38], folders[39], folders[43], folders[44], folders[53]] == [
        "train01", "train39", "val01", "val05", "test01", "test10",
    ]  # fmt: skip
