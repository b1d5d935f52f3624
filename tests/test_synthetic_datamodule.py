import json
import logging
import os
import signal
import threading
import time

import h5py
import numpy as np
import pytest
import torch

from gaze_exp.data.synthetic.crop_layout import recordings
from gaze_exp.data.synthetic.datamodule import SyntheticDataModule
from gaze_exp.data.synthetic.rendering import MANIFEST
from gaze_exp.errors import ConfigError, DataError
from gaze_exp.geometry import gaze_to_screen

TINY = {
    "num_train_persons": 3,
    "num_val_persons": 1,
    "num_test_persons": 2,
    "frames_per_person": 12,
    "face_size": 16,
    "eye_size": 8,
}


def small_set(root, **changes):
    return SyntheticDataModule(root, **(TINY | changes), batch_size=4)


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    data = small_set(tmp_path_factory.mktemp("synthetic"))
    data.prepare_data()
    return data


def contents(root):
    return {path.relative_to(root): path.read_bytes() for path in sorted(root.rglob("*.h5"))}


def test_persons_are_numbered_through_all_splits():
    numbers = [recording.number for recording in recordings(num_train=120, num_val=6, num_test=8, seed=0)]
    assert numbers == list(range(1, 135))
    folders = [recording.folder for recording in recordings(num_train=2, num_val=1, num_test=1, seed=0)]
    assert folders == ["train01", "train02", "val01", "test01"]


def test_the_first_run_renders_and_the_next_one_reads(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    small_set(tmp_path).prepare_data()
    assert "rendering 6 persons, 72 frames" in caplog.text
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.h5")}
    caplog.clear()
    data = small_set(tmp_path)
    data.prepare_data()
    data.setup("fit")
    assert "rendered people are in" in caplog.text
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.h5")}
    assert data.train.subjects == ["participant_001", "participant_002", "participant_003"]
    assert data.test.subjects == ["participant_005", "participant_006"]
    batch = next(iter(data.train_dataloader()))
    assert batch["face"].shape == (4, 3, 16, 16)
    assert batch["face"].float().std() > 10


def test_files_hold_labels_that_lead_back_to_the_target(rendered):
    for path in rendered.root.rglob("*.h5"):
        with h5py.File(path) as file:
            point_px = gaze_to_screen(
                torch.from_numpy(file["gaze"][:]).double(),
                origin_mm=torch.from_numpy(file["face_o"][:]).double(),
                rotation=torch.from_numpy(file["face_R"][:]).double(),
                screen_to_camera=torch.from_numpy(file.attrs["screen_to_camera"]),
                mm_per_px=torch.from_numpy(file.attrs["mm_per_px"]),
            )
            assert np.abs(point_px.numpy() - file["pog_px"][:]).max() < 0.01
            assert file["validity"][:].mean() > 0.5
            assert file.attrs["participant"] == path.parent.name
            assert list(file.attrs["steps"]) == ["step000_image_synthetic", "step001_image_synthetic"]
            assert file["step_id"][:].tolist() == [0] * 10 + [1] * 2
            assert file["face"].shape == (12, 16, 16, 3)


def test_the_same_seed_leaves_the_same_bytes_with_any_number_of_threads(rendered, tmp_path):
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        again = small_set(tmp_path)
        again.prepare_data()
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(threads)
    assert contents(again.root) == contents(rendered.root)


def test_other_parameters_go_to_another_folder(tmp_path):
    roots = {
        small_set(tmp_path, **change).root
        for change in ({}, {"scene_seed": 1}, {"face_size": 17}, {"frames_per_person": 13}, {"camera_below": True})
    }
    assert len(roots) == 5


def test_interrupted_rendering_leaves_only_whole_files_and_goes_on(tmp_path):
    changes = {"num_train_persons": 12, "frames_per_person": 40}
    whole = small_set(tmp_path / "whole", **changes)
    whole.prepare_data()
    stopped = small_set(tmp_path / "stopped", **changes)

    def press_ctrl_c():
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not any(stopped.root.rglob("*.h5")):
            time.sleep(0.001)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=press_ctrl_c).start()
    with pytest.raises(KeyboardInterrupt):
        stopped.prepare_data()
        time.sleep(60)
    left = contents(stopped.root)
    assert 0 < len(left) < 15
    assert not list(stopped.root.rglob("*.partial"))
    assert not (stopped.root / MANIFEST).exists()
    with pytest.raises(DataError, match="not completely rendered"):
        stopped.setup("fit")

    stopped.prepare_data()
    assert contents(stopped.root) == contents(whole.root)
    assert left.items() <= contents(stopped.root).items()


def test_a_damaged_file_is_not_taken_for_whole(rendered, tmp_path):
    data = small_set(tmp_path)
    data.prepare_data()
    (damaged, *_) = data.root.rglob("*.h5")
    damaged.write_bytes(damaged.read_bytes()[:-10])
    with pytest.raises(DataError, match="not completely rendered"):
        data.setup("fit")
    data.prepare_data()
    assert contents(data.root) == contents(rendered.root)


def test_a_small_disk_is_told_before_anything_is_rendered(tmp_path):
    data = small_set(tmp_path, frames_per_person=10**12)
    with pytest.raises(DataError, match=r"data\.root: .* needs .* TB and its disk has .* [GT]B free"):
        data.prepare_data()
    assert not list(tmp_path.rglob("*.h5*"))


def test_an_unwritable_root_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"data\.root: cannot write to .*file"):
        small_set(tmp_path / "file").prepare_data()


def test_a_set_without_persons_is_refused():
    with pytest.raises(ConfigError, match=r"data\.num_val_persons: 0 is too small; 1 or more"):
        small_set("unused", num_val_persons=0)


def test_the_manifest_says_what_was_rendered(rendered):
    manifest = json.loads((rendered.root / MANIFEST).read_text())
    assert manifest["plan"]["frames_per_person"] == 12
    assert len(manifest["bytes"]) == 6
