"""The head as ellipsoids that melt into each other, in the head frame (scene.py), millimetres.

Numbers are an average adult face, measured from the midpoint between the eyeballs; a person scales them.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from gaze_exp.data.synthetic.person import Person
from gaze_exp.data.synthetic.scene import mouth_height_mm


@dataclass(frozen=True)
class Ellipsoid:
    """One ellipsoid, turned about the x axis."""

    centre_mm: tuple[float, float, float]
    radii_mm: tuple[float, float, float]
    tilt_deg: float = 0.0
    """Positive moves the lower end towards the camera."""
    material: str = "skin"
    """skin, hair, clothes or lid."""


def head_ellipsoids(person: Person) -> list[Ellipsoid]:
    """Build a person's head.

    Args:
        person: whose.

    Returns:
        Ellipsoids in a fixed order; the lids of the left and the right eye come first, the hair
        over the forehead and the hair behind the face last.
    """
    half = person.eye_distance_mm / 2
    # Longer than the eyeball to the side, where the lids meet in the corners.
    eyeball_mm = person.eyeball_radius_mm
    lid_radii = (person.fissure_half_width_mm + 3.5, eyeball_mm + 1.6, eyeball_mm + 1.0)
    lids = [Ellipsoid((side * half, 0.0, 0.0), lid_radii, material="lid") for side in (1.0, -1.0)]
    return lids + _skull(person) + _nose(person) + _mouth(person) + _around_the_face(person)


def _skull(person: Person) -> list[Ellipsoid]:
    wide, long, cheek, ridge = person.face_width, person.face_length, person.cheek_mm, person.brow_ridge_mm
    # Large and deep rather than small and high: what meets the rest at a flat angle melts into it.
    parts = [
        Ellipsoid((0.0, -34.0, 70.0), (74.0 * wide, 92.0, 91.0)),
        Ellipsoid((0.0, 40.0 * long, 50.0), (61.0 * wide * person.jaw_width, 74.0 * long, 75.0)),
        Ellipsoid((0.0, 72.0 * long, 26.0 - person.chin_mm), (37.0, 40.0 * long, 43.0)),
        Ellipsoid((0.0, 8.0, 49.0 - cheek), (65.0 * wide, 62.0, 58.0)),
        Ellipsoid((0.0, -24.0, 14.0), (26.0, 20.0, 31.5)),
    ]
    for side in (1.0, -1.0):
        parts += [
            Ellipsoid((side * 27.0 * wide * person.jaw_width, 34.0 * long, 26.0 - cheek), (35.0, 36.0, 37.0)),
            Ellipsoid((side * person.eye_distance_mm / 2, 0.0, 8.5), (23.0, 17.0, 18.5)),
            Ellipsoid((side * 22.0 * wide, -25.0, 16.0 - ridge), (28.0, 13.0, 29.5)),
        ]
    return parts


def _nose(person: Person) -> list[Ellipsoid]:
    tip_y, width, height = person.nose_length_mm, person.nose_width_mm, person.nose_height_mm
    tip_z = -20.0 - height
    lean_deg = math.degrees(math.atan2(height - 6.0, tip_y))
    parts = [
        Ellipsoid((0.0, 0.42 * tip_y, -3.0 - 0.42 * height), (0.55 * width, 0.80 * tip_y, 16.0), lean_deg),
        # The sides slope down to the cheeks.
        Ellipsoid((0.0, 0.62 * tip_y, -1.0 - 0.25 * height), (1.0 * width, 0.72 * tip_y, 16.0), lean_deg),
        Ellipsoid((0.0, tip_y - 1.0, tip_z + 13.0), (0.62 * width, 9.5, 14.0)),
    ]
    return parts + [
        Ellipsoid((side * 0.58 * width, tip_y + 1.5, -18.0 - 0.2 * height), (0.42 * width, 7.0, 12.0))
        for side in (1.0, -1.0)
    ]


def _mouth(person: Person) -> list[Ellipsoid]:
    line_y, lip, half = mouth_height_mm(person), person.lip_mm, person.mouth_half_width_mm
    return [
        Ellipsoid((0.0, line_y - 0.5 * lip, -13.0), (half, 0.85 * lip, 13.0)),
        Ellipsoid((0.0, line_y + 0.6 * lip, -12.5), (0.85 * half, 0.9 * lip, 13.0)),
        Ellipsoid((0.0, line_y - 6.0, 8.0), (1.25 * half, 25.0, 31.0)),
    ]


def _around_the_face(person: Person) -> list[Ellipsoid]:
    wide, volume = person.face_width, person.hair_volume_mm
    # Twice: what falls over the forehead and what grows behind the face are cut differently.
    radii_mm = (77.0 * wide + volume, 90.0 + volume, 92.0 + volume / 3)
    hair = Ellipsoid((0.0, -40.0, 78.0), radii_mm, material="hair")
    ears = [Ellipsoid((side * 73.0 * wide, 10.0, 66.0), (11.0, 31.0, 15.0)) for side in (1.0, -1.0)]
    return [
        *ears,
        Ellipsoid((0.0, 150.0, 72.0), (48.0 * wide, 120.0, 50.0)),
        Ellipsoid((0.0, 440.0, 100.0), (225.0, 268.0, 108.0), material="clothes"),
        hair,
        hair,
    ]


@dataclass(frozen=True)
class HeadMatrices:
    """A head ready for ray casting: P ellipsoids as the points p with |A (p - c)| = 1; head frame, mm."""

    shape: Tensor
    """(P, 3, 3) float64: A."""
    centre_mm: Tensor
    """(P, 3) float64: c."""
    reach_mm: Tensor
    """(P,) float64: the longest radius."""
    outline_mm: Tensor
    """(P,) float32: radius of the outline seen from the front, on average."""
    blend: Tensor
    """(12, P) float32: what melts: the gradient (6 of Q, 3 of Qc with Q = A'A), hair, clothes, all."""

    def to(self, device: torch.device) -> "HeadMatrices":
        """Move the matrices to a device.

        Args:
            device: where the rays are.

        Returns:
            The same head there.
        """
        return HeadMatrices(*(matrix.to(device) for matrix in vars(self).values()))


@lru_cache(maxsize=8)
def head_matrices(person: Person) -> HeadMatrices:
    """Build a person's head for ray casting.

    Args:
        person: whose.

    Returns:
        Ellipsoids in the order of `head_ellipsoids`.
    """
    with torch.device("cpu"):
        return _matrices(head_ellipsoids(person))


def _matrices(parts: list[Ellipsoid]) -> HeadMatrices:
    shape = torch.stack([_shape(part) for part in parts])
    radii_mm = torch.tensor([part.radii_mm for part in parts], dtype=torch.float64)
    centre_mm = torch.tensor([part.centre_mm for part in parts], dtype=torch.float64)
    # Scaled so that the gradients of small and large ellipsoids weigh alike.
    size_mm = radii_mm.prod(1) ** (1 / 3)
    q = shape.transpose(-1, -2) @ shape * size_mm[:, None, None]
    rows = [q[:, 0, 0], q[:, 1, 1], q[:, 2, 2], q[:, 0, 1], q[:, 0, 2], q[:, 1, 2]]
    rows += list((q @ centre_mm[..., None])[..., 0].T)
    for name in ("hair", "clothes"):
        rows.append(torch.tensor([part.material == name for part in parts]).double())
    return HeadMatrices(
        shape=shape,
        centre_mm=centre_mm,
        reach_mm=radii_mm.amax(1),
        outline_mm=radii_mm[:, :2].prod(1).sqrt().float(),
        blend=torch.stack((*rows, torch.ones_like(size_mm))).float(),
    )


def _shape(part: Ellipsoid) -> Tensor:
    tilt = math.radians(part.tilt_deg)
    cos, sin = math.cos(tilt), math.sin(tilt)
    turn = torch.tensor([[1.0, 0.0, 0.0], [0.0, cos, -sin], [0.0, sin, cos]], dtype=torch.float64)
    return turn / torch.tensor(part.radii_mm, dtype=torch.float64)[:, None]
