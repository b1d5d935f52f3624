"""Reflections in the cornea: the lamp as a spot, the screen as a bright rectangle. K rays, eye frame in mm."""

import torch
from torch import Tensor

from gaze_exp.data.synthetic.scene import Scene
from gaze_exp.data.synthetic.skin import inside

CORNEA_BEHIND_IRIS_MM = 4.85
"""Where the cornea's centre lies: it is a smaller sphere whose cap meets the eyeball at the limbus."""
_CORNEA_RADIUS_MM = 7.8
_CAP_COSINE = 0.74
_REFLECTS, _SCREEN_SHINES = 0.025, 6.0
"""Share of light that a cornea throws back; brightness of a screen that lights a face with 1."""
_SCREEN_EDGE_MM = 40.0


def lamp_glint(
    *, start_mm: Tensor, direction: Tensor, axis: Tensor, cornea_mm: Tensor, light: Tensor, pixel_mm: float
) -> Tensor:
    """The lamp's spot.

    Args:
        start_mm: (K, 3) start of the rays, from the centre of the eyeball.
        direction: (K, 3) of the rays.
        axis: (K, 3) optical axis, unit.
        cornea_mm: (K, 3) centre of the cornea's sphere, from the centre of the eyeball.
        light: (K, 3) unit vector to the lamp.
        pixel_mm: width of a pixel.

    Returns:
        (K,) share of the pixel that the spot fills.
    """
    to_camera = torch.nn.functional.normalize(start_mm, dim=-1)
    halfway = torch.nn.functional.normalize(to_camera + light, dim=-1)
    spot_mm = cornea_mm + _CORNEA_RADIUS_MM * halfway
    on_cornea = ((halfway * axis).sum(-1) > _CAP_COSINE).float()
    away = start_mm - spot_mm
    along = (away * direction).sum(-1, keepdim=True) / direction.square().sum(-1, keepdim=True)
    distance_mm = torch.linalg.vector_norm(away - along * direction, dim=-1)
    small = min(1.0, (1.2 / pixel_mm) ** 2)
    return small * on_cornea * inside(0.5 - distance_mm, max(pixel_mm, 0.4))


def screen_glint(
    scene: Scene,
    *,
    frame: Tensor,
    eye_mm: Tensor,
    start_mm: Tensor,
    direction: Tensor,
    axis: Tensor,
    cornea_mm: Tensor,
) -> Tensor:
    """The screen in the cornea, by following the mirrored rays.

    Args:
        scene: F frames.
        frame: (K,) int64.
        eye_mm: (K, 3) centres of the eyeballs, head frame.
        start_mm: (K, 3) start of the rays, from the centre of the eyeball.
        direction: (K, 3) of the rays.
        axis: (K, 3) optical axis, unit.
        cornea_mm: (K, 3) centre of the cornea's sphere, from the centre of the eyeball.

    Returns:
        (K, 3) linear light that the cornea adds.
    """
    ray = torch.nn.functional.normalize(direction, dim=-1)
    from_centre = start_mm - cornea_mm
    closest = (from_centre * ray).sum(-1)
    root = closest.square() - from_centre.square().sum(-1) + _CORNEA_RADIUS_MM**2
    normal = (from_centre + (-closest - root.clamp(min=0.0).sqrt())[:, None] * ray) / _CORNEA_RADIUS_MM
    mirrored = ray - 2.0 * (ray * normal).sum(-1, keepdim=True) * normal

    to_camera = scene.rig.screen_to_camera.to(scene.device)
    corner_mm = ((to_camera[:3, 3] - scene.head_position_mm)[:, None] @ scene.head_rotation)[:, 0].float()
    right, down, away = (scene.head_rotation.transpose(-1, -2) @ to_camera[:3, :3]).float().unbind(-1)
    hit_mm = eye_mm + cornea_mm + _CORNEA_RADIUS_MM * normal - corner_mm[frame]
    toward = (mirrored * away[frame]).sum(-1)
    reach = -(hit_mm * away[frame]).sum(-1) / toward.clamp(min=1e-3)
    place_mm = hit_mm + reach[:, None] * mirrored
    x, y = (place_mm * right[frame]).sum(-1), (place_mm * down[frame]).sum(-1)
    width_mm, height_mm = scene.rig.screen_mm.tolist()
    share = inside(torch.minimum(x, width_mm - x), _SCREEN_EDGE_MM)
    share = share * inside(torch.minimum(y, height_mm - y), _SCREEN_EDGE_MM)
    share = share * (toward > 1e-3) * (root > 0) * ((normal * axis).sum(-1) > _CAP_COSINE)
    return _REFLECTS * _SCREEN_SHINES * share[:, None] * scene.screen_rgb.float()[frame]
