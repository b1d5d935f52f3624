"""Where everything is: camera, screen, head, eyes, target, light. Geometry only, no pixels.

Convention (docs/conventions.md): camera frame OpenCV, millimetres, float64. The head frame has its origin
halfway between the eyeballs, x to the subject's left, y down, z into the head, so that a head that faces
the camera upright has the identity as its rotation. The left eye lies at +x. F frames.
"""

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from gaze_exp.camera import intrinsics, normalising_rotation
from gaze_exp.data.synthetic.person import Person, mirror_person, random_stream
from gaze_exp.geometry import pitch_yaw_to_vector, transform_points, vector_to_pitch_yaw

FRAMES_PER_STEP = 10
"""Frames that share one light and one background, as one stimulus of a recording does."""


@dataclass(frozen=True)
class Rig:
    """A camera that has been calibrated against a screen. The defaults are EVE's Basler and its 25 inch."""

    focal_px: float = 1780.6
    width_px: int = 1920
    height_px: int = 1080
    screen_px: tuple[int, int] = (1920, 1080)
    mm_per_px: float = 0.288
    camera_gap_mm: float = 10.0
    """From the edge of the picture to the camera, at the middle of that edge."""
    camera_below: bool = False
    """Below the screen instead of above it."""
    tilt_deg: float = -12.0
    """How far the camera looks up."""

    @property
    def camera_matrix(self) -> Tensor:
        """(3, 3) float64."""
        return intrinsics(self.focal_px, width_px=self.width_px, height_px=self.height_px)

    @property
    def screen_mm(self) -> Tensor:
        """(2,) width and height of the picture."""
        return torch.tensor(self.screen_px, dtype=torch.float64) * self.mm_per_px

    @property
    def screen_to_camera(self) -> Tensor:
        """(4, 4) screen frame -> camera frame, mm; the screen's x runs to the image's left."""
        width_mm, height_mm = self.screen_mm.tolist()
        top_mm = -height_mm - self.camera_gap_mm if self.camera_below else self.camera_gap_mm
        transform = torch.diag(torch.tensor([-1.0, 1.0, -1.0, 1.0], dtype=torch.float64))
        transform[:3, 3] = torch.tensor([width_mm / 2, top_mm, 0.0], dtype=torch.float64)
        tilt = torch.tensor(self.tilt_deg, dtype=torch.float64).deg2rad()
        turn = torch.eye(4, dtype=torch.float64)
        turn[1, 1] = turn[2, 2] = tilt.cos()
        turn[1, 2], turn[2, 1] = tilt.sin(), -tilt.sin()
        return turn @ transform


ABOVE = Rig()
BELOW = Rig(camera_below=True, tilt_deg=18.0)


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
    """(F,) how wide the eyes are open, 1 as usual."""
    pupil_mm: Tensor
    """(F,) radius of the pupil."""
    light_direction: Tensor
    """(F, 3) unit vector from the face to the lamp, camera frame."""
    light_rgb: Tensor
    """(F, 3) linear level of the lamp."""
    ambient_rgb: Tensor
    """(F, 3) linear level of the light from everywhere."""
    background_rgb: Tensor
    """(F, 2, 3) two linear colours that the background wavers between."""
    background_wave: Tensor
    """(F, 3) waves a unit of x/z and y/z, and phase."""
    noise: Tensor
    """(F,) standard deviation of the sensor noise, of full scale 1."""
    step: Tensor = field(repr=False)
    """(F,) int64 which stimulus a frame belongs to."""

    @property
    def num_frames(self) -> int:
        """How many frames the scene has."""
        return len(self.target_px)

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
        return transform_points(self.rig.screen_to_camera, target_mm)


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
    visual = vector_to_pitch_yaw(target - eye_centres(scene.person))
    pitch, yaw = visual.unbind(-1)
    zero, one = torch.zeros_like(pitch), torch.ones_like(pitch)
    # Turns (0, 0, -1) into the visual axis: first up by pitch, then aside by yaw.
    up = torch.stack(
        (one, zero, zero, zero, pitch.cos(), pitch.sin(), zero, -pitch.sin(), pitch.cos()), dim=-1
    ).unflatten(-1, (3, 3))
    aside = torch.stack((yaw.cos(), zero, yaw.sin(), zero, one, zero, -yaw.sin(), zero, yaw.cos()), dim=-1).unflatten(
        -1, (3, 3)
    )
    nasal = torch.tensor(scene.person.kappa_nasal_deg, dtype=torch.float64).deg2rad()
    raised = torch.tensor(scene.person.kappa_up_deg, dtype=torch.float64).deg2rad()
    # The nose is at yaw > 0 for the left eye; the optical axis lies on the other side of the visual one.
    side = torch.tensor([1.0, -1.0], dtype=torch.float64)
    in_eye = pitch_yaw_to_vector(torch.stack((-raised, -side * nasal), dim=-1))
    return (aside @ up @ in_eye[..., None])[..., 0]


