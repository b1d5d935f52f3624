"""Predictions of a crop file or of pictures: the same wherever the pixels come from."""

import csv
import shutil
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
import torch
from conftest import program

PREDICTED = ("predicted_pitch_deg", "predicted_yaw_deg")


def predict(checkpoint, source, *overrides, cwd):
    return program(
        "actions=[predict]", f"checkpoint={checkpoint}", "hardware=cpu", f"predict.source={source}", *overrides, cwd=cwd
    )


def rows_of(run):
    assert run.code == 0, run.err
    with (run.folder / "predictions.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def angles(rows):
    return np.array([[float(row[name]) for name in PREDICTED] for row in rows])


@pytest.fixture(scope="module")
def crop_file(crops):
    return crops / "test01" / "participant_p4" / "frames_basler.h5"


@pytest.fixture(scope="module")
def from_file(checkpoint, crop_file, tmp_path_factory):
    return predict(checkpoint, crop_file, cwd=tmp_path_factory.mktemp("from_file"))


@pytest.fixture(scope="module")
def pictures(crop_file, tmp_path_factory):
    """The same rows as a folder of pictures, last row first in the folder's own order."""
    folder = tmp_path_factory.mktemp("pictures")
    with h5py.File(crop_file) as file:
        for part in ("face", "leye", "reye"):
            for index, image in enumerate(file[part]):
                cv2.imwrite(str(folder / f"frame{index:02d}_{part}.png"), image[..., ::-1])
    return folder


@pytest.fixture
def own_pictures(pictures, tmp_path):
    return Path(shutil.copytree(pictures, tmp_path / "own_pictures"))


def test_a_crop_file_gets_a_line_for_each_row_and_a_picture(from_file):
    rows = rows_of(from_file)
    assert [int(row["row"]) for row in rows] == list(range(48))
    assert {row["subject"] for row in rows} == {"participant_p4"}
    assert cv2.imread(str(from_file.folder / "predictions.png")) is not None


def test_predictions_are_those_that_evaluation_measured(trained, from_file):
    with (trained.folder / "predictions.csv").open(newline="") as file:
        measured = [row for row in csv.DictReader(file) if row["subject"] == "participant_p4"]
    np.testing.assert_allclose(angles(rows_of(from_file)), angles(measured), atol=1e-4)


def test_a_file_without_labels_gets_the_same_predictions_and_no_error(checkpoint, crop_file, from_file, tmp_path):
    unlabelled = Path(shutil.copy(crop_file, tmp_path / "unlabelled.h5"))
    with h5py.File(unlabelled, "r+") as file:
        del file["gaze"]
    rows = rows_of(predict(checkpoint, unlabelled, cwd=tmp_path))
    assert (angles(rows) == angles(rows_of(from_file))).all()
    assert {row["error_deg"] for row in rows} == {""}


def test_pictures_get_the_same_predictions_and_their_own_names(checkpoint, pictures, from_file, tmp_path):
    rows = rows_of(predict(checkpoint, pictures, cwd=tmp_path))
    assert [row["subject"] for row in rows] == [f"frame{index:02d}" for index in range(48)]
    np.testing.assert_allclose(angles(rows), angles(rows_of(from_file)), atol=1e-4)


def test_pictures_of_another_size_and_kind_are_resized(checkpoint, own_pictures, tmp_path):
    for path in own_pictures.glob("frame0[1-9]*"):
        path.unlink()
    face = own_pictures / "frame00_face.png"
    cv2.imwrite(str(own_pictures / "frame00_face.JPG"), cv2.resize(cv2.imread(str(face)), (100, 100)))
    face.unlink()
    rows = rows_of(predict(checkpoint, own_pictures, cwd=tmp_path))
    assert "frame00" in {row["subject"] for row in rows}


def test_eyes_are_read_as_the_checkpoint_was_trained(checkpoint, crop_file, tmp_path):
    usual, swapped = (Path(shutil.copy(crop_file, tmp_path / name)) for name in ("usual.h5", "swapped.h5"))
    for path, one_eye in ((usual, "leye"), (swapped, "reye")):
        with h5py.File(path, "r+") as file:
            file[one_eye][:, :8] = 0
    saved = torch.load(checkpoint, weights_only=True)
    saved["gaze_exp"]["config"]["data"]["swap_eyes"] = True
    torch.save(saved, tmp_path / "swapping.ckpt")
    expected = angles(rows_of(predict(checkpoint, usual, cwd=tmp_path / "1")))
    assert (angles(rows_of(predict(tmp_path / "swapping.ckpt", swapped, cwd=tmp_path / "2"))) == expected).all()
    assert (angles(rows_of(predict(checkpoint, swapped, "data.swap_eyes=true", cwd=tmp_path / "3"))) == expected).all()
    assert (angles(rows_of(predict(checkpoint, swapped, cwd=tmp_path / "4"))) != expected).any()


def missing_eye(folder):
    (folder / "frame03_leye.png").unlink()


def undecodable(folder):
    (folder / "frame03_face.png").write_text("hello")


def not_square(folder):
    cv2.imwrite(str(folder / "frame03_reye.png"), np.zeros((16, 24, 3), np.uint8))


def no_pictures(folder):
    for path in folder.iterdir():
        path.unlink()


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (missing_eye, "frame03_leye.png is missing; the model reads face, leye, reye"),
        (undecodable, "frame03_face.png: cannot be decoded as a picture; replace or remove it"),
        (not_square, "frame03_reye.png: is 24 x 16; a crop is square"),
        (no_pictures, "no picture named NAME_face.png"),
        (shutil.rmtree, "there is no such file or folder"),
    ],
)
def test_pictures_that_cannot_be_used_are_named_in_one_line(spoil, expected, checkpoint, own_pictures, tmp_path):
    spoil(own_pictures)
    done = predict(checkpoint, own_pictures, cwd=tmp_path)
    assert done.code == 2
    assert done.err.startswith(f"error: {own_pictures}")
    assert expected in done.err
    assert done.err.count("\n") == 1
    assert not list(tmp_path.glob("outputs/*/*"))


def test_no_source_says_what_would_be_one(checkpoint, tmp_path):
    done = predict(checkpoint, "null", cwd=tmp_path)
    assert done.code == 2
    assert done.err.startswith("error: predict.source: nothing given; a crop file (.h5) or a folder of")


def test_a_truncated_crop_file_is_named(checkpoint, crop_file, tmp_path):
    short = tmp_path / "short.h5"
    short.write_bytes(crop_file.read_bytes()[:-1000])
    done = predict(checkpoint, short, cwd=tmp_path)
    assert done.code == 2
    assert str(short) in done.err
    assert "truncated" in done.err
