"""The HDF5 file of one camera in one EVE step. F frames.

Plain data sets hold what is the same in all frames; a group holds `data` (F, ...) and `validity` (F,) of what
is not. The test split lacks the groups that would give the gaze away.
"""

from pathlib import Path

import cv2
import h5py
import numpy as np
import torch

from gaze_exp.data.synthetic.landmarks import landmarks_px
from gaze_exp.data.synthetic.scene import Scene
from gaze_exp.data.synthetic.views import View, eye_views, face_view
from gaze_exp.data.synthetic.warps import warp

PATCH_PX = {"face": 256, "left": 128, "right": 128}


def write_labels(path: Path, scene: Scene, *, has_gaze: bool) -> None:
    """Write the labels of a scene as one camera sees it.

    Args:
        path: the h5 file.
        scene: F frames before the rig of that camera.
        has_gaze: False for the test split.
    """
    seen = np.ones(scene.num_frames, bool)
    tracked = scene.valid.numpy()
    with h5py.File(path, "w") as file:
        for name, value in _constants(scene).items():
            file[name] = value
        for name, value in _geometry(scene).items():
            _write_group(file, name, value, validity=seen)
        if has_gaze:
            for name, value in _gaze(scene).items():
                # The eye tracker writes zeros where it lost the eyes.
                kept = tracked.reshape(-1, *[1] * (value.ndim - 1))
                _write_group(file, name, np.where(kept, value, 0.0), validity=tracked)


def _write_group(file: h5py.File, name: str, data: np.ndarray, *, validity: np.ndarray) -> None:
    group = file.create_group(name)
    group["data"] = data.astype(np.float64 if name.endswith("_W") else np.float32)
    group["validity"] = validity


def _constants(scene: Scene) -> dict[str, np.ndarray]:
    transform = scene.rig.screen_to_camera
    mm_per_px = np.full(2, scene.rig.mm_per_px)
    return {
        "camera_matrix": scene.rig.camera_matrix.numpy(),
        "camera_transformation": transform.numpy(),
        "inv_camera_transformation": torch.linalg.inv(transform).numpy(),
        "millimeters_per_pixel": mm_per_px,
        "pixels_per_millimeter": 1.0 / mm_per_px,
    }


def patch_views(scene: Scene) -> dict[str, View]:
    """The three patches of a scene under the names that EVE gives them.

    Args:
        scene: F frames.

    Returns:
        `face`, `left`, `right` -> their views.
    """
    return {"face": face_view(scene), **dict(zip(("left", "right"), eye_views(scene), strict=True))}


def _geometry(scene: Scene) -> dict[str, np.ndarray]:
    rotation_vectors = np.stack([cv2.Rodrigues(rotation.numpy())[0] for rotation in scene.head_rotation])
    frame_px = {"width_px": scene.rig.width_px, "height_px": scene.rig.height_px}
    values = {
        "facial_landmarks": landmarks_px(scene, **frame_px).numpy(),
        "head_rvec": rotation_vectors,
        "head_tvec": scene.head_position_mm[..., None].numpy(),
    }
    for name, view in patch_views(scene).items():
        values |= {
            f"{name}_R": view.rotation.numpy(),
            f"{name}_W": warp(scene, view, size_px=PATCH_PX[name]).numpy(),
            f"{name}_h": view.head.numpy(),
            f"{name}_o": view.origin_mm.numpy(),
        }
    return values


def _gaze(scene: Scene) -> dict[str, np.ndarray]:
    diameter_mm = scene.pupil_mm.numpy()
    values = {"left_p": diameter_mm, "right_p": diameter_mm}
    point_px = scene.rig.nearest_px(scene.target_px).numpy()
    for name, view in patch_views(scene).items():
        values |= {f"{name}_PoG_tobii": point_px, f"{name}_g_tobii": view.gaze.numpy()}
    return values
