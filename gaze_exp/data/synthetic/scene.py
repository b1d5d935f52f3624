"""Where everything is: camera, screen, head, eyes, target, light. Geometry only, no pixels.

Convention (docs/conventions.md): camera frame OpenCV, millimetres, float64. The head frame has its origin
halfway between the eyeballs, x to the subject's left, y down, z into the head, so that a head that faces
the camera upright has the identity as its rotation. The left eye lies at +x. F frames.
"""

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from gaze_exp.data.synthetic.person import Person, mirror_person
from gaze_exp.data.synthetic.rigs import Rig, mirror_rig
from gaze_exp.errors import ConfigError
from gaze_exp.geometry import pitch_yaw_to_vector, transform_points, vector_to_pitch_yaw


@dataclass(frozen=True)
class Scene:
    """The frames of one person: what was drawn. Everything else is computed from it."""

    person: Person
    rig: Rig
    head_rotation: Tensor
    """(F, 3, 3) head frame -> camera frame."""
    head_position_mm: Tensor
    """(F, 3) midpoint between the eyeballs, camera frame."""
    target_px: Tensor
    """(F, 2) what both eyes look at, on the screen."""
    lid_scale: Tensor
    """(F,) how wide the eyes are held open, 1 as usual."""
    blink: Tensor
    """(F,) 0 no blink, 1 closed."""
    pupil_mm: Tensor
    """(F,) diameter of the pupils."""
    light_direction: Tensor
    """(F, 3) unit vector from the face to the lamp, camera frame."""
    light_rgb: Tensor
    """(F, 3) linear level of the lamp."""
    ambient_rgb: Tensor
    """(F, 3) linear level of the light from everywhere."""
    screen_rgb: Tensor
    """(F, 3) linear level of the screen's light on a face 60 cm away."""
    background_rgb: Tensor
    """(F, 2, 3) two linear colours that the background wavers between."""
    background_wave: Tensor
    """(F, 3) waves a unit of x/z and y/z, and phase."""
    noise: Tensor
    """(F,) standard deviation of the sensor noise, of full scale 1."""
    blur_mm: Tensor
    """(F, 2) how far the head moves right and down in the image while the shutter is open."""
    jpeg_quality: Tensor
    """(F,) int64 1..100, 0 for frames that are not compressed."""
    step: Tensor = field(repr=False)
    """(F,) int64 which stimulus a frame belongs to."""

    @property
    def num_frames(self) -> int:
        """How many frames the scene has."""
        return len(self.target_px)

    @property
    def device(self) -> torch.device:
        """Where the numbers lie, and where the pixels will."""
        return self.target_px.device

    @property
    def valid(self) -> Tensor:
        """(F,) bool: an eye tracker would see the pupils."""
        return self.blink < 0.5

    def to(self, device: torch.device | str) -> "Scene":
        """Move the scene to a device.

        Args:
            device: where to render.

        Returns:
            The same scene there.
        """
        tensors: dict[str, Any] = {k: v.to(device) for k, v in vars(self).items() if isinstance(v, Tensor)}
        return replace(self, **tensors)

    def frames(self, start: int, stop: int) -> "Scene":
        """The same scene with only some of its frames.

        Args:
            start: first frame.
            stop: one past the last.

        Returns:
            A scene that shares this one's memory.
        """
        tensors: dict[str, Any] = {k: v[start:stop] for k, v in vars(self).items() if isinstance(v, Tensor)}
        return replace(self, **tensors)

    def to_camera(self, points_mm: Tensor) -> Tensor:
        """Points of the head in the camera frame.

        Args:
            points_mm: (..., 3) or (F, N, 3) head frame.

        Returns:
            (F, N, 3) camera frame.
        """
        return points_mm @ self.head_rotation.transpose(-1, -2) + self.head_position_mm[:, None]

    @property
    def target_mm(self) -> Tensor:
        """(F, 3) target in the camera frame."""
        target_mm = torch.nn.functional.pad(self.target_px * self.rig.mm_per_px, (0, 1))
        return transform_points(self.rig.screen_to_camera.to(self.device), target_mm)


