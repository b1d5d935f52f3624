"""A person by seed: the shape of the head, colours, lids, and the angle kappa of each eye.

Everything is drawn here and nowhere else, so that one seed is one person in every layout and at every
size. Values for two eyes are (left, right), the subject's own. Lengths are millimetres, colours linear
RGB in 0..1.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

Colour = tuple[float, float, float]
Pair = tuple[float, float]

# Colours as they appear on a screen; `_linear` turns them into what light does to them.
_SKIN = ((0.96, 0.82, 0.73), (0.90, 0.72, 0.60), (0.80, 0.60, 0.46), (0.62, 0.43, 0.31), (0.42, 0.29, 0.22))
_HAIR = ((0.09, 0.07, 0.06), (0.23, 0.14, 0.09), (0.42, 0.28, 0.17), (0.74, 0.58, 0.36), (0.62, 0.60, 0.58))
_IRIS = ((0.23, 0.13, 0.08), (0.36, 0.22, 0.12), (0.43, 0.36, 0.20), (0.36, 0.48, 0.58), (0.42, 0.47, 0.49))
_IRIS_SHARE = (0.32, 0.26, 0.14, 0.18, 0.10)


@dataclass(frozen=True)
class Glasses:
    """A frame; its lenses do not bend the light."""

    half_width_mm: float
    """Of one lens."""
    half_height_mm: float
    corner_mm: float
    """Radius of the corners."""
    thickness_mm: float
    rgb: Colour


@dataclass(frozen=True)
class Person:
    """What stays the same in every frame of one person."""

    eye_distance_mm: float
    """Between the centres of the eyeballs."""
    face_width: float
    """Scale of the head to the side, 1 on average."""
    face_length: float
    """Scale of everything below the eyes, 1 on average."""
    jaw_width: float
    cheek_mm: float
    """How far the cheekbones stand out, 0 on average."""
    brow_ridge_mm: float
    nose_length_mm: float
    nose_width_mm: float
    nose_height_mm: float
    """How far the tip stands out of the face."""
    mouth_half_width_mm: float
    lip_mm: float
    """Height of one lip at the middle of the mouth."""
    chin_mm: float
    hairline_mm: float
    """Height of the hair's edge above the eyes."""
    hair_volume_mm: float
    brow_height_mm: float
    brow_half_thickness_mm: float
    brow_arch_mm: float
    stubble: float
    """0 none, 1 a dark shadow."""
    beard: float
    """0 none, 1 chin and upper lip covered."""
    glasses: Glasses | None
    freckles: float
    """0 even skin, 1 blotched."""
    veins: float
    """0 white eyes, 1 red ones."""
    iris_turn: float
    """Radians that turn the pattern of the iris."""
    skin_rgb: Colour
    lip_rgb: Colour
    hair_rgb: Colour
    iris_rgb: Colour
    clothes_rgb: Colour
    iris_radius_mm: float
    fissure_half_width_mm: float
    """Half the distance between the corners of an eye."""
    canthal_slope: float
    """Rise of the outer corner of the eye, mm per mm."""
    upper_lid_mm: Pair
    """Height of the upper lid's edge above the eyeball's centre when the eye looks straight ahead."""
    lower_lid_mm: Pair
    lid_follow: float
    """How much of the iris's up and down the upper lid follows."""
    kappa_nasal_deg: Pair
    """How far the visual axis points to the nose of the optical axis."""
    kappa_up_deg: Pair
    """How far the visual axis points above the optical axis."""
    eyeball_radius_mm: float
    """The longer an eye, the further its iris moves with every degree."""


def random_stream(*key: int | str) -> torch.Generator:
    """Random numbers of their own for every key, so that one draw more here moves nothing there.

    Args:
        *key: what the numbers are for, such as seed, person number and purpose.

    Returns:
        A generator on the CPU.
    """
    digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)


