"""Colour of the skin and what grows on it, painted in the head frame: brows, lips, shadows, stubble.

F frames, N pixels. Every edge is as soft as a pixel is wide, so nothing flickers at small sizes.
"""

import torch
from torch import Tensor

from gaze_exp.data.synthetic.person import Person
from gaze_exp.data.synthetic.scene import mouth_height_mm
from gaze_exp.data.synthetic.surface import Surface

_FINE_MM = 1.3
"""Pixels wider than this show nothing of the skin's texture."""


def inside(distance_mm: Tensor, pixel_mm: float) -> Tensor:
    """Share of a pixel inside an edge.

    Args:
        distance_mm: (...) from the edge, positive inside.
        pixel_mm: width of a pixel.

    Returns:
        (...) 0..1.
    """
    return (0.5 + distance_mm / pixel_mm).clamp_(0.0, 1.0)


def band(distance_mm: Tensor, half_mm: Tensor | float, pixel_mm: float) -> Tensor:
    """Share of a pixel within a band, exact also for bands thinner than a pixel.

    Args:
        distance_mm: (...) from the middle of the band.
        half_mm: half the width of the band.
        pixel_mm: width of a pixel.

    Returns:
        (...) 0..1.
    """
    return inside(distance_mm + half_mm, pixel_mm) - inside(distance_mm - half_mm, pixel_mm)


def paint_head(person: Person, surface: Surface) -> Tensor:
    """Colour of everything but the open eyes, before light.

    Args:
        person: whose.
        surface: what the rays hit.

    Returns:
        (F, 3, N) linear albedo.
    """
    pixel_mm = surface.rays.pixel_mm
    x, y, z = surface.point_mm.unbind(1)
    aside = x.abs()
    hair = surface.hair
    colour = _skin(person, aside, y)
    if pixel_mm < _FINE_MM:
        colour = colour * _blotches(person, aside, y)[:, None]
    # Most bands of a picture hold neither mouth nor brows.
    highest, lowest = (float(end) for end in y.aminmax())
    if lowest > mouth_height_mm(person) - 4.0 * person.lip_mm:
        colour = _mix(colour, person.lip_rgb, 0.85 * _lips(person, aside, y, pixel_mm))
    if highest < 10.0 - person.brow_height_mm:
        # Painted straight through the head; only its front shows them.
        front = (z < 30.0).float()
        colour = _mix(colour, person.hair_rgb, 0.7 * front * _brows(person, aside, y, pixel_mm))
    strands = 1.0 + 0.2 * torch.sin(1.3 * aside + 0.2 * y + 0.9 * z)
    colour = colour + hair[:, None] * (_rgb(person.hair_rgb) * strands[:, None] - colour)
    return _mix(colour, person.clothes_rgb, surface.clothes)


def hollows(person: Person, surface: Surface) -> Tensor:
    """Where little light from around gets in: eye sockets, under the nose, between the lips.

    Args:
        person: whose.
        surface: what the rays hit.

    Returns:
        (F, N) factor 0..1.
    """
    x, y, _ = surface.point_mm.unbind(1)
    aside = x.abs()
    eye, mouth_y, nose_y = person.eye_distance_mm / 2, mouth_height_mm(person), person.nose_length_mm
    socket = 0.32 * _blob(aside - eye + 1.0, y + 4.0, 18.0, 8.0)
    bag = 0.16 * _blob(aside - eye + 2.0, y - 10.0, 13.0, 4.0)
    corner = 0.14 * _blob(aside - 0.48 * eye, y - 1.0, 4.5, 7.0)
    nostril = 0.75 * _blob(aside - 0.36 * person.nose_width_mm, y - nose_y - 7.0, 2.8, 2.2)
    below_nose = 0.30 * _blob(aside, y - nose_y - 11.0, 12.0, 4.0)
    curve = 0.0020 * aside * aside
    gap = 0.65 * band(y - mouth_y + curve, 0.7, surface.rays.pixel_mm)
    gap = gap * inside(person.mouth_half_width_mm - aside, surface.rays.pixel_mm)
    below_lip = 0.25 * _blob(aside, y - mouth_y - 2.0 * person.lip_mm, 14.0, 3.5)
    light = torch.ones_like(aside)
    for shade in (socket, bag, corner, nostril, below_nose, gap, below_lip):
        light = light * (1.0 - shade)
    return light


