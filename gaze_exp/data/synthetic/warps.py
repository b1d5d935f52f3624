"""The warp from the full frame to a patch: what a normalised view would be cut out with. F frames."""

from torch import Tensor

from gaze_exp.camera import intrinsics, normalising_warp
from gaze_exp.data.synthetic.scene import Scene
from gaze_exp.data.synthetic.views import View


def warp(scene: Scene, view: View, *, size_px: int) -> Tensor:
    """Full-frame pixels -> pixels of a patch.

    Args:
        scene: F frames.
        view: one of its views.
        size_px: side of the patch.

    Returns:
        (F, 3, 3) float64, EVE's `*_W`.
    """
    return normalising_warp(
        view.rotation,
        camera_matrix=scene.rig.camera_matrix,
        normal_matrix=intrinsics(view.camera.focal_px(size_px), width_px=size_px, height_px=size_px),
        origin_mm=view.origin_mm,
        normal_distance_mm=view.camera.distance_mm,
    )