def eye_centres(person: Person) -> Tensor:
    """Centres of the eyeballs.

    Args:
        person: whose.

    Returns:
        (2, 3) left, right; head frame, mm.
    """
    half = person.eye_distance_mm / 2
    return torch.tensor([[half, 0.0, 0.0], [-half, 0.0, 0.0]], dtype=torch.float64)


def mouth_height_mm(person: Person) -> float:
    """Height of the line between the lips.

    Args:
        person: whose.

    Returns:
        y in the head frame, mm.
    """
    return person.nose_length_mm + 27.0 * person.face_length


def face_centre(person: Person) -> Tensor:
    """Mean of the four eye corners and the two mouth corners: the origin of the face's gaze.

    Args:
        person: whose.

    Returns:
        (3,) head frame, mm.
    """
    return torch.tensor([0.0, mouth_height_mm(person) / 3, -12.0], dtype=torch.float64)


def optical_axes(scene: Scene) -> Tensor:
    """Where the pupils point when the visual axes meet the target.

    The eyeball turns about its centre; kappa is fixed in the eye, so it turns along.

    Args:
        scene: F frames.

    Returns:
        (F, 2, 3) unit vectors of the left and right eye, head frame.
    """
    target = (scene.target_mm - scene.head_position_mm)[:, None] @ scene.head_rotation
    visual = vector_to_pitch_yaw(target - eye_centres(scene.person).to(target))
    pitch, yaw = visual.unbind(-1)
    zero, one = torch.zeros_like(pitch), torch.ones_like(pitch)
    # Turns (0, 0, -1) into the visual axis: first up by pitch, then aside by yaw.
    up = torch.stack(
        (one, zero, zero, zero, pitch.cos(), pitch.sin(), zero, -pitch.sin(), pitch.cos()), dim=-1
    ).unflatten(-1, (3, 3))
    aside = torch.stack((yaw.cos(), zero, yaw.sin(), zero, one, zero, -yaw.sin(), zero, yaw.cos()), dim=-1).unflatten(
        -1, (3, 3)
    )
    nasal = torch.tensor(scene.person.kappa_nasal_deg, dtype=torch.float64, device=target.device).deg2rad()
    raised = torch.tensor(scene.person.kappa_up_deg, dtype=torch.float64, device=target.device).deg2rad()
    # The nose is at yaw > 0 for the left eye; the optical axis lies on the other side of the visual one.
    side = torch.tensor([1.0, -1.0], dtype=torch.float64, device=target.device)
    in_eye = pitch_yaw_to_vector(torch.stack((-raised, -side * nasal), dim=-1))
    return (aside @ up @ in_eye[..., None])[..., 0]


def with_rig(scene: Scene, rig: Rig) -> Scene:
    """The same moments seen by another camera of the same screen.

    Args:
        scene: F frames.
        rig: the other camera; the screen must be the same.

    Returns:
        A scene with the same people, targets and light, in the frame of the other camera.

    Raises:
        ConfigError: the other rig has another screen.
    """
    if (rig.screen_px, rig.mm_per_px) != (scene.rig.screen_px, scene.rig.mm_per_px):
        raise ConfigError(
            "rig: the other camera looks over another screen; give one with the same screen_px, mm_per_px"
        )
    change = (rig.screen_to_camera @ torch.linalg.inv(scene.rig.screen_to_camera)).to(scene.device)
    return replace(
        scene,
        rig=rig,
        head_rotation=change[:3, :3] @ scene.head_rotation,
        head_position_mm=transform_points(change, scene.head_position_mm),
        light_direction=scene.light_direction @ change[:3, :3].T,
    )


def mirror_scene(scene: Scene) -> Scene:
    """Hold a mirror between the camera and its left and right.

    Args:
        scene: F frames.

    Returns:
        A scene whose picture is the flipped one.
    """
    flip = torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64, device=scene.device)
    width_px = torch.tensor([scene.rig.screen_px[0], 0.0], dtype=torch.float64, device=scene.device)
    return replace(
        scene,
        person=mirror_person(scene.person),
        rig=mirror_rig(scene.rig),
        head_rotation=flip[:, None] * scene.head_rotation * flip,
        head_position_mm=scene.head_position_mm * flip,
        target_px=scene.target_px * flip[:2] + width_px,
        light_direction=scene.light_direction * flip,
        background_wave=scene.background_wave * flip,
        blur_mm=scene.blur_mm * flip[:2],
    )
