import logging
import warnings

import h5py
import lightning
import numpy as np
import pytest
import torch
from crop_samples import crop_path, sample_rows, write_plain, write_root
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn

from gaze_exp.data.crops import CropWriter
from gaze_exp.data.datamodule import CropDataModule
from gaze_exp.errors import ConfigError, DataError


def test_splits_are_loaded_by_person(tmp_path):
    data = CropDataModule(write_root(tmp_path, train=2, val=1, test=1), batch_size=4, eval_batch_size=7)
    data.setup("fit")
    assert data.train.subjects == ["participant_001", "participant_002"]
    assert data.val.subjects == ["participant_003"]
    assert (data.test_split, data.test.subjects) == ("test", ["participant_004"])
    assert len(list(data.train_dataloader())) == 5
    assert sum(len(batch["row"]) for batch in data.val_dataloader()) == 10
    assert sum(len(batch["row"]) for batch in data.test_dataloader()) == 10


@pytest.mark.parametrize("labels", ["absent", "all invalid"])
def test_a_test_split_without_labels_gives_way_to_validation(tmp_path, labels):
    root = write_root(tmp_path)
    rows = sample_rows(3)
    if labels == "absent":
        del rows["gaze"]
    else:
        rows |= {"gaze": np.full((3, 2), np.nan), "validity": np.zeros(3, bool)}
    write_plain(crop_path(root, "test01", 9), rows)
    data = CropDataModule(root)
    data.setup("test")
    assert data.test_split == "val"
    assert data.test is data.val
    reason = "unlabelled" if labels == "absent" else "invalid"
    assert data.summary()["splits"]["test"]["dropped"] == {reason: 3}


def test_the_constant_baseline_is_the_mean_of_valid_training_labels(tmp_path):
    root = write_root(tmp_path, train=0)
    rows = sample_rows(3) | {"validity": np.array([True, False, True])}
    rows["gaze"] = np.array([[0.1, -0.2], [np.nan, 9], [0.3, -0.6]], np.float32)
    write_plain(crop_path(root, "train01", 9), rows)
    torch.testing.assert_close(CropDataModule(root).train_mean_gaze, torch.tensor([0.2, -0.4]))


def test_a_person_in_two_splits_is_refused(tmp_path):
    root = write_root(tmp_path)
    path = crop_path(root, "val02", 1)
    write_plain(path, sample_rows(2))
    with pytest.raises(DataError, match=r"participant_001 is in train and in val: .*person_id=folder"):
        CropDataModule(root).setup("fit")
    CropDataModule(root, person_id="folder").setup("fit")


def test_the_files_own_participant_counts_as_the_person(tmp_path):
    root = write_root(tmp_path)
    write_plain(crop_path(root, "val02", 77), sample_rows(2), attrs={"participant": "participant_002"})
    with pytest.raises(DataError, match=r"participant_002 is in train and in val"):
        CropDataModule(root).setup("fit")


@pytest.mark.parametrize(("missing", "message"), [("train", "no train person"), ("val", "no val person")])
def test_a_missing_split_is_refused_for_training_only(tmp_path, missing, message):
    root = write_root(tmp_path, **{missing: 0}, test=1)
    with pytest.raises(DataError, match=message):
        CropDataModule(root).setup("fit")
    data = CropDataModule(root)
    data.setup("test")
    assert len(list(data.test_dataloader())) == 1


def test_a_missing_root_ends_in_the_two_ways_on(tmp_path):
    with pytest.raises(DataError, match=r"data\.root: .* is not there .*data=synthetic.*convert"):
        CropDataModule(tmp_path / "nowhere").setup("fit")


def test_labels_that_are_all_invalid_are_refused(tmp_path):
    root = write_root(tmp_path, val=0)
    write_plain(crop_path(root, "val01", 9), sample_rows(3) | {"validity": np.zeros(3, bool)})
    with pytest.raises(DataError, match="no val row has a valid label"):
        CropDataModule(root).setup("fit")


