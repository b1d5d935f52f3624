"""The official EVE layout: read back by a reader that checks the published schema, then by its geometry."""

import cv2
import h5py
import numpy as np
import pytest
import torch
from eve_release import CAMERAS, GAZE, read_camera, steps_of, video

from gaze_exp.data.synthetic.crop_layout import Recording
from gaze_exp.data.synthetic.drawing import draw_scene
from gaze_exp.data.synthetic.eve_labels import write_labels
from gaze_exp.data.synthetic.eve_layout import draw_steps
from gaze_exp.data.synthetic.layouts import write_set
from gaze_exp.data.synthetic.person import draw_person
from gaze_exp.data.synthetic.rigs import EVE_RIGS
from gaze_exp.data.synthetic.set_plan import SetPlan
from gaze_exp.geometry import gaze_to_screen, screen_to_gaze

FRAMES = 4


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("people") / "eve"
    write_set(folder, SetPlan(layout="eve", persons=3, frames=FRAMES, seed=2, steps=2, frame_width=128))
    return folder


@pytest.fixture(scope="module")
def recorded(root):
    """Split -> step number -> camera -> what it recorded."""
    return {
        split: {
            number: {camera: read_camera(step, camera, has_gaze=split != "test01") for camera in CAMERAS}
            for number, step in steps_of(root / split).items()
        }
        for split in ("train01", "val01", "test01")
    }


def every(recorded, *splits):
    return [(name, camera) for split in splits for step in recorded[split].values() for name, camera in step.items()]


def tensors(camera, patch):
    data = {name: torch.from_numpy(values).double() for name, values in camera.data.items()}
    return {
        "origin_mm": data[f"{patch}_o"],
        "rotation": data[f"{patch}_R"],
        "screen_to_camera": torch.from_numpy(camera.constants["camera_transformation"]).double(),
        "mm_per_px": torch.from_numpy(camera.constants["millimeters_per_pixel"]).double(),
    }


def test_every_step_has_the_published_files_and_arrays(root, recorded):
    assert sorted(path.name for path in root.iterdir() if path.is_dir()) == ["test01", "train01", "val01"]
    for _, camera in every(recorded, "train01", "val01", "test01"):
        assert camera.frame.shape[1:] == (72, 128, 3)
        assert np.linalg.det(camera.data["face_R"]) == pytest.approx(1.0, abs=1e-5)


def test_webcams_have_half_the_rate_and_stamps_in_nanoseconds(recorded):
    for split in recorded.values():
        for step in split.values():
            assert len(step["basler"].stamps_ns) == FRAMES
            assert np.median(np.diff(step["basler"].stamps_ns)) == pytest.approx(1e9 / 60, rel=0.01)
            for name in CAMERAS[1:]:
                assert len(step[name].stamps_ns) == FRAMES // 2
                assert (np.diff(step[name].stamps_ns) > 2e7).all()


def test_the_screen_video_runs_beside_the_webcams(root):
    for participant in ("train01", "test01"):
        for step in steps_of(root / participant).values():
            frames, rate = video(step / "screen.128x72.mp4")
            assert frames.shape == (FRAMES // 2, 72, 128, 3)
            assert rate == 30
            assert len((step / "screen.timestamps.txt").read_text().split()) == FRAMES // 2
            assert all(len(line.split()) == 3 for line in (step / "screen.mouse.txt").read_text().splitlines())


@pytest.mark.parametrize("patch", ["face", "left", "right"])
def test_gaze_and_point_of_gaze_lead_to_each_other_on_every_camera(recorded, patch):
    seen = set()
    for name, camera in every(recorded, "train01", "val01"):
        valid = camera.validity[f"{patch}_g_tobii"]
        gaze, point_px = (torch.from_numpy(camera.data[f"{patch}_{key}_tobii"]).double() for key in ("g", "PoG"))
        where = tensors(camera, patch)
        assert (gaze_to_screen(gaze, **where) - point_px)[valid].abs().max() < 0.02
        assert (screen_to_gaze(point_px, **where) - gaze)[valid].abs().max() < 1e-5
        seen.add(name)
    assert seen == set(CAMERAS)


def test_head_angles_are_those_of_the_rotation_vector(recorded):
    for _, camera in every(recorded, "val01", "test01"):
        for rotation, vector, head in zip(
            camera.data["face_R"], camera.data["head_rvec"], camera.data["face_h"], strict=True
        ):
            turned = rotation @ cv2.Rodrigues(vector)[0]
            expected = [np.arcsin(turned[1, 2]), np.arctan2(turned[0, 2], turned[2, 2])]
            assert head == pytest.approx(expected, abs=1e-4)


def test_the_left_eye_is_the_right_half_of_the_eyes_video(root, tmp_path):
    folder = tmp_path / "whole"
    write_set(folder, SetPlan(layout="eve", persons=1, frames=2, seed=5, steps=1, frame_width=1920))
    (step,) = steps_of(folder / "train01").values()
    camera = read_camera(step, "basler", has_gaze=True)
    corner = np.array([[1.0, 0.0, 0.5], [0.0, 1.0, 0.5], [0.0, 0.0, 1.0]])
    cut = {
        side: cv2.warpPerspective(
            camera.frame[0], np.linalg.inv(corner) @ camera.data[f"{side}_W"][0] @ corner, (128, 128)
        )
        for side in ("left", "right")
    }
    right, left = camera.eyes[0][:, :128], camera.eyes[0][:, 128:]
    for mine, other, half in (("left", "right", left), ("right", "left", right)):
        match, mismatch = (np.corrcoef(cut[side].ravel(), half.ravel())[0, 1] for side in (mine, other))
        assert match > 0.95
        assert match > mismatch + 0.05


def test_step_numbers_have_holes_and_kinds_take_turns():
    for number in range(1, 20):
        steps = draw_steps(Recording(number, "train01", 0, number), 6)
        numbers = [step.number for step in steps]
        assert numbers == sorted(set(numbers))
        assert numbers[-1] - numbers[0] > 5
        assert [step.kind for step in steps] == ["image", "video", "wikipedia"] * 2
        assert len({step.folder for step in steps}) == 6


def test_rows_that_the_tracker_lost_are_zero_and_marked(tmp_path):
    scene = draw_scene(draw_person(0, number=1), rig=EVE_RIGS["webcam_c"], num_frames=200, seed=0, number=1)
    write_labels(tmp_path / "webcam_c.h5", scene, has_gaze=True)
    with h5py.File(tmp_path / "webcam_c.h5") as file:
        for name in GAZE:
            lost = ~file[name]["validity"][:]
            assert 0 < lost.sum() < 100
            assert not file[name]["data"][:][lost].any()
            assert file[name]["data"][:][~lost].any()
        assert file["face_R"]["validity"][:].all()