def _skin(person: Person, aside: Tensor, y: Tensor) -> Tensor:
    """Skin with redder cheeks and nose, and a beard's shadow."""
    length = person.face_length
    blush = 0.5 * _blob(aside - 40.0, y - 34.0 * length, 16.0, 13.0)
    blush = blush + 0.5 * _blob(aside, y - person.nose_length_mm, 11.0, 9.0)
    base = torch.tensor(person.skin_rgb)
    red = torch.tensor([0.06, -0.13, -0.11]) * base
    colour = base[:, None] + red[:, None] * blush[:, None]
    if person.stubble > 0 or person.beard > 0:
        mouth_y = mouth_height_mm(person)
        # It thins out towards the cheeks; a sharper edge looks like a scarf.
        low = ((y - mouth_y + 26.0 - 0.4 * aside) / 30.0).clamp(0.0, 1.0).square()
        thick = 0.65 * min(1.0, 2.0 * person.beard)
        colour = _mix(colour, person.hair_rgb, max(0.45 * person.stubble, thick) * low)
    return colour


def _blotches(person: Person, aside: Tensor, y: Tensor) -> Tensor:
    """(F, N) factor around 1: pores, freckles and lines, the same on both sides of the face."""
    coarse = torch.sin(0.31 * aside + 1.7) * torch.sin(0.27 * y + 4.0 * person.freckles)
    fine = torch.sin(1.9 * aside + 1.1 * torch.sin(0.9 * y)) * torch.sin(2.3 * y + 1.3 * torch.sin(0.7 * aside))
    lines = (
        0.6 * band(((y + 48.0) / 9.0 - ((y + 48.0) / 9.0).round()) * 9.0, 0.5, 1.5) * _blob(aside, y + 47.0, 26.0, 12.0)
    )
    return 1.0 + person.freckles * (0.04 * coarse + 0.05 * fine) - 0.12 * lines


def _lips(person: Person, aside: Tensor, y: Tensor, pixel_mm: float) -> Tensor:
    half, lip, line_y = person.mouth_half_width_mm, person.lip_mm, mouth_height_mm(person)
    full = (1.0 - (aside / half).square()).clamp(min=0.0)
    line = line_y - 0.0020 * aside * aside
    # The dip in the middle of the upper lip.
    bow = 1.0 - 0.25 * (1.0 - (aside / 8.0).square()).clamp(min=0.0).square()
    upper = inside(y - line + lip * full * bow, 1.5 + pixel_mm)
    lower = inside(line + 1.25 * lip * full.sqrt() - y, 1.5 + pixel_mm)
    return upper * lower * inside(half - aside, 1.5 + pixel_mm)


def _brows(person: Person, aside: Tensor, y: Tensor, pixel_mm: float) -> Tensor:
    place = (aside - person.eye_distance_mm / 2) / 21.0
    middle = -person.brow_height_mm + person.brow_arch_mm * (place - 0.3).square() * 0.9
    half = person.brow_half_thickness_mm * (1.0 - 0.55 * (place + 0.4).clamp(0.0, 1.4) / 1.4)
    along = inside(21.0 * (1.05 - place.abs()), 4.0 + pixel_mm)
    share = band(y - middle, half, 1.2 + pixel_mm) * along
    if pixel_mm < _FINE_MM:
        share = share * (0.9 + 0.1 * torch.sin(3.1 * aside - 1.9 * y + 2.0 * torch.sin(0.9 * aside)))
    return share


def _blob(x: Tensor, y: Tensor, width_mm: float, height_mm: float) -> Tensor:
    """A soft spot; like a bell curve but exactly zero outside, which also keeps denormals away."""
    away = (x * (0.5 / width_mm)).square() + (y * (0.5 / height_mm)).square()
    return (1.0 - away).clamp_(min=0.0).square_().square_()


def _rgb(colour: tuple[float, float, float]) -> Tensor:
    """(3, 1)."""
    return torch.tensor(colour)[:, None]


def _mix(colour: Tensor, other: tuple[float, float, float], share: Tensor) -> Tensor:
    return colour + share[:, None] * (_rgb(other) - colour)
