"""Glasses: rims and a bridge in a plane before the eyes, temples along the head, a faint shine. F frames, N pixels."""

import torch
from torch import Tensor

from gaze_exp.data.synthetic.person import Glasses, Person
from gaze_exp.data.synthetic.skin import band, inside
from gaze_exp.data.synthetic.surface import Surface

_PLANE_MM = -23.0
"""Depth of the lenses in the head frame."""
_SHINE = 0.025


def wear_glasses(person: Person, surface: Surface, *, picture: Tensor, light: Tensor) -> Tensor:
    """Put a person's glasses on.

    Args:
        person: whose; without glasses the picture stays as it is.
        surface: what the rays hit.
        picture: (F, 3, N) linear light.
        light: (F, 3) linear light on a frame of the glasses.

    Returns:
        (F, 3, N) linear light.
    """
    if person.glasses is None:
        return picture
    glasses, rays = person.glasses, surface.rays
    origin_mm = rays.origin_mm.float()[..., None]
    reach = (_PLANE_MM - origin_mm[:, 2]) / rays.direction[:, 2]
    before = torch.where(surface.coverage > 0.5, surface.depth_mm, torch.full_like(reach, torch.inf)) + 1.0
    x, y, _ = (origin_mm + reach[:, None] * rays.direction).unbind(1)
    edge_mm = _lens_edge_mm(person, glasses, x.abs(), y)
    rim = band(edge_mm, glasses.thickness_mm / 2, rays.pixel_mm)
    inner_mm = person.eye_distance_mm / 2 + 1.0 - glasses.half_width_mm
    bridge = band(y + 5.0, glasses.thickness_mm / 2, rays.pixel_mm) * inside(inner_mm - x.abs(), rays.pixel_mm)
    outer_mm = person.eye_distance_mm / 2 + 1.0 + glasses.half_width_mm
    ends_mm = torch.minimum(x.abs() - outer_mm, _temple_mm(person) - x.abs())
    ends = band(y + 4.0, 1.8, rays.pixel_mm) * inside(ends_mm, rays.pixel_mm)
    bridge = torch.maximum(bridge, ends)
    seen = (reach < before).float()
    frame = torch.maximum(torch.maximum(rim, bridge) * seen, _temples(person, surface, before))
    lens = inside(edge_mm, rays.pixel_mm) * seen
    shine = _SHINE * (1.0 + 0.8 * torch.sin(0.09 * x.abs() - 0.13 * y))
    picture = picture * (1.0 - 0.06 * lens)[:, None] + light[..., None] * (shine * lens)[:, None]
    colour = torch.tensor(glasses.rgb) * light
    return picture + frame[:, None] * (colour[..., None] - picture)


def _lens_edge_mm(person: Person, glasses: Glasses, aside: Tensor, y: Tensor) -> Tensor:
    """(F, N) distance from the edge of a lens, positive inside: a box with round corners."""
    across = (aside - person.eye_distance_mm / 2 - 1.0).abs() - glasses.half_width_mm + glasses.corner_mm
    along = (y - 4.0).abs() - glasses.half_height_mm + glasses.corner_mm
    outside = torch.hypot(across.clamp(min=0.0), along.clamp(min=0.0))
    return glasses.corner_mm - outside - torch.maximum(across, along).clamp(max=0.0)


def _temples(person: Person, surface: Surface, before: Tensor) -> Tensor:
    """(F, N) share of the pixels that the temples cover, on both sides of the head."""
    rays = surface.rays
    origin_mm = rays.origin_mm.float()[..., None]
    half_mm = _temple_mm(person)
    share = torch.zeros_like(before)
    for side in (1.0, -1.0):
        reach = (side * half_mm - origin_mm[:, 0]) / _away_from_zero(rays.direction[:, 0])
        _, y, z = (origin_mm + reach[:, None] * rays.direction).unbind(1)
        seen = (reach > 0) & (reach < before)
        height = band(y + 4.0 - 0.06 * (z - _PLANE_MM), 1.8, rays.pixel_mm)
        length = inside(torch.minimum(z - _PLANE_MM, 66.0 - z), 2.0)
        share = torch.maximum(share, height * length * seen)
    return share


def _temple_mm(person: Person) -> float:
    return 70.0 * person.face_width


def _away_from_zero(number: Tensor) -> Tensor:
    return torch.where(number.abs() < 1e-4, torch.full_like(number, 1e-4), number)
