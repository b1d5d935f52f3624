"""Points of the head in the image of the rig's camera: 68 landmarks, the box of the head, the eyes. F frames."""

import math
from functools import lru_cache

import torch
from torch import Tensor

from gaze_exp.camera import project
from gaze_exp.data.synthetic.person import Person
from gaze_exp.data.synthetic.scene import Scene, eye_centres, mouth_height_mm
from gaze_exp.data.synthetic.surface import Rays, first_surface

_FAR_MM = 20_000.0
_CORNERS_MM = -8.0
"""Depth of the corners of an eye; an eyeball reaches from 12 to -12 on average."""


def landmarks_px(scene: Scene, *, width_px: int, height_px: int) -> Tensor:
    """The 68 points of iBUG's scheme, in its order.

    The points sit on the head and do not move with lids or lips; 1..17 run from the image's left along the jaw.

    Args:
        scene: F frames.
        width_px: of the image.
        height_px: of the image.

    Returns:
        (F, 68, 2) px.
    """
    return _to_image(scene, face_points(scene.person), width_px=width_px, height_px=height_px)


def head_box_px(scene: Scene, *, width_px: int, height_px: int) -> Tensor:
    """Box around the face, from jaw to hairline and from ear to ear.

    Args:
        scene: F frames.
        width_px: of the image.
        height_px: of the image.

    Returns:
        (F, 4) px: left, top, right, bottom.
    """
    points_mm = torch.cat((face_points(scene.person), _forehead(scene.person)))
    points_px = _to_image(scene, points_mm, width_px=width_px, height_px=height_px)
    return torch.cat((points_px.amin(1), points_px.amax(1)), dim=-1)


def eye_centres_px(scene: Scene, *, width_px: int, height_px: int) -> Tensor:
    """Middles between the corners of the eyes, which is where a face detector sees an eye (Zhang et al., ETRA 2018).

    Args:
        scene: F frames.
        width_px: of the image.
        height_px: of the image.

    Returns:
        (F, 2, 2) px of the left and the right eye.
    """
    points_mm = eye_centres(scene.person) + torch.tensor([0.0, 0.0, _CORNERS_MM], dtype=torch.float64)
    return _to_image(scene, points_mm, width_px=width_px, height_px=height_px)


@lru_cache(maxsize=8)
def face_points(person: Person) -> Tensor:
    """The 68 points on a head.

    Args:
        person: whose.

    Returns:
        (68, 3) head frame, mm.
    """
    with torch.device("cpu"):
        return _on_surface(
            person, torch.cat((_jaw(person), _brows(person), _nose(person), _eyes(person), _mouth(person)))
        )


def _to_image(scene: Scene, points_mm: Tensor, *, width_px: int, height_px: int) -> Tensor:
    camera_matrix = scene.rig.scaled_camera_matrix(width_px=width_px, height_px=height_px)
    return project(camera_matrix.to(scene.device), scene.to_camera(points_mm.to(scene.device)))


def _on_surface(person: Person, places_mm: Tensor) -> Tensor:
    """(K, 3) head frame: where rays from far in front meet the head at (K, 2) x, y."""
    grid = torch.cat((places_mm / _FAR_MM, torch.ones(len(places_mm), 1)), dim=-1).float().T
    origin_mm = torch.tensor([[0.0, 0.0, -_FAR_MM]], dtype=torch.float64)
    rays = Rays(origin_mm, torch.eye(3, dtype=torch.float64)[None], grid, pixel_mm=0.5)
    depth_mm = first_surface(person, rays).depth_mm[0].double() - _FAR_MM
    return torch.cat((places_mm.double(), depth_mm[:, None]), dim=-1)


def _jaw(person: Person) -> Tensor:
    """(17, 2) from the image's left ear around the chin."""
    turn = torch.linspace(-1.0, 1.0, 17, dtype=torch.float64)
    chin_y = chin_height_mm(person)
    wide = 66.0 * person.face_width * (1.0 - 0.25 * (1.0 - turn.abs()) * (2.0 - person.jaw_width))
    angle = turn * math.pi / 2
    return torch.stack((wide * angle.sin(), chin_y * angle.cos() ** 0.8 + 4.0), dim=-1)


def chin_height_mm(person: Person) -> float:
    """Lowest point of the face.

    Args:
        person: whose.

    Returns:
        y in the head frame, mm.
    """
    return 110.0 * person.face_length


def _forehead(person: Person) -> Tensor:
    """(5, 3) points along the hairline."""
    places = torch.tensor([-0.8, -0.4, 0.0, 0.4, 0.8], dtype=torch.float64)
    y = -min(person.hairline_mm, 75.0) * (1.0 - 0.35 * places.square())
    return _on_surface(person, torch.stack((60.0 * person.face_width * places, y), dim=-1))


def _brows(person: Person) -> Tensor:
    """(10, 2) from the image's left."""
    place = torch.linspace(-0.95, 0.95, 5, dtype=torch.float64)
    y = -person.brow_height_mm + person.brow_arch_mm * (place - 0.3).square() * 0.9
    x = person.eye_distance_mm / 2 + 21.0 * place
    left = torch.stack((x, y), dim=-1)
    return torch.cat(((left * torch.tensor([-1.0, 1.0])).flip(0), left))


def _nose(person: Person) -> Tensor:
    """(9, 2): four down the bridge, five under the tip."""
    bridge_y = torch.linspace(0.0, person.nose_length_mm, 4, dtype=torch.float64)
    bridge = torch.stack((torch.zeros_like(bridge_y), bridge_y), dim=-1)
    x = 0.75 * person.nose_width_mm * torch.linspace(-1.0, 1.0, 5, dtype=torch.float64)
    below = torch.stack((x, person.nose_length_mm + 8.0 - 0.006 * x.square()), dim=-1)
    return torch.cat((bridge, below))


def _eyes(person: Person) -> Tensor:
    """(12, 2): the eye at the image's left first; each from its left corner over the top, then back below."""
    half = person.fissure_half_width_mm
    x = half * torch.tensor([-1.0, -0.4, 0.4, 1.0, 0.4, -0.4], dtype=torch.float64)
    arch = 1.0 - (x / half).square()
    eyes = []
    for side, index in ((-1.0, 1), (1.0, 0)):
        heights = torch.tensor([-person.upper_lid_mm[index]] * 4 + [person.lower_lid_mm[index]] * 2)
        y = heights * arch - person.canthal_slope * side * x
        eyes.append(torch.stack((x + side * person.eye_distance_mm / 2, y), dim=-1))
    return torch.cat(eyes)


def _mouth(person: Person) -> Tensor:
    """(20, 2): twelve around the lips, eight between them."""
    half, lip, y = person.mouth_half_width_mm, person.lip_mm, mouth_height_mm(person)
    outer_x = [-1.0, -0.6, -0.25, 0.0, 0.25, 0.6, 1.0, 0.6, 0.25, 0.0, -0.25, -0.6]
    outer_y = [0.0, -0.75, -1.0, -0.8, -1.0, -0.75, 0.0, 1.0, 1.25, 1.25, 1.25, 1.0]
    inner_x = [-0.85, -0.4, 0.0, 0.4, 0.85, 0.4, 0.0, -0.4]
    x = half * torch.tensor(outer_x + inner_x, dtype=torch.float64)
    return torch.stack((x, y + lip * torch.tensor(outer_y + [0.0] * 8, dtype=torch.float64)), dim=-1)
