"""What a batch knows of each eye, and that it is nothing where the file says nothing."""

import h5py
import numpy as np
import pytest
import torch
from conftest import write_crops

from gaze_exp.augment import FlipAugment
from gaze_exp.data.batch_loader import BatchLoader
from gaze_exp.data.crop_dataset import CropDataset
from gaze_exp.errors import DataError

ROWS = 48


@pytest.fixture
def files(tmp_path):
    return sorted(write_crops(tmp_path / "crops").glob("train01/*/*.h5"))


def put(path, **arrays):
    with h5py.File(path, "a") as file:
        for name, values in arrays.items():
            file[name] = values


def batch_of(files):
    return next(iter(BatchLoader(CropDataset(files), batch_size=2 * ROWS, num_workers=0)))


def angles(start):
    return np.linspace(start, start + 0.2, 2 * ROWS, dtype=np.float32).reshape(ROWS, 2)


def test_files_with_the_four_arrays_say_nothing_of_the_eyes(files):
    assert not {"gaze_left", "head_left", "pupil_left_mm"} & batch_of(files).keys()


def test_each_row_brings_what_its_own_file_says_and_nan_where_it_says_nothing(files):
    put(files[1], gaze_left=angles(0.1), gaze_right=angles(0.2), valid_left=np.arange(ROWS) > 4)
    batch = batch_of(files)
    assert batch["gaze_left"].isnan()[: ROWS + 5].all()
    assert torch.equal(batch["gaze_left"][ROWS + 5 :], torch.from_numpy(angles(0.1))[5:])
    assert torch.equal(batch["gaze_right"][ROWS:], torch.from_numpy(angles(0.2)))
    assert "pupil_left_mm" not in batch


def test_one_head_pose_or_pupil_stands_for_both_eyes_until_each_has_its_own(files):
    put(files[0], head=angles(0.0), pupil_mm=np.full(ROWS, 4.0))
    batch = batch_of(files[:1])
    assert torch.equal(batch["head_left"], batch["head_right"])
    assert batch["pupil_right_mm"].eq(4.0).all()
    put(files[0], head_left=angles(0.3), pupil_right_mm=np.full(ROWS, 5.0))
    batch = batch_of(files[:1])
    assert torch.equal(batch["head_left"], torch.from_numpy(angles(0.3)))
    assert torch.equal(batch["head_right"], torch.from_numpy(angles(0.0)))
    assert batch["pupil_left_mm"].eq(4.0).all()
    assert batch["pupil_right_mm"].eq(5.0).all()


def test_an_infinite_label_is_an_unknown_one(files):
    put(files[0], pupil_mm=np.array([np.inf] + [3.0] * (ROWS - 1)))
    assert batch_of(files[:1])["pupil_left_mm"].isnan().tolist() == [True] + [False] * (ROWS - 1)


def test_eye_labels_of_another_shape_are_refused_by_name(files):
    put(files[0], gaze_left=np.zeros((ROWS, 3)))
    with pytest.raises(DataError, match=r"gaze_left is float64 \(48, 3\); numbers of shape \(48, 2\)"):
        CropDataset(files)


def test_shuffled_labels_shuffle_those_of_the_eyes_along_and_leave_the_head(files):
    put(files[0], gaze_left=angles(0.1), gaze_right=angles(0.2), head=angles(0.3))
    crops, before = CropDataset(files[:1]), CropDataset(files[:1])
    crops.shuffle_labels(seed=0)
    order = [int(np.abs(before.eyes["gaze_left"] - row).sum(1).argmin()) for row in crops.eyes["gaze_left"]]
    assert order != sorted(order)
    assert np.array_equal(crops.gaze, before.gaze[order])
    assert np.array_equal(crops.eyes["gaze_right"], before.eyes["gaze_right"][order])
    assert np.array_equal(crops.eyes["head_left"], before.eyes["head_left"])


def test_a_flip_gives_each_eye_the_mirrored_labels_of_the_other(files):
    put(files[0], gaze_left=angles(0.1), gaze_right=angles(0.2), head_left=angles(0.3), head_right=angles(0.4))
    put(files[0], pupil_left_mm=np.full(ROWS, 3.0), pupil_right_mm=np.full(ROWS, 5.0))
    batch = batch_of(files[:1])
    flipped = FlipAugment(1.0)(batch)
    mirror = torch.tensor([1.0, -1.0])
    for name in ("gaze", "head"):
        assert torch.equal(flipped[f"{name}_left"], batch[f"{name}_right"] * mirror)
        assert torch.equal(flipped[f"{name}_right"], batch[f"{name}_left"] * mirror)
    assert flipped["pupil_left_mm"].eq(5.0).all()
    assert flipped["pupil_right_mm"].eq(3.0).all()
    twice = FlipAugment(1.0)(flipped)
    assert all(torch.equal(twice[name], batch[name]) for name in batch if name not in {"face", "left_eye"})