def draw_person(seed: int, *, number: int) -> Person:
    """Draw one person.

    Args:
        seed: of the whole synthetic set.
        number: of the person, unique over all splits.

    Returns:
        The person; the same seed and number give the same one.
    """
    draw = _Draw(random_stream(seed, number, "person"))
    darkness = draw.uniform(0.0, 1.0)
    skin = _between(_SKIN, darkness * (len(_SKIN) - 1))
    hair = _between(_HAIR, draw.uniform(0.0, 1.0 - 0.7 * darkness) * (len(_HAIR) - 1))
    # Dark skin seldom comes with light eyes.
    light_eyes = 1.0 - 0.95 * min(1.0, 1.6 * darkness)
    iris = _IRIS[draw.choice([share * (1.0 if n < 2 else light_eyes) for n, share in enumerate(_IRIS_SHARE)])]
    lid_upper, lid_lower = draw.normal(5.0, 0.55), draw.normal(5.1, 0.4)
    shape = _draw_shape(draw)
    return Person(
        **shape,
        stubble=max(0.0, draw.uniform(-1.0, 1.0)),
        beard=max(0.0, draw.uniform(-3.0, 1.0)),
        glasses=_draw_glasses(draw),
        freckles=draw.uniform(0.1, 1.0),
        veins=draw.uniform(0.0, 1.0),
        iris_turn=draw.uniform(0.0, 6.28),
        skin_rgb=_linear(skin),
        lip_rgb=_linear((skin[0] * 0.86, skin[1] * 0.66, skin[2] * 0.68)),
        hair_rgb=_linear(hair),
        iris_rgb=_linear(iris),
        clothes_rgb=_linear((draw.uniform(0.1, 0.9), draw.uniform(0.1, 0.9), draw.uniform(0.1, 0.9))),
        iris_radius_mm=draw.normal(5.9, 0.15),
        fissure_half_width_mm=draw.normal(14.2, 0.6),
        canthal_slope=draw.normal(0.07, 0.05),
        upper_lid_mm=draw.pair(lid_upper, 0.2),
        lower_lid_mm=draw.pair(lid_lower, 0.15),
        lid_follow=draw.normal(0.82, 0.05),
        # Eyes of one person are nearly alike up and down; aside they differ more, and what they share cancels in
        # the gaze of the face.
        kappa_nasal_deg=draw.pair(draw.normal(4.5, 1.2), 0.8),
        kappa_up_deg=draw.pair(draw.normal(0.0, 1.35), 0.4),
        eyeball_radius_mm=draw.normal(12.0, 0.4),
    )


def _draw_shape(draw: "_Draw") -> dict[str, float]:
    """Lengths and scales of the head."""
    return {
        "eye_distance_mm": draw.normal(62.0, 2.5),
        "face_width": draw.normal(1.03, 0.04),
        "face_length": draw.normal(1.03, 0.045),
        "jaw_width": draw.normal(1.0, 0.07),
        "cheek_mm": draw.normal(0.0, 1.8),
        "brow_ridge_mm": draw.normal(0.0, 1.2),
        "nose_length_mm": draw.normal(41.0, 3.0),
        "nose_width_mm": draw.normal(17.0, 2.0),
        "nose_height_mm": draw.normal(22.0, 2.5),
        "mouth_half_width_mm": draw.normal(25.0, 2.2),
        "lip_mm": draw.normal(7.0, 1.4),
        "chin_mm": draw.normal(0.0, 3.0),
        "hairline_mm": draw.normal(68.0, 7.0),
        "hair_volume_mm": draw.uniform(4.0, 18.0),
        "brow_height_mm": draw.normal(20.5, 1.8),
        "brow_half_thickness_mm": draw.normal(2.9, 0.7),
        "brow_arch_mm": draw.normal(3.0, 1.2),
    }


def mirror_person(person: Person) -> Person:
    """Swap what the two eyes do not share; the rest of the head is symmetric.

    Args:
        person: any person.

    Returns:
        Their mirror image.
    """
    return replace(
        person,
        upper_lid_mm=person.upper_lid_mm[::-1],
        lower_lid_mm=person.lower_lid_mm[::-1],
        kappa_nasal_deg=person.kappa_nasal_deg[::-1],
        kappa_up_deg=person.kappa_up_deg[::-1],
    )


class _Draw:
    """Draws single numbers, in the order in which they are asked for."""

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator

    def uniform(self, low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand((), generator=self.generator, dtype=torch.float64))

    def normal(self, mean: float, spread: float) -> float:
        """Never further than 2.5 spreads from the mean: a head must stay a head."""
        draw = float(torch.randn((), generator=self.generator, dtype=torch.float64))
        return mean + spread * max(-2.5, min(2.5, draw))

    def pair(self, mean: float, spread: float) -> Pair:
        return self.normal(mean, spread), self.normal(mean, spread)

    def choice(self, shares: Sequence[float]) -> int:
        return int(torch.multinomial(torch.tensor(shares), 1, generator=self.generator))


def _draw_glasses(draw: _Draw) -> Glasses | None:
    """One person in five wears them; the same numbers are drawn for all."""
    half_height_mm = draw.uniform(15.0, 21.0)
    shade, warmth = draw.uniform(0.05, 0.45), draw.uniform(0.7, 1.0)
    glasses = Glasses(
        half_width_mm=draw.uniform(22.0, 26.0),
        half_height_mm=half_height_mm,
        corner_mm=draw.uniform(0.35, 0.95) * half_height_mm,
        thickness_mm=draw.uniform(0.8, 3.2),
        rgb=_linear((shade, shade * warmth, shade * warmth * warmth)),
    )
    return glasses if draw.uniform(0.0, 1.0) < 0.2 else None


def _between(palette: Sequence[Colour], place: float) -> Colour:
    """Colour at `place` on the way through a palette: 1.5 lies halfway from the second to the third."""
    index = min(int(place), len(palette) - 2)
    share = place - index
    low, high = palette[index], palette[index + 1]
    return (
        low[0] + share * (high[0] - low[0]),
        low[1] + share * (high[1] - low[1]),
        low[2] + share * (high[2] - low[2]),
    )


def _linear(colour: Colour) -> Colour:
    """Light from screen values; the renderer's square root is the way back."""
    red, green, blue = colour
    return red * red, green * green, blue * blue
