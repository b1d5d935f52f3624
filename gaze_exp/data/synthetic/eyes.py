"""The open eye: eyeball, iris, pupil, glint and the lids' edges, for the pixels that look at a lid.

Only those pixels are computed, as a flat list of K rays. An eyeball is a sphere; its iris is a disc in
the plane of the limbus, seen through a clear cornea, so that the iris's centre is a point of the scene.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from gaze_exp.data.synthetic.glints import CORNEA_BEHIND_IRIS_MM, lamp_glint, screen_glint
from gaze_exp.data.synthetic.person import Person
from gaze_exp.data.synthetic.scene import Scene, eye_centres, optical_axes
from gaze_exp.data.synthetic.skin import band, inside
from gaze_exp.data.synthetic.surface import Surface

_FINE_MM = 1.0
"""Pixels wider than this show neither veins nor the reflected screen."""
_SCLERA_RGB = (0.52, 0.48, 0.45)
_CORNER_RGB = (0.42, 0.22, 0.19)


@dataclass(frozen=True)
class EyePixels:
    """Colour of the pixels in which an eye or the edge of its lids shows."""

    frame: Tensor
    """(K,) int64."""
    pixel: Tensor
    """(K,) int64 in row order."""
    colour: Tensor
    """(K, 3) linear light of the eyeball."""
    opening: Tensor
    """(K,) share of the pixel that sees the eyeball."""
    lash: Tensor
    """(K,) share of the pixel covered by lashes."""
    crease: Tensor
    """(K,) share of light that the fold of the lid takes."""
    eye: Tensor
    """(K,) int64 0 left, 1 right."""
    iris: Tensor
    """(K,) share of the eyeball's part that is iris or pupil."""
    pupil: Tensor
    """(K,) share of the eyeball's part that is pupil."""


def iris_depth_mm(person: Person) -> float:
    """Distance of the iris's centre from the eyeball's, along the optical axis.

    Args:
        person: whose.

    Returns:
        Millimetres.
    """
    return math.sqrt(person.eyeball_radius_mm**2 - person.iris_radius_mm**2)


def lid_heights(scene: Scene, axes: Tensor) -> tuple[Tensor, Tensor]:
    """Heights of the middle of the lids' edges without a blink: they follow the iris up and down.

    Args:
        scene: F frames.
        axes: (F, 2, 3) optical axes, head frame.

    Returns:
        (F, 2) upper and (F, 2) lower edge of the left and right eye; mm above and below the centre.
    """
    person = scene.person
    iris_up_mm = -iris_depth_mm(person) * axes[..., 1]
    upper = torch.tensor(person.upper_lid_mm).to(axes) * scene.lid_scale[:, None] + person.lid_follow * iris_up_mm
    lower = torch.tensor(person.lower_lid_mm).to(axes) - 0.4 * iris_up_mm
    # The lids meet before they cross.
    return torch.maximum(upper, 0.6 - lower), lower


def look_at_eyes(scene: Scene, surface: Surface, *, ambient: Tensor, key: Tensor, light: Tensor) -> EyePixels:
    """Shade the eyeballs between the lids.

    Args:
        scene: F frames.
        surface: what their rays hit.
        ambient: (F, 3) light from everywhere.
        key: (F, 3) light of the lamp.
        light: (F, 3) direction to the lamp, head frame.

    Returns:
        The pixels concerned.
    """
    person, rays = scene.person, surface.rays
    axes = optical_axes(scene)
    hits = _hits(scene, surface, axes)
    upper, lower = (height.float()[hits.frame, hits.eye] for height in lid_heights(scene, axes))
    lid_mm = hits.start_mm + surface.lid_depth_mm[hits.frame, hits.eye, hits.pixel, None] * hits.direction
    lids = _Lids(
        person,
        temporal=hits.side * lid_mm[:, 0],
        y=lid_mm[:, 1],
        upper=upper,
        lower=lower,
        blink=scene.blink.float()[hits.frame],
        pixel_mm=rays.pixel_mm,
    )
    colour, iris, pupil = _paint(scene, hits, lids, pixel_mm=rays.pixel_mm)
    light = light.float()[hits.frame]
    glow = (0.25 + 0.75 * (_eyeball_normal(scene.person, hits) * light).sum(-1)).clamp_(min=0.0)
    lit = ambient[hits.frame] + glow[:, None] * key[hits.frame]
    colour = colour * lit * (1.0 - 0.6 * lids.shadow)[:, None]
    colour = colour + _glints(scene, hits, light=light, key=key, pixel_mm=rays.pixel_mm)
    return EyePixels(
        frame=hits.frame,
        pixel=hits.pixel,
        colour=colour,
        opening=hits.seen * lids.opening,
        lash=hits.seen * lids.lash,
        crease=hits.seen * lids.crease,
        eye=hits.eye,
        iris=iris,
        pupil=pupil,
    )