def test_splits_of_different_size_are_refused(tmp_path):
    root = write_root(tmp_path, val=0)
    write_plain(crop_path(root, "val01", 9), sample_rows(3, face=16))
    with pytest.raises(DataError, match="crops of val"):
        CropDataModule(root).setup("fit")


@pytest.mark.parametrize("name", ["batch_size", "eval_batch_size"])
def test_impossible_sizes_are_refused_by_name(tmp_path, name):
    with pytest.raises(ConfigError, match=rf"data\.{name}: 0"):
        CropDataModule(tmp_path, **{name: 0})


def test_a_batch_larger_than_the_data_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"global_batch: more than the 20 rows .* global_batch=16 would be right"):
        CropDataModule(write_root(tmp_path)).train_dataloader()


def test_slow_files_and_unknown_colours_are_told_once(tmp_path, caplog):
    root = write_root(tmp_path)
    for number, split in enumerate(("train08", "val08")):
        write_plain(crop_path(root, split, 20 + number), sample_rows(4), layout="lzf and shuffle", attrs={})
    data = CropDataModule(root)
    data.setup("fit")
    data.setup("test")
    slow, colour = caplog.messages
    for part in ("2 of 5", "lzf", "ms a row", "actions=[repack]", "data.root=", "repack.to="):
        assert part in slow
    for part in ("2 crop files", "color_order", "data.colour_order=bgr"):
        assert part in colour


def test_fast_files_that_tell_their_colour_say_nothing(tmp_path, caplog):
    CropDataModule(write_root(tmp_path)).setup("fit")
    assert not caplog.messages


def test_the_summary_counts_what_was_kept_and_why_not(tmp_path):
    root = write_root(tmp_path)
    write_plain(crop_path(root, "train09", 9), sample_rows(4) | {"validity": np.array([1, 0, 0, 1])})
    broken = crop_path(root, "train10", 10)
    write_plain(broken, sample_rows(4))
    broken.write_bytes(broken.read_bytes()[:999])
    data = CropDataModule(root, skip_bad_files=True)
    data.setup("fit")
    told = data.summary()
    train = told["splits"]["train"]
    assert (train["files"], train["rows"], train["kept"], train["dropped"]) == (3, 24, 22, {"invalid": 2})
    assert train["bad_files"] == [str(broken)]
    assert train["persons"] == ["participant_001", "participant_002", "participant_009"]
    assert told["hash"] == CropDataModule(root, skip_bad_files=True, shuffle_labels=True).summary()["hash"]
    with h5py.File(crop_path(root, "train09", 9), "a") as file:
        file["gaze"][0] += 0.01
    assert told["hash"] != CropDataModule(root, skip_bad_files=True).summary()["hash"]


def test_shuffled_labels_touch_training_only(tmp_path):
    root = write_root(tmp_path)
    plain, shuffled = CropDataModule(root), CropDataModule(root, shuffle_labels=True)
    assert (plain.train.gaze != shuffled.train.gaze).any()
    np.testing.assert_array_equal(plain.val.gaze, shuffled.val.gaze)
    torch.testing.assert_close(plain.train_mean_gaze, shuffled.train_mean_gaze)


class Recorder(lightning.LightningModule):
    """Trains a weight and notes the rows of every step."""

    def __init__(self, *, stop_after=None):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2))
        self.stop_after = stop_after
        self.seen = []

    def training_step(self, batch, batch_idx):
        if self.stop_after is not None and len(self.seen) == self.stop_after:
            raise Killed
        self.seen.append((self.current_epoch, batch["row"].tolist()))
        return (self.weight - batch["gaze"]).square().mean()

    def validation_step(self, batch, batch_idx):
        assert batch["face"].dtype == torch.uint8
        self.log("val_loss", (self.weight - batch["gaze"]).square().mean())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Killed(Exception):
    pass


def fit(root, module, *, folder, checkpoint=None, **checkpointing):
    data = CropDataModule(root, batch_size=4, num_workers=2)
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_epochs=3,
        val_check_interval=0.5,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[ModelCheckpoint(folder, save_top_k=-1, filename="{epoch}-{step}", **checkpointing)],
    )
    trainer.fit(module, data, ckpt_path=checkpoint)
    return module


