"""Crop files with every optional array, and that a view is what its warp would cut from the full frame."""

import cv2
import h5py
import numpy as np
import pytest
import torch

from gaze_exp.data.crop_dataset import CropDataset
from gaze_exp.data.crops import OPTIONAL
from gaze_exp.data.splits import find_crop_files
from gaze_exp.data.synthetic.drawing import draw_scene
from gaze_exp.data.synthetic.eve_labels import patch_views
from gaze_exp.data.synthetic.layouts import write_set
from gaze_exp.data.synthetic.person import draw_person
from gaze_exp.data.synthetic.renderer import render, render_frame
from gaze_exp.data.synthetic.rigs import EVE_RIGS
from gaze_exp.data.synthetic.set_plan import SetPlan
from gaze_exp.data.synthetic.warps import warp
from gaze_exp.geometry import gaze_to_screen

PLAN = SetPlan(layout="crops", persons=3, frames=12, seed=4, face_size=24, eye_size=24)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("people") / "crops"
    write_set(folder, PLAN)
    return folder


def test_the_reader_reads_what_was_written(root):
    found = find_crop_files(root)
    assert {split: len(files) for split, files in found.items()} == {"train": 1, "val": 1, "test": 1}
    for files in found.values():
        crops = CropDataset(files)
        assert len(crops) == 12
        with h5py.File(files[0]) as file:
            assert np.array_equal(crops.gaze, file["gaze"][:])
            assert np.array_equal(crops.valid, file["validity"][:])
            assert np.array_equal(crops.face(5), file["face"][5])
        assert crops.face(5).std() > 10


def test_every_optional_array_is_there(root):
    for path in root.rglob("*.h5"):
        with h5py.File(path) as file:
            assert set(OPTIONAL) <= set(file)
            assert file["mask_left"].shape == file["mask_right"].shape == (12, 24, 24)
            assert file["landmarks_px"].shape == (12, 68, 2)
            assert ((file["pupil_mm"][:] >= 2) & (file["pupil_mm"][:] <= 7)).all()
            assert all(len(file[name]) == 12 for name in file)


def test_a_mask_says_pupil_where_the_picture_is_dark(root):
    for path in root.rglob("*.h5"):
        with h5py.File(path) as file:
            for eye, mask in (("leye", "mask_left"), ("reye", "mask_right")):
                light, part = file[eye][:].mean(-1), file[mask][:]
                assert set(np.unique(part)) == {0, 1, 2, 3}
                assert light[part == 3].mean() < light[part == 1].mean() - 40


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_gaze_of_each_eye_leads_to_the_same_target(root, side):
    for path in root.rglob("*.h5"):
        with h5py.File(path) as file:
            point_px = gaze_to_screen(
                torch.from_numpy(file[f"gaze_{side}"][:]).double(),
                origin_mm=torch.from_numpy(file[f"{side}_o"][:]).double(),
                rotation=torch.from_numpy(file[f"{side}_R"][:]).double(),
                screen_to_camera=torch.from_numpy(file.attrs["screen_to_camera"]),
                mm_per_px=torch.from_numpy(file.attrs["mm_per_px"]),
            )
            assert np.abs(point_px.numpy() - file["pog_px"][:]).max() < 0.01


@pytest.mark.parametrize("camera", ["basler", "webcam_l"])
def test_a_view_is_the_full_frame_warped_with_w(camera):
    scene = draw_scene(draw_person(0, number=3), rig=EVE_RIGS[camera], num_frames=1, seed=0, number=3)
    frame = render_frame(scene, width_px=1920, height_px=1080)[0].numpy()
    # OpenCV counts from the centre of the first pixel, we from its corner.
    corner = np.array([[1.0, 0.0, 0.5], [0.0, 1.0, 0.5], [0.0, 0.0, 1.0]])
    for view in patch_views(scene).values():
        matrix = np.linalg.inv(corner) @ warp(scene, view, size_px=128)[0].numpy() @ corner
        cut = cv2.warpPerspective(frame, matrix, (128, 128), flags=cv2.INTER_LINEAR).astype(float)
        direct = render(scene, view, size_px=128)[0].numpy().astype(float)
        error = np.abs(direct - cut).mean()
        assert error < 2.0
        assert np.corrcoef(direct.ravel(), cut.ravel())[0, 1] > 0.99
        # A pixel aside it is another picture.
        for moved in (cut[:, 1:] - direct[:, :-1], cut[:, :-1] - direct[:, 1:], cut[1:] - direct[:-1]):
            assert np.abs(moved).mean() > 1.4 * error
