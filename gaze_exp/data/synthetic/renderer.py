"""A scene's views as pictures: surface, paint, eyes, light, background, sensor. F frames, N pixels."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from gaze_exp.data.synthetic.eyes import look_at_eyes
from gaze_exp.data.synthetic.glasses import wear_glasses
from gaze_exp.data.synthetic.scene import Scene
from gaze_exp.data.synthetic.sensor import compress, expose
from gaze_exp.data.synthetic.skin import hollows, paint_head
from gaze_exp.data.synthetic.surface import Rays, Surface, cast_frame_rays, cast_rays, first_surface
from gaze_exp.data.synthetic.views import View

_LASH_RGB = (0.012, 0.009, 0.008)
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
    with on_device(scene):
        rays = cast_rays(scene, view, size_px=size_px)
        light = torch.cat(
            [_trace(scene, part) for part in bands(rays, width_px=size_px, num_frames=scene.num_frames)], dim=-1
        )
        picture = light.unflatten(-1, (size_px, size_px))
        return expose(scene, picture, blur_px=scene.blur_mm / rays.pixel_mm, noise=noise)


def render_frame(
    scene: Scene, *, width_px: int, height_px: int, noise: torch.Generator | None = None, mirrored: bool = False
) -> Tensor:
    """Render the full image of the rig's camera.

    Args:
        scene: F frames.
        width_px: of the image; intrinsics scale along.
        height_px: of the image.
        noise: random numbers of the sensor; None for a sensor without noise and an image without compression.
        mirrored: flip the image left to right, as a client that shows a mirror stores it.

    Returns:
        (F, height_px, width_px, 3) uint8 RGB.
    """
    pictures = torch.empty(scene.num_frames, height_px, width_px, 3, dtype=torch.uint8, device=scene.device)
    with on_device(scene):
        for index in range(scene.num_frames):
            one = scene.frames(index, index + 1)
            rays = cast_frame_rays(one, width_px=width_px, height_px=height_px)
            light = torch.cat([_trace(one, part) for part in bands(rays, width_px=width_px, num_frames=1)], dim=-1)
            light = light.unflatten(-1, (height_px, width_px))
            picture = expose(one, light, blur_px=one.blur_mm / rays.pixel_mm, noise=noise, lens=True)
            pictures[index] = (picture if noise is None else compress(picture, one.jpeg_quality))[0]
    return pictures.flip(2) if mirrored else pictures


def on_device(scene: Scene) -> AbstractContextManager[object]:
    """What is made inside is made where the scene is.

    Args:
        scene: any.

    Returns:
        A context; it costs nothing on the CPU.
    """
    return nullcontext() if scene.device.type == "cpu" else scene.device


def frames_at_once(size_px: int) -> int:
    """How many frames to render in one call: four bands of rays, which is fastest.

    Args:
        size_px: side of the picture.

    Returns:
        Number of frames, at least 1.
    """
    return max(1, 4 * _BAND_RAYS // size_px**2)


def bands(rays: Rays, *, width_px: int, num_frames: int) -> Iterator[Rays]:
    """Rays in bands of whole rows that fit a processor's cache.

    Args:
        rays: N rays, row by row.
        width_px: rays of a row.
        num_frames: frames that share them.

    Yields:
        Rays from top to bottom.
    """
    step = width_px * max(1, _BAND_RAYS // (width_px * num_frames))
    for start in range(0, rays.grid.shape[1], step):
        yield rays.band(start, start + step)


def _trace(scene: Scene, rays: Rays) -> Tensor:
    """(F, 3, N) linear light along rays."""
    surface = first_surface(scene.person, rays)
    light = _light_on(scene, surface)
    behind = _background(scene, rays)
    picture = behind + surface.coverage[:, None] * (light - behind)
    on_frame = scene.ambient_rgb.float() + 0.5 * scene.light_rgb.float()
    return wear_glasses(scene.person, surface, picture=picture, light=on_frame)


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
    screen, toward = screen_light(scene)
    near = (0.3 + 0.7 * (toward.float()[:, None] @ surface.normal)[:, 0]).clamp_(min=0.0)
    lit = ambient[..., None] * upward[:, None] + key[..., None] * glow[:, None] + screen[..., None] * near[:, None]
    colour = colour * (lit * hollow[:, None])

    eyes = look_at_eyes(scene, surface, ambient=ambient + 0.8 * screen, key=key, light=light)
    skin = colour[eyes.frame, :, eyes.pixel] * (1.0 - eyes.crease)[:, None]
    skin = skin + eyes.opening[:, None] * (eyes.colour - skin)
    colour[eyes.frame, :, eyes.pixel] = skin + eyes.lash[:, None] * (torch.tensor(_LASH_RGB) - skin)
    return colour


def screen_light(scene: Scene) -> tuple[Tensor, Tensor]:
    """Light of the screen on the faces.

    Args:
        scene: F frames.

    Returns:
        (F, 3) float32 linear level, and (F, 3) unit vector to the middle of the screen, head frame.
    """
    to_camera = scene.rig.screen_to_camera.to(scene.device)
    middle_mm = to_camera[:3, 3] + to_camera[:3, :2] @ (scene.rig.screen_mm.to(scene.device) / 2)
    away_mm = middle_mm - scene.head_position_mm
    distance_mm = torch.linalg.vector_norm(away_mm, dim=-1, keepdim=True)
    toward = ((away_mm / distance_mm)[:, None] @ scene.head_rotation)[:, 0]
    return (scene.screen_rgb * (600.0 / distance_mm) ** 2).float(), toward


def _background(scene: Scene, rays: Rays) -> Tensor:
    """(F, 3, N) two colours in soft waves that hang still in the camera frame."""
    to_camera = scene.head_rotation @ rays.basis
    x, y, z = (to_camera.float() @ rays.grid).unbind(1)
    wave_x, wave_y, phase = scene.background_wave.float()[..., None].unbind(1)
    share = 0.5 + 0.5 * torch.sin((wave_x * x + wave_y * y) * (_TURN / z) + phase)
    first, second = scene.background_rgb.float().unbind(1)
    return first[..., None] + share[:, None] * (second - first)[..., None]