@pytest.fixture
def quiet():
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


# 40 rows in 10 batches; half an epoch is 5 steps.
@pytest.mark.parametrize(
    ("checkpointing", "killed_at", "saved_at"),
    [
        ({"every_n_train_steps": 3}, 8, 6),  # in the middle of the first epoch
        ({"every_n_train_steps": 3}, 17, 15),  # at a validation in the middle of the second
        ({"every_n_train_steps": 7}, 15, 14),  # in the middle of the second
        ({"every_n_train_steps": 10}, 13, 10),  # behind the last batch of an epoch
        ({"every_n_train_steps": 10}, 23, 20),
        ({"monitor": "val_loss"}, 8, 5),  # while validating in the middle of an epoch
        ({"monitor": "val_loss"}, 12, 10),  # while validating at its end
        ({"monitor": "val_loss"}, 18, 15),
        ({"save_on_train_epoch_end": True}, 25, 20),  # behind its end
    ],
)
def test_a_killed_training_goes_on_with_exactly_the_rows_left(tmp_path, quiet, checkpointing, killed_at, saved_at):
    root = write_root(tmp_path / "data", train=4)
    whole = fit(root, Recorder(), folder=tmp_path / "whole", **checkpointing)
    assert len(whole.seen) == 30
    killed = Recorder(stop_after=killed_at)
    with pytest.raises(Killed):
        fit(root, killed, folder=tmp_path / "killed", **checkpointing)
    assert killed.seen == whole.seen[:killed_at]
    (checkpoint,) = (tmp_path / "killed").glob(f"*step={saved_at}.ckpt")
    resumed = fit(root, Recorder(), folder=tmp_path / "resumed", checkpoint=checkpoint, **checkpointing)
    assert resumed.seen == whole.seen[saved_at:]
    torch.testing.assert_close(resumed.weight, whole.weight, rtol=0, atol=0)


def test_overfitting_repeats_the_same_batch(tmp_path, quiet):
    data = CropDataModule(write_root(tmp_path), batch_size=4)
    module = Recorder()
    options = {"logger": False, "enable_progress_bar": False, "enable_checkpointing": False}
    lightning.Trainer(accelerator="cpu", max_epochs=3, overfit_batches=1, **options).fit(module, data)
    assert len(module.seen) == 3
    assert len({str(rows) for _, rows in module.seen}) == 1


def test_a_partial_file_is_never_read(tmp_path):
    root = write_root(tmp_path)
    writer = CropWriter(crop_path(root, "train07", 70), num_rows=5, face_size=8, eye_size=4)
    with pytest.raises(KeyboardInterrupt), writer:
        writer.append(sample_rows(2))
        data = CropDataModule(root)
        data.setup("fit")
        assert len(data.train) == 20
        raise KeyboardInterrupt


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_batches_reach_the_gpu_unharmed_while_buffers_are_recycled(tmp_path):
    data = CropDataModule(write_root(tmp_path, num_rows=400, face=64, eye=32), batch_size=32)
    data.trainer = lightning.Trainer(accelerator="gpu", devices=1, logger=False)
    loader, device = data.train_dataloader(), torch.device("cuda", 0)
    for _ in range(5):
        for batch in loader:
            assert batch["face"].is_pinned()
            moved = data.transfer_batch_to_device(batch, device, 0)
            kept = batch["face"].clone()
            del batch
            torch.testing.assert_close(moved["face"].cpu(), kept, rtol=0, atol=0)
            assert moved["face"].is_contiguous(memory_format=torch.channels_last)


def test_a_stride_thins_each_training_file_and_nothing_else(tmp_path):
    data = CropDataModule(write_root(tmp_path, train=2, val=1), batch_size=1, frame_stride=4)
    data.setup("fit")
    assert sorted(int(batch["row"]) for batch in data.train_dataloader()) == [0, 4, 8, 10, 14, 18]
    assert sum(len(batch["row"]) for batch in data.val_dataloader()) == 10