@dataclass(frozen=True)
class _Hits:
    """The K pixels that look at a lid or through between the lids; head frame, mm, from the eyeball's centre."""

    frame: Tensor
    eye: Tensor
    pixel: Tensor
    seen: Tensor
    """(K,) 1 in front of everything, 0 behind something else."""
    start_mm: Tensor
    direction: Tensor
    axis: Tensor
    side: Tensor
    """(K,) 1 left, -1 right."""


def _hits(scene: Scene, surface: Surface, axes: Tensor) -> _Hits:
    rays = surface.rays
    # A lid in front of, or melted into, what is seen.
    behind_mm = surface.lid_depth_mm - surface.depth_mm[:, None]
    frame, eye, pixel = torch.nonzero(behind_mm < 4.0, as_tuple=True)
    centres_mm = eye_centres(scene.person).to(rays.origin_mm)
    return _Hits(
        frame=frame,
        eye=eye,
        pixel=pixel,
        seen=(2.0 - behind_mm[frame, eye, pixel] / 2.0).clamp_(0.0, 1.0),
        start_mm=(rays.origin_mm[:, None] - centres_mm).float()[frame, eye],
        direction=rays.direction[frame, :, pixel],
        axis=axes.float()[frame, eye],
        side=1.0 - 2.0 * eye.float(),
    )


def _paint(scene: Scene, hits: _Hits, lids: "_Lids", *, pixel_mm: float) -> tuple[Tensor, Tensor, Tensor]:
    """(K, 3) colour of the eyeball, and how much of it is iris and pupil."""
    iris_rgb, iris, pupil = _iris(
        scene.person,
        hits.start_mm,
        hits.direction,
        hits.axis,
        side=hits.side,
        pupil_radius_mm=scene.pupil_mm.float()[hits.frame] / 2,
        pixel_mm=pixel_mm,
    )
    white = _white(lids)
    if pixel_mm < _FINE_MM:
        normal = _eyeball_normal(scene.person, hits)
        white = white * (1.0 - _veins(scene.person, normal, hits.axis, hits.side))
    return white + iris[:, None] * (iris_rgb - white), iris, pupil


def _glints(scene: Scene, hits: _Hits, *, light: Tensor, key: Tensor, pixel_mm: float) -> Tensor:
    """(K, 3) what the cornea mirrors: the lamp, and where it can be seen the screen."""
    cornea_mm = (iris_depth_mm(scene.person) - CORNEA_BEHIND_IRIS_MM) * hits.axis
    rays = {"start_mm": hits.start_mm, "direction": hits.direction, "axis": hits.axis, "cornea_mm": cornea_mm}
    glint = lamp_glint(**rays, light=light, pixel_mm=pixel_mm)
    mirrored = glint[:, None] * 0.9 * key[hits.frame]
    if pixel_mm >= _FINE_MM:
        return mirrored
    eye_mm = eye_centres(scene.person).to(hits.start_mm)[hits.eye]
    return mirrored + screen_glint(scene, frame=hits.frame, eye_mm=eye_mm, **rays)


class _Lids:
    """Edges of the lids at K points of the lids' front, `temporal` mm outwards and `y` mm down."""

    def __init__(
        self,
        person: Person,
        *,
        temporal: Tensor,
        y: Tensor,
        upper: Tensor,
        lower: Tensor,
        blink: Tensor,
        pixel_mm: float,
    ) -> None:
        half = person.fissure_half_width_mm
        self.place = temporal / half
        arch = (1.0 - self.place.square()).clamp(min=0.0)
        corner_y = -person.canthal_slope * temporal
        # The upper lid is highest towards the nose, the lower one lowest towards the temple.
        top = corner_y - upper * arch.pow(0.65) * (1.0 - 0.10 * self.place)
        bottom = corner_y + lower * arch.pow(0.8) * (1.0 + 0.12 * self.place)
        within = inside(half - temporal.abs(), pixel_mm)
        # Of a blink the upper lid goes nearly all the way.
        gap = blink * (bottom - top)
        top, bottom = top + 0.9 * gap, bottom - 0.1 * gap
        self.below_top = y - top
        self.opening = inside(self.below_top, pixel_mm) * inside(bottom - y, pixel_mm) * within
        self.shadow = torch.exp(-self.below_top.clamp(min=0.0) / 1.6)
        outer = 0.85 + 0.35 * self.place
        self.lash = 0.9 * band(self.below_top + 0.2, outer, pixel_mm) * within
        lower_lash = 0.4 * band(bottom - y + 0.4, 0.4, pixel_mm) * within
        self.lash = torch.maximum(self.lash, lower_lash)
        fold_y = self.below_top + 2.6 + 0.25 * upper
        self.crease = 0.45 * band(fold_y, 0.6, pixel_mm + 0.6) * inside(1.1 * half - temporal.abs(), 3.0)


