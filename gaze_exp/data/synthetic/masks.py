"""What each pixel of an eye is: the exact answer to the picture that `renderer.render` gives. F frames."""

import torch
from torch import Tensor

from gaze_exp.data.synthetic.eyes import look_at_eyes
from gaze_exp.data.synthetic.renderer import bands, on_device
from gaze_exp.data.synthetic.scene import Scene
from gaze_exp.data.synthetic.surface import Rays, cast_rays, first_surface
from gaze_exp.data.synthetic.views import View

SCLERA, IRIS, PUPIL = 1, 2, 3


def eye_mask(scene: Scene, view: View, *, size_px: int) -> Tensor:
    """Label the pixels of a view.

    Lashes and glasses do not count as occlusion; lids and nose do.

    Args:
        scene: F frames.
        view: one of its views.
        size_px: side of the mask.

    Returns:
        (F, size_px, size_px) uint8: 0 background, 1 sclera, 2 iris, 3 pupil; all 0 where eyes are closed.
    """
    with on_device(scene):
        rays = cast_rays(scene, view, size_px=size_px)
        parts = [_label(scene, part) for part in bands(rays, width_px=size_px, num_frames=scene.num_frames)]
        return torch.cat(parts, dim=-1).unflatten(-1, (size_px, size_px))


def _label(scene: Scene, rays: Rays) -> Tensor:
    """(F, N) uint8."""
    surface = first_surface(scene.person, rays)
    eyes = look_at_eyes(scene, surface, **_dark(scene))
    label = SCLERA + (eyes.iris > 0.5).to(torch.uint8) + (eyes.pupil > 0.5).to(torch.uint8)
    mask = torch.zeros(scene.num_frames, rays.grid.shape[1], dtype=torch.uint8)
    shown = eyes.opening > 0.5
    mask[eyes.frame[shown], eyes.pixel[shown]] = label[shown]
    return mask


def _dark(scene: Scene) -> dict[str, Tensor]:
    nothing = torch.zeros(scene.num_frames, 3)
    return {"ambient": nothing, "key": nothing, "light": nothing}
