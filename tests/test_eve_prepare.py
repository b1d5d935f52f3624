"""The official EVE release to crop files: which rows, which labels, and the same bytes however it is run."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import h5py
import numpy as np
import pytest
from conftest import program
from eve_sample import STEPS, edit, grey, write_release

from gaze_exp.data.crop_dataset import CropDataset
from gaze_exp.data.sources.eve_official import EveOfficialDataModule, preparation
from gaze_exp.data.sources.eve_prepare import prepare
from gaze_exp.data.synthetic.layouts import write_set
from gaze_exp.data.synthetic.set_plan import SetPlan
from gaze_exp.errors import DataError
from gaze_exp.geometry import gaze_to_screen

SMALL = {"face_size": 32, "eye_size": 16, "workers": 0}


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    return write_release(tmp_path_factory.mktemp("eve") / "release")


@pytest.fixture
def own_release(release, tmp_path):
    """A copy to spoil."""
    return shutil.copytree(release, tmp_path / "own")


def converted(source, root, **settings):
    return prepare(preparation(source=source, root=root, **(SMALL | settings)))


def crops(root, person="train01", participant="participant_001", camera="basler"):
    with h5py.File(root / person / participant / f"frames_{camera}.h5") as file:
        return {name: values[:] for name, values in file.items()}, dict(file.attrs)


def labels(source, person="train01", step=STEPS[0], camera="basler", group="face_g_tobii"):
    with h5py.File(source / person / step / f"{camera}.h5") as file:
        return file[group]["data"][:], file[group]["validity"][:]


def digests(root):
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def test_the_command_makes_files_that_the_baseline_reads(release, tmp_path):
    done = program(
        "task=eve_prepare", f"data.source={release}", f"data.root={tmp_path}/crops", "data.workers=0", cwd=tmp_path
    )
    assert done.code == 0, done.err
    files = sorted((tmp_path / "crops").glob("*/participant_*/frames_basler.h5"))
    assert [path.relative_to(tmp_path / "crops").parts[:2] for path in files] == [
        ("test01", "participant_045"), ("train01", "participant_001"), ("val01", "participant_040"),
    ]  # fmt: skip
    rows = CropDataset(files[1:])
    assert rows.face_size == (224, 224)
    assert rows.eye_size == (112, 112)
    assert not rows.slow_files
    assert not rows.unknown_colour
    assert "GB are free" in done.out
    assert "random rows are what their videos show" in done.out


def test_every_sixth_frame_is_kept_with_its_own_picture_and_label(release, tmp_path):
    converted(release, tmp_path)
    arrays, attrs = crops(tmp_path)
    gaze = np.concatenate([labels(release, step=step)[0][::6] for step in STEPS[:2]])
    assert arrays["frame_index"].tolist() == [0, 6, 12, 18] * 2
    assert arrays["step_id"].tolist() == [0] * 4 + [1] * 4
    assert attrs["steps"].tolist() == list(STEPS[:2])
    assert (arrays["gaze"] == gaze).all()
    assert arrays["face"].mean((1, 2, 3)) == pytest.approx([grey(i) for i in arrays["frame_index"]], abs=2)
    assert arrays["timestamp"][:2].tolist() == [1_580_000_000_000_000_000, 1_580_000_000_100_000_000]


def test_left_eye_is_the_right_half_in_rgb(release, tmp_path):
    converted(release, tmp_path / "a")
    converted(release, tmp_path / "b", swap_halves=True)
    usual, swapped = crops(tmp_path / "a")[0], crops(tmp_path / "b")[0]
    red, blue = (images[0, 2:10, 2:14].mean((0, 1)) for images in (usual["reye"], usual["leye"]))
    assert red[0] > 150 > 80 > red[2]
    assert blue[2] > 150 > 80 > blue[0]
    assert (swapped["leye"] == usual["reye"]).all()


@pytest.mark.parametrize(
    ("hz", "expected"), [(10, [0, 3, 6, 9]), (30, list(range(12))), (0, list(range(12))), (5, [0, 6])]
)
def test_a_webcam_is_sampled_by_its_own_rate(tmp_path, hz, expected):
    source = write_release(tmp_path / "eve", ("train01",), steps=STEPS[:1], cameras=("webcam_l",))
    converted(source, tmp_path / "crops", camera="webcam_l", sample_hz=hz)
    arrays, attrs = crops(tmp_path / "crops", camera="webcam_l")
    assert arrays["frame_index"].tolist() == expected
    assert attrs["source_fps"] == 30
    assert attrs["sample_hz"] == (hz or 30)


def test_a_rate_that_divides_nothing_is_refused_by_name(release, tmp_path):
    with pytest.raises(DataError, match=r"no frame of .* is left"):
        converted(release, tmp_path / "a", sample_hz=7)
    with pytest.raises(DataError, match=r"basler_face.mp4: 60 frames a second cannot be sampled at 7 Hz"):
        converted(release, tmp_path / "b", sample_hz=7, strict=True)


@pytest.mark.parametrize("kind", [bool, np.uint8, np.float32])
def test_invalid_and_nan_rows_are_left_out_and_counted(own_release, tmp_path, kind):
    path = own_release / "train01" / STEPS[0] / "basler.h5"
    gaze, _ = labels(own_release)
    validity = np.ones(24, kind)
    validity[6] = 0
    gaze[12] = np.nan
    edit(path, "face_g_tobii", gaze, validity=validity)
    told = converted(own_release, tmp_path / "crops")
    arrays, _ = crops(tmp_path / "crops")
    assert arrays["frame_index"].tolist() == [0, 18, 0, 6, 12, 18]
    assert told["counts"]["dropped"] == {"between samples": 6 * 20, "invalid": 1, "nonfinite": 1}
    assert told["counts"]["kept"] + sum(told["counts"]["dropped"].values()) == told["counts"]["frames"]


def test_an_invalid_eye_becomes_nan_and_its_row_stays(own_release, tmp_path):
    validity = np.ones(24, bool)
    validity[6] = False
    edit(own_release / "train01" / STEPS[0] / "basler.h5", "left_g_tobii", validity=validity)
    converted(own_release, tmp_path / "crops")
    arrays, _ = crops(tmp_path / "crops")
    assert arrays["valid_left"].tolist() == [True, False] + [True] * 6
    assert np.isnan(arrays["gaze_left"][1]).all()
    assert np.isfinite(arrays["gaze_right"]).all()


def test_zero_is_a_label_like_any_other(own_release, tmp_path):
    edit(own_release / "train01" / STEPS[0] / "basler.h5", "face_g_tobii", np.zeros((24, 2), np.float32))
    converted(own_release, tmp_path / "crops")
    assert len(crops(tmp_path / "crops")[0]["gaze"]) == 8


def test_the_test_split_comes_without_labels(release, tmp_path):
    told = converted(release, tmp_path)
    arrays, attrs = crops(tmp_path, "test01", "participant_045")
    assert len(arrays["face"]) == 8
    assert not {"gaze", "pog_px", "valid_left", "pupil_left_mm"} & arrays.keys()
    assert {"face_R", "face_o", "head"} <= arrays.keys()
    assert "gaze_key" not in attrs
    assert told["counts"]["persons"] == 3


def test_a_rotation_vector_is_read_in_both_shapes(own_release, tmp_path):
    path = own_release / "train01" / STEPS[0] / "basler.h5"
    vectors, _ = labels(own_release, group="head_rvec")
    assert vectors.shape == (24, 3, 1)
    edit(path, "head_rvec", vectors[:, :, 0])
    converted(own_release, tmp_path / "crops")
    arrays, _ = crops(tmp_path / "crops")
    assert np.linalg.det(arrays["head_rotation"]) == pytest.approx(1.0, abs=1e-5)


def test_the_kept_geometry_leads_from_gaze_to_the_point_on_the_screen(release, tmp_path):
    import torch

    converted(release, tmp_path)
    arrays, attrs = crops(tmp_path)
    step = arrays["step_id"]
    point = gaze_to_screen(
        torch.from_numpy(arrays["gaze"]).double(),
        origin_mm=torch.from_numpy(arrays["face_o"]).double(),
        rotation=torch.from_numpy(arrays["face_R"]).double(),
        screen_to_camera=torch.from_numpy(attrs["screen_to_camera"][step]),
        mm_per_px=torch.from_numpy(attrs["mm_per_px"][step]),
    )
    assert point.numpy() == pytest.approx(arrays["pog_px"], abs=0.05)


@pytest.mark.slow
def test_several_processes_write_the_same_bytes_as_one(release, tmp_path):
    converted(release, tmp_path / "one")
    converted(release, tmp_path / "two", workers=2)
    assert digests(tmp_path / "one") == digests(tmp_path / "two")


@pytest.mark.slow
def test_a_conversion_that_was_killed_ends_in_the_same_bytes(tmp_path):
    source = write_release(tmp_path / "eve", ("train01", "val01"), frames=60, steps=STEPS)
    converted(source, tmp_path / "whole", sample_hz=0)
    root = tmp_path / "killed"
    command = [sys.executable, "-m", "gaze_exp", "task=eve_prepare", f"data.source={source}", f"data.root={root}"]
    command += ["data.workers=1", "data.sample_hz=0", "data.face_size=32", "data.eye_size=16"]
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.DEVNULL, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    while process.poll() is None and not list(root.glob(".eve_prepare/train01/basler/*.json")):
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (root / "manifest.json").exists(), "it was done before it could be killed"
    parts = {path: path.stat().st_mtime_ns for path in root.glob(".eve_prepare/train01/basler/*.rows")}
    assert parts
    told = converted(source, root, sample_hz=0)
    assert digests(root) == digests(tmp_path / "whole")
    assert told["counts"]["kept"] == 2 * 3 * 60


def test_what_is_there_is_not_converted_again(release, tmp_path):
    converted(release, tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.h5")}
    converted(release, tmp_path)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.h5")} == before


def test_a_step_that_comes_later_is_taken_in(own_release, tmp_path):
    late = own_release / "train01" / STEPS[1]
    late.rename(tmp_path / "late")
    converted(own_release, tmp_path / "crops")
    assert len(crops(tmp_path / "crops")[0]["face"]) == 4
    (tmp_path / "late").rename(late)
    converted(own_release, tmp_path / "crops")
    assert len(crops(tmp_path / "crops")[0]["face"]) == 8


def test_other_settings_need_another_folder(release, tmp_path):
    converted(release, tmp_path)
    with pytest.raises(DataError, match=r"other settings \(sample_hz 10 -> 30\); choose another data.root"):
        converted(release, tmp_path, sample_hz=30)


def test_the_manifest_has_counts_and_the_hashes_of_its_files(release, tmp_path):
    converted(release, tmp_path)
    told = json.loads((tmp_path / "manifest.json").read_text())
    assert told["counts"]["kept"] == 24
    assert told["verified"]["rows"] == 24
    for file in told["files"]:
        assert hashlib.sha256((tmp_path / file["path"]).read_bytes()).hexdigest() == file["sha256"]
    assert not (tmp_path / ".eve_prepare" / "train01" / "basler").exists(), "steps are gone once they are joined"


def test_a_crop_that_is_not_what_its_video_shows_is_found(release, tmp_path):
    converted(release, tmp_path)
    path = tmp_path / "val01" / "participant_040" / "frames_basler.h5"
    with h5py.File(path, "r+") as file:
        file["reye"][3, 0, 0, 0] += 1
    with pytest.raises(DataError, match=r"frames_basler.h5: row 3 \(val01/step008.*frame 18\) is not what its videos"):
        converted(release, tmp_path)


def test_the_release_is_read_as_a_data_source(release, tmp_path):
    data = EveOfficialDataModule(release, tmp_path, persons=["train01", "val01"], **SMALL, batch_size=4, num_workers=0)
    data.prepare_data()
    data.setup("fit")
    batch = next(iter(data.val_dataloader()))
    assert batch["face"].shape == (8, 3, 32, 32)
    assert data.val.subjects == ["participant_040"]
    assert batch["valid"].all()


@pytest.mark.slow
def test_the_eyes_of_a_rendered_release_are_where_left_w_says(tmp_path):
    write_set(tmp_path / "eve", SetPlan(layout="eve", persons=1, frames=2, seed=5, steps=1, frame_width=1920))
    told = converted(tmp_path / "eve", tmp_path / "crops")
    (seen,) = told["survey"]["recordings"]
    assert seen["left_eye_is"] == "right half"
    assert seen["label_minus_recomputed_rad"]["face"] < 1e-5
    assert seen["timestamp_unit"] == "ns"
    assert not told["survey"]["warnings"]