def _white(lids: _Lids) -> Tensor:
    """(K, 3) sclera, pink in the corners."""
    pink = ((lids.place.abs() - 0.62) / 0.5).clamp(0.0, 1.0)
    pink = torch.where(lids.place < 0, 1.5 * pink, 0.6 * pink).clamp_(max=1.0)[:, None]
    return torch.tensor(_SCLERA_RGB) + pink * (torch.tensor(_CORNER_RGB) - torch.tensor(_SCLERA_RGB))


def _veins(person: Person, normal: Tensor, axis: Tensor, side: Tensor) -> Tensor:
    """(K, 3) light that veins swallow: fine wavy lines that run from the corners and end before the iris."""
    across, along = side * normal[:, 0], normal[:, 1]
    bend = 0.10 * torch.sin(9.0 * across + person.iris_turn) + 0.05 * torch.sin(23.0 * across)
    line = torch.sin(17.0 * (along + bend * (0.3 + across.abs())))
    thin = (1.0 - 9.0 * line.square()).clamp(min=0.0)
    away = (0.80 - (normal * axis).sum(-1)).clamp(0.0, 0.35) / 0.35
    return (0.4 * person.veins * thin * away)[:, None] * torch.tensor([0.15, 0.9, 0.8])


def _iris(
    person: Person,
    start_mm: Tensor,
    direction: Tensor,
    axis: Tensor,
    *,
    side: Tensor,
    pupil_radius_mm: Tensor,
    pixel_mm: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """(K, 3) colour of iris and pupil, (K,) share of the pixel that both fill and (K,) that the pupil does."""
    depth_mm = iris_depth_mm(person)
    facing = (direction * axis).sum(-1)
    reach_mm = (depth_mm - (start_mm * axis).sum(-1)) / facing.clamp(max=-0.05)
    offset_mm = start_mm + reach_mm[:, None] * direction - depth_mm * axis
    radius_mm = torch.linalg.vector_norm(offset_mm, dim=-1)
    # The limbus is no sharp edge.
    share = inside(person.iris_radius_mm - radius_mm, pixel_mm + 0.3) * (facing < -0.05)
    # Angle around the axis: x and y of the offset serve, for the axis never lies near them.
    angle = torch.atan2(offset_mm[:, 1], side * offset_mm[:, 0]) + person.iris_turn
    spokes = 1.0 + 0.16 * torch.sin(23.0 * angle) * torch.sin(11.0 * angle + 1.0)
    place = radius_mm / person.iris_radius_mm
    ring = 1.0 + 0.25 * band(radius_mm - pupil_radius_mm - 0.9, 0.35, pixel_mm + 0.3)
    rim = 1.0 - 0.6 * ((place - 0.78) / 0.22).clamp(0.0, 1.0)
    tone = (1.25 - 0.35 * place) * rim * ring * spokes
    pupil = inside(pupil_radius_mm - radius_mm, pixel_mm)
    return torch.tensor(person.iris_rgb) * (tone * (1.0 - pupil))[:, None] + 0.004, share, share * pupil


def _eyeball_normal(person: Person, hits: _Hits) -> Tensor:
    """(K, 3) unit normal where the ray meets the eyeball, or passes it closest."""
    a = hits.direction.square().sum(-1)
    b = (hits.start_mm * hits.direction).sum(-1)
    c = hits.start_mm.square().sum(-1) - person.eyeball_radius_mm**2
    depth = (-b - (b * b - a * c).clamp(min=0.0).sqrt()) / a
    return torch.nn.functional.normalize(hits.start_mm + depth[:, None] * hits.direction, dim=-1)