def draw_scene(person: Person, *, rig: Rig, num_frames: int, seed: int, number: int) -> Scene:
    """Draw the frames of one person.

    Args:
        person: from `draw_person`.
        rig: camera and screen.
        num_frames: F.
        seed: of the whole synthetic set.
        number: of the person.

    Returns:
        The scene; the same arguments give the same one.
    """
    stream = random_stream(seed, number, "frames")
    target_px = torch.rand(num_frames, 2, generator=stream, dtype=torch.float64)
    target_px = target_px * torch.tensor(rig.screen_px, dtype=torch.float64)
    position_mm = _draw_positions(rig, num_frames, stream)
    scene = Scene(
        person=person,
        rig=rig,
        head_rotation=torch.eye(3, dtype=torch.float64).expand(num_frames, 3, 3),
        head_position_mm=position_mm,
        target_px=target_px,
        lid_scale=1.0 + 0.07 * _bounded_normal((num_frames,), stream),
        pupil_mm=1.9 + 0.4 * _bounded_normal((num_frames,), stream),
        **_draw_light(num_frames, stream),
    )
    gaze = vector_to_pitch_yaw(scene.target_mm - position_mm)
    return replace(scene, head_rotation=_draw_head_rotations(gaze, stream))


def mirror_scene(scene: Scene) -> Scene:
    """Hold a mirror between the camera and its left and right.

    Args:
        scene: F frames before a rig that is symmetric itself.

    Returns:
        A scene whose picture is the flipped one.
    """
    flip = torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64)
    return replace(
        scene,
        person=mirror_person(scene.person),
        head_rotation=flip[:, None] * scene.head_rotation * flip,
        head_position_mm=scene.head_position_mm * flip,
        target_px=scene.target_px * flip[:2] + torch.tensor([scene.rig.screen_px[0], 0.0]).double(),
        light_direction=scene.light_direction * flip,
        background_wave=scene.background_wave * flip,
    )


def _draw_positions(rig: Rig, num_frames: int, stream: torch.Generator) -> Tensor:
    """(F, 3) in the camera frame: 45 to 75 cm before the screen, the eyes a little above its middle."""
    spread_mm = torch.tensor([40.0, 30.0], dtype=torch.float64)
    aside_mm = spread_mm * _bounded_normal((num_frames, 2), stream)
    distance_mm = 450.0 + 300.0 * torch.rand(num_frames, 1, generator=stream, dtype=torch.float64)
    on_screen = aside_mm + rig.screen_mm / 2 - torch.tensor([0.0, 30.0], dtype=torch.float64)
    # The screen's z runs away from the viewer.
    return transform_points(rig.screen_to_camera, torch.cat((on_screen, -distance_mm), dim=-1))


def _draw_head_rotations(gaze: Tensor, stream: torch.Generator) -> Tensor:
    """(F, 3, 3) heads that go part of the way to the target, with (F, 2) pitch and yaw of that target."""
    num_frames = len(gaze)
    turn_deg = torch.tensor([6.0, 9.0], dtype=torch.float64) * _bounded_normal((num_frames, 2), stream)
    head = 0.3 * gaze + turn_deg.deg2rad()
    # An eye turns no further in its socket than this; beyond it the head has to come along.
    low, high = torch.tensor([[-28.0, -32.0], [20.0, 32.0]], dtype=torch.float64).deg2rad()
    head = gaze - (gaze - head).clamp(low, high)
    roll = (4.0 * _bounded_normal((num_frames,), stream)).deg2rad()
    level = torch.stack((roll.cos(), roll.sin(), torch.zeros_like(roll)), dim=-1)
    return normalising_rotation(-pitch_yaw_to_vector(head), level).transpose(-1, -2)


def _draw_light(num_frames: int, stream: torch.Generator) -> dict[str, Tensor]:
    """Light, background and noise: one draw a step, so that frames of a step look alike."""
    num_steps = -(-num_frames // FRAMES_PER_STEP)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(num_steps, *shape, generator=stream, dtype=torch.float64)

    angles_deg = torch.tensor([70.0, 140.0]) * uniform(2) - torch.tensor([10.0, 70.0])
    level = 0.55 + 0.6 * uniform(1)
    warmth = 0.12 * (uniform(1) - 0.5)
    tint = torch.cat((1 + warmth, torch.ones_like(warmth), 1 - warmth), dim=-1)
    drawn = {
        "light_direction": pitch_yaw_to_vector(angles_deg.deg2rad()),
        "light_rgb": level * tint,
        "ambient_rgb": level * (0.25 + 0.4 * uniform(1)) * (2 - tint),
        "background_rgb": 0.75 * uniform(2, 1) * (0.55 + 0.45 * uniform(2, 3)),
        "background_wave": torch.tensor([16.0, 16.0, 6.28]) * (uniform(3) - 0.5),
        "noise": 0.004 + 0.012 * uniform(),
        "step": torch.arange(num_steps),
    }
    return {key: value.repeat_interleave(FRAMES_PER_STEP, 0)[:num_frames] for key, value in drawn.items()}


def _bounded_normal(shape: tuple[int, ...], stream: torch.Generator) -> Tensor:
    """Standard normal numbers, none further than 2.2 from zero."""
    return torch.randn(shape, generator=stream, dtype=torch.float64).clamp(-2.2, 2.2)
