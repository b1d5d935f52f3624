"""Data that cannot be used: one message that says where, what and what to do, and nothing left behind."""

import shutil

import h5py
import numpy as np
import pytest
from conftest import TINY, program


def refused(root, *, cwd):
    """The message with which the EVE task refuses a folder."""
    done = program(
        "task=eve_baseline", "model=gazetr_tiny", "hardware=cpu", "logger=csv", "global_batch=16", f"data.root={root}",
        cwd=cwd,
    )  # fmt: skip
    assert done.code == 2, done.out
    assert done.err.startswith("error: ")
    assert "Traceback" not in done.err
    assert not list(cwd.glob("outputs/*/*"))
    return done.err


def rewrite(path, name, change):
    """Replace one array of a crop file; None takes it away."""
    with h5py.File(path, "r+") as file:
        values = file[name][:]
        del file[name]
        if change is not None:
            file[name] = change(values)
    return path


def file_of(root, split="train01", person="p1"):
    return root / split / f"participant_{person}" / "frames_basler.h5"


def test_a_missing_folder_is_named_with_both_ways_on(tmp_path):
    text = refused(tmp_path / "nowhere", cwd=tmp_path)
    assert f"{tmp_path}/nowhere is not there" in text
    assert "data=synthetic" in text
    assert "convert the official release (docs/eve.md)" in text


def test_an_empty_folder_says_what_was_looked_for(tmp_path):
    (tmp_path / "empty").mkdir()
    text = refused(tmp_path / "empty", cwd=tmp_path)
    assert "{train,val,test}*/participant_*/frames_basler.h5" in text
    assert "data=synthetic" in text


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_split_without_a_person_is_named(split, own_crops, tmp_path):
    shutil.rmtree(own_crops / f"{split}01")
    assert f"has no {split} person" in refused(own_crops, cwd=tmp_path)


def test_a_person_in_both_splits_is_named_with_both_files(own_crops, tmp_path):
    twin = shutil.copytree(own_crops / "train01" / "participant_p1", own_crops / "val01" / "participant_p1")
    text = refused(own_crops, cwd=tmp_path)
    assert "participant_p1 is in train and in val" in text
    assert str(file_of(own_crops)) in text
    assert str(twin / "frames_basler.h5") in text


def cut_short(path):
    path.write_bytes(path.read_bytes()[:-1000])


def not_hdf5(path):
    path.write_text("hello")


def float_images(path):
    rewrite(path, "face", lambda face: (face / 255).astype(np.float32))


def degrees(path):
    rewrite(path, "gaze", np.rad2deg)


def nan_label(path):
    rewrite(path, "gaze", lambda gaze: np.where(np.arange(len(gaze))[:, None] == 3, np.nan, gaze))


def missing_eye(path):
    rewrite(path, "leye", None)


def fewer_labels(path):
    rewrite(path, "gaze", lambda gaze: gaze[:-1])


def no_frames(path):
    for name in ("face", "leye", "reye", "gaze"):
        rewrite(path, name, lambda values: values[:0])


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (cut_short, "truncated"),
        (not_hdf5, "HDF5"),
        (float_images, "face is float32; it must be uint8 RGB"),
        (degrees, "are these degrees? Store np.deg2rad(gaze)"),
        (nan_label, "gaze is NaN or infinite in 1 valid rows, first row 3"),
        (missing_eye, "no array `leye`"),
        (fewer_labels, "lengths disagree"),
        (no_frames, "holds no frames"),
    ],
)
def test_an_unusable_file_is_named_with_its_fault_and_the_remedy(spoil, expected, own_crops, tmp_path):
    path = file_of(own_crops)
    spoil(path)
    text = refused(own_crops, cwd=tmp_path)
    assert str(path) in text
    assert expected in text
    assert "1 of 2 crop files cannot be used" in text
    assert "data.skip_bad_files=true" in text


def test_a_bad_file_is_left_out_and_recorded_where_that_is_asked_for(own_crops, tmp_path):
    cut_short(file_of(own_crops))
    done = program(
        *TINY, f"data.root={own_crops}", "data.skip_bad_files=true", "trainer.max_epochs=1", "actions=[train]",
        cwd=tmp_path,
    )  # fmt: skip
    assert done.code == 0, done.err
    assert str(file_of(own_crops)) in done.out
    assert done.read("run.json")["data"]["splits"]["train"]["bad_files"] == [str(file_of(own_crops))]
