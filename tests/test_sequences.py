"""Windows: frames that follow each other, and nothing else."""

import itertools

import numpy as np
import pytest
import torch
from crop_samples import crop_path, sample_rows, write_plain

from gaze_exp.data.batch_loader import BatchLoader
from gaze_exp.data.crop_dataset import CropDataset
from gaze_exp.data.datamodule import CropDataModule
from gaze_exp.data.sequences import PADDING, read_runs, windows
from gaze_exp.errors import ConfigError, DataError

STEPS = np.repeat([4, 9], [11, 9])
INDEX = np.concatenate([6 * np.arange(11), 6 * np.arange(9)])


def rows_of(**changed):
    given = {"step_id": STEPS, "frame_index": INDEX, "timestamp": INDEX * 16_666_667 + 10**15} | changed
    return sample_rows(20) | {name: values for name, values in given.items() if values is not None}


def runs_of(tmp_path, **changed):
    return read_runs(write_plain(tmp_path / "a.h5", rows_of(**changed)), num_rows=20)


def starts(runs):
    return [0, *(np.flatnonzero(np.diff(runs)) + 1)]


def dropped(*rows):
    """The frame numbers of a file from which these rows are missing: later ones move up."""
    kept = np.setdiff1d(np.arange(30), rows)
    return 6 * kept[:20]


def test_a_run_ends_where_the_step_does(tmp_path):
    assert starts(runs_of(tmp_path)) == [0, 11]


@pytest.mark.parametrize(("frame_index", "timestamp"), [(True, False), (False, True), (True, True)])
def test_a_run_ends_at_a_frame_that_is_missing(tmp_path, frame_index, timestamp):
    index = dropped(7)
    clocks = {"frame_index": index if frame_index else None, "timestamp": index * 16_667 if timestamp else None}
    assert starts(runs_of(tmp_path, step_id=np.zeros(20, int), **clocks)) == [0, 7]


def test_one_clock_is_enough_to_see_a_gap(tmp_path):
    late = INDEX * 16_667 + np.where(np.arange(20) >= 5, 10**6, 0)
    assert starts(runs_of(tmp_path, timestamp=late)) == [0, 5, 11]


def test_a_clock_that_wavers_makes_no_gap(tmp_path):
    wavering = INDEX * 16_667 + np.random.default_rng(0).integers(-20_000, 20_000, 20)
    assert starts(runs_of(tmp_path, frame_index=None, timestamp=wavering)) == [0, 11]


def test_a_clock_that_goes_back_ends_a_run(tmp_path):
    index = INDEX.copy()
    index[6:11] -= 60
    assert starts(runs_of(tmp_path, frame_index=index, timestamp=None)) == [0, 6, 11]


def test_time_stamps_that_are_all_zero_say_nothing(tmp_path):
    assert starts(runs_of(tmp_path, timestamp=np.zeros(20, int))) == [0, 11]


@pytest.mark.parametrize(
    ("lacking", "named"), [(("step_id",), "step_id"), (("frame_index", "timestamp"), "frame_index or timestamp")]
)
def test_files_without_order_refuse_windows_and_say_why(tmp_path, lacking, named):
    path = write_plain(tmp_path / "a.h5", rows_of(**dict.fromkeys(lacking)))
    with pytest.raises(DataError, match=f"{path}.*`{named}`.*sequence_length=1"):
        CropDataset([path]).windows(4)


def test_windows_hold_each_row_once_in_order_and_never_cross_a_run():
    runs = np.repeat([0, 1, 2, 3], [17, 1, 16, 5])
    cut = windows(runs, length=8)
    assert cut.shape == (3 + 1 + 2 + 1, 8)
    assert [r for r in cut.ravel() if r != PADDING] == list(range(39))
    for window in cut:
        there = window[window != PADDING]
        assert (window[: len(there)] == there).all()
        assert len(set(runs[there])) == 1
        assert (np.diff(there) == 1).all()
    assert sorted((window != PADDING).sum() for window in cut) == [1, 5, 5, 6, 6, 8, 8]


