"""The normalised views of a scene (face, left eye, right eye) and the labels that follow from them.

Labels come out of the scene by the formulas of geometry.py and camera.py, never the other way round.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from gaze_exp.camera import normalising_rotation
from gaze_exp.data.synthetic.scene import Scene, eye_centres, face_centre
from gaze_exp.geometry import screen_to_gaze, vector_to_pitch_yaw


@dataclass(frozen=True)
class NormalCamera:
    """A virtual camera that looks at a point from a fixed distance; the same view at any number of pixels."""

    width_mm: float
    """What the picture spans at the point it looks at."""
    distance_mm: float = 600.0

    def focal_px(self, size_px: int) -> float:
        """Focal length for a square picture.

        Args:
            size_px: width and height of the picture.

        Returns:
            Pixels.
        """
        return size_px * self.distance_mm / self.width_mm


FACE_CAMERA = NormalCamera(width_mm=160.0)
"""f = 960 px for 256 px: wide enough for the outline of a face."""
EYE_CAMERA = NormalCamera(width_mm=128 / 1800 * 600)
"""f = 1800 px for 128 px: Zhang et al., ETRA 2018, and EVE."""


@dataclass(frozen=True)
class View:
    """One patch of every frame: where its camera looks, and its labels in that camera."""

    camera: NormalCamera
    origin_mm: Tensor
    """(F, 3) camera frame."""
    rotation: Tensor
    """(F, 3, 3) camera frame -> normalised camera."""
    gaze: Tensor
    """(F, 2) pitch, yaw in radians from the origin to the target, normalised camera."""
    head: Tensor
    """(F, 2) pitch, yaw in radians of the head, normalised camera."""

    def frames(self, start: int, stop: int) -> "View":
        """The view of some of the frames.

        Args:
            start: first frame.
            stop: one past the last.

        Returns:
            A view that shares this one's memory.
        """
        keep = slice(start, stop)
        return View(self.camera, self.origin_mm[keep], self.rotation[keep], self.gaze[keep], self.head[keep])


def face_view(scene: Scene, *, camera: NormalCamera = FACE_CAMERA) -> View:
    """The face, from its centre.

    Args:
        scene: F frames.
        camera: how much of the head it shows.

    Returns:
        View of F frames.
    """
    origin_mm = scene.to_camera(face_centre(scene.person)[None].to(scene.device))[:, 0]
    return _view(scene, camera, origin_mm)


def eye_views(scene: Scene) -> tuple[View, View]:
    """The subject's left and right eye, from the centres of the eyeballs.

    Args:
        scene: F frames.

    Returns:
        Views of the left and of the right eye.
    """
    left_mm, right_mm = scene.to_camera(eye_centres(scene.person).to(scene.device)).unbind(1)
    return _view(scene, EYE_CAMERA, left_mm), _view(scene, EYE_CAMERA, right_mm)


def _view(scene: Scene, camera: NormalCamera, origin_mm: Tensor) -> View:
    rotation = normalising_rotation(origin_mm, scene.head_rotation[..., 0])
    gaze = screen_to_gaze(
        scene.target_px,
        origin_mm=origin_mm,
        rotation=rotation,
        screen_to_camera=scene.rig.screen_to_camera.to(scene.device),
        mm_per_px=torch.full((2,), scene.rig.mm_per_px, dtype=torch.float64, device=scene.device),
    )
    # A head that faces the camera looks along its own -z.
    head = vector_to_pitch_yaw(-(rotation @ scene.head_rotation)[..., 2])
    return View(camera, origin_mm, rotation, gaze, head)
