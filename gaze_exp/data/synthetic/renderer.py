"""A scene's views as pictures: surface, paint, eyes, light, background, sensor. F frames, N pixels."""

import torch
from torch import Tensor

from gaze_exp.data.synthetic.eyes import look_at_eyes
from gaze_exp.data.synthetic.scene import Scene
from gaze_exp.data.synthetic.skin import hollows, paint_head
from gaze_exp.data.synthetic.surface import Rays, Surface, cast_rays, first_surface
from gaze_exp.data.synthetic.views import View

_LASH_RGB = torch.tensor([0.012, 0.009, 0.008])
_TURN = 6.2832
_BAND_RAYS = 64 * 1024
"""Rays traced together: few enough for a processor's cache, many enough that threads do not wait for Python."""


def render(scene: Scene, view: View, *, size_px: int, noise: torch.Generator | None = None) -> Tensor:
    """Render one view of every frame straight in its normalised camera.

    Args:
        scene: F frames.
        view: one of its views.
        size_px: side of the picture; the geometry is the same at any size.
        noise: random numbers of the sensor; None for a sensor without noise.

    Returns:
        (F, size_px, size_px, 3) uint8 RGB.
    """
    rays = cast_rays(scene, view, size_px=size_px)
    band = size_px * max(1, _BAND_RAYS // (size_px * scene.num_frames))
    starts = range(0, size_px**2, band)
    light = torch.cat([_trace(scene, rays.band(start, start + band)) for start in starts], dim=-1)
    return _expose(light, scene.noise.float(), noise).unflatten(1, (size_px, size_px))


def frames_at_once(size_px: int) -> int:
    """How many frames to render in one call: four bands of rays, which is fastest.

    Args:
        size_px: side of the picture.

    Returns:
        Number of frames, at least 1.
    """
    return max(1, 4 * _BAND_RAYS // size_px**2)


def _trace(scene: Scene, rays: Rays) -> Tensor:
    """(F, 3, N) linear light along rays."""
    surface = first_surface(scene.person, rays)
    light = _light_on(scene, surface)
    behind = _background(scene, rays)
    return behind + surface.coverage[:, None] * (light - behind)


def _light_on(scene: Scene, surface: Surface) -> Tensor:
    """(F, 3, N) linear light that leaves the head towards the camera."""
    ambient, key = scene.ambient_rgb.float(), scene.light_rgb.float()
    light = (scene.light_direction[:, None] @ scene.head_rotation)[:, 0]
    facing = (light.float()[:, None] @ surface.normal)[:, 0]
    # Skin scatters: light reaches a little around the edge of its shadow.
    glow = (0.2 + 0.8 * facing).clamp_(min=0.0)
    upward = 0.85 - 0.15 * surface.normal[:, 1]
    colour = paint_head(scene.person, surface)
    hollow = hollows(scene.person, surface)
    colour = colour * (ambient[..., None] * (upward * hollow)[:, None] + key[..., None] * (glow * hollow)[:, None])

    eyes = look_at_eyes(scene, surface, ambient=ambient, key=key, light=light)
    skin = colour[eyes.frame, :, eyes.pixel] * (1.0 - eyes.crease)[:, None]
    skin = skin + eyes.opening[:, None] * (eyes.colour - skin)
    colour[eyes.frame, :, eyes.pixel] = skin + eyes.lash[:, None] * (_LASH_RGB - skin)
    return colour


def _background(scene: Scene, rays: Rays) -> Tensor:
    """(F, 3, N) two colours in soft waves that hang still in the camera frame."""
    to_camera = scene.head_rotation @ rays.basis
    x, y, z = (to_camera.float() @ rays.grid).unbind(1)
    wave_x, wave_y, phase = scene.background_wave.float()[..., None].unbind(1)
    share = 0.5 + 0.5 * torch.sin((wave_x * x + wave_y * y) * (_TURN / z) + phase)
    first, second = scene.background_rgb.float().unbind(1)
    return first[..., None] + share[:, None] * (second - first)[..., None]


def _expose(light: Tensor, sigma: Tensor, noise: torch.Generator | None) -> Tensor:
    """(F, N, 3) uint8 from (F, 3, N) linear light: the square root is the camera's curve."""
    picture = light.clamp_(1e-6, 1.0).sqrt_().transpose(1, 2).contiguous()
    if noise is not None:
        picture += sigma[:, None, None] * torch.randn(picture.shape, generator=noise)
    return picture.mul_(255.0).add_(0.5).clamp_(0.0, 255.0).to(torch.uint8)