def test_a_stride_leaves_frames_out_of_a_window_and_every_phase_takes_them_up_again():
    runs = np.zeros(10, int)
    assert windows(runs, length=4, every=3).tolist() == [[0, 3, 6, 9]]
    assert windows(runs, length=4, every=3, every_phase=True).tolist() == [
        [0, 3, 6, 9], [1, 4, 7, PADDING], [2, 5, 8, PADDING],
    ]  # fmt: skip


@pytest.fixture
def crops(tmp_path):
    validity = np.ones(20, bool)
    validity[[2, *range(16, 20)]] = False
    paths = [
        write_plain(tmp_path / f"{name}.h5", rows_of(validity=validity) | {"head": np.ones((20, 2))}) for name in "ab"
    ]
    return CropDataset(paths)


def test_windows_of_many_files_keep_apart_and_those_without_a_label_are_left_out(crops):
    cut = crops.windows(4)
    assert cut.tolist()[:5] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, -1], [11, 12, 13, -1], [14, 15, 16, -1]]
    assert cut.tolist()[5:] == (np.where(cut[:5] >= 0, cut[:5] + 20, -1)).tolist()
    assert len(crops.windows(4, need_label=False)) == 12


def test_a_batch_of_windows_has_their_pixels_labels_and_masks(crops):
    (batch,) = BatchLoader(crops, batch_size=10, rows=crops.windows(4))
    assert batch["face"].shape == (10, 4, 3, 8, 8)
    assert batch["face"].flatten(0, 1).is_contiguous(memory_format=torch.channels_last)
    assert batch["gaze"].shape == batch["head"].shape == (10, 4, 2)
    pixels = sample_rows(20)
    for window, rows in enumerate(batch["row"].tolist()):
        for time, row in enumerate(rows):
            shown = (row if row >= 0 else rows[0]) % 20
            for key, stored in (("face", "face"), ("left_eye", "leye"), ("right_eye", "reye")):
                np.testing.assert_array_equal(batch[key][window, time].permute(1, 2, 0), pixels[stored][shown])
    assert batch["valid"].tolist()[0] == [True, True, False, True]
    assert not batch["valid"][batch["row"] < 0].any()
    assert batch["subject"].shape == (10, 4)


@pytest.mark.parametrize("shuffle", [False, True])
def test_a_resumed_pass_over_windows_gives_exactly_the_rest(crops, shuffle):
    def make():
        return BatchLoader(crops, batch_size=3, shuffle=shuffle, rows=crops.windows(4))

    def seen(loader):
        return [batch["row"].tolist() for batch in loader]

    loader = make()
    loader.set_epoch(2)
    first = [batch["row"].tolist() for batch in itertools.islice(loader, 2)]
    resumed = make()
    resumed.load_state_dict(loader.state_dict())
    resumed.set_epoch(2)
    whole = make()
    whole.set_epoch(2)
    assert first + seen(resumed) == seen(whole)


@pytest.fixture
def root(tmp_path):
    for split, person in (("train01", 1), ("val01", 2)):
        write_plain(crop_path(tmp_path, split, person), rows_of())
    return tmp_path


def test_batch_sizes_count_frames(root):
    data = CropDataModule(root, batch_size=8, eval_batch_size=12, sequence_length=4, num_workers=0)
    assert next(iter(data.train_dataloader()))["gaze"].shape == (2, 4, 2)
    assert [len(batch["gaze"]) for batch in data.val_dataloader()] == [3, 3]
    single = CropDataModule(root, batch_size=8, num_workers=0)
    assert next(iter(single.train_dataloader()))["gaze"].shape == (8, 2)


def test_evaluation_may_look_further_back_and_still_takes_each_frame_once(root):
    data = CropDataModule(root, batch_size=8, sequence_length=4, eval_sequence_length=16, num_workers=0, frame_stride=2)
    rows = torch.cat([batch["row"].flatten() for batch in data.val_dataloader()])
    assert sorted(rows[rows >= 0].tolist()) == list(range(20))
    assert {batch["row"].shape[1] for batch in data.val_dataloader()} == {16}


def test_a_batch_that_is_no_whole_number_of_windows_is_refused(root):
    with pytest.raises(ConfigError, match=r"global_batch: 10 frames.*windows of 4"):
        CropDataModule(root, batch_size=10, sequence_length=4).train_dataloader()
