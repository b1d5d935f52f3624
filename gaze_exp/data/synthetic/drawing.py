"""Frames that have nothing to do with each other, drawn by seed. F frames, float64, mm, camera frame."""

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from gaze_exp.camera import normalising_rotation
from gaze_exp.data.synthetic.person import Person, random_stream
from gaze_exp.data.synthetic.rigs import Rig
from gaze_exp.data.synthetic.scene import Scene
from gaze_exp.geometry import pitch_yaw_to_vector, transform_points, vector_to_pitch_yaw

FRAMES_PER_STEP = 10
"""Frames that share one light and one background, as one stimulus of a recording does."""
NEAREST_MM, FURTHEST_MM = 400.0, 900.0
"""Distance of the eyes from the screen."""
_MOST_DEG = (25.0, 30.0, 15.0)
"""How far a head turns: pitch, yaw, roll."""
_HEAD_REACH_MM = (100.0, 130.0)
"""How far a head reaches from between the eyes, to the sides and downwards."""
_EYE_LOW_DEG, _EYE_HIGH_DEG = (-28.0, -32.0), (20.0, 32.0)
"""How far an eye turns in its socket: pitch, yaw."""


def draw_scene(
    person: Person,
    *,
    rig: Rig,
    num_frames: int,
    seed: int,
    number: int,
    target_px: Tensor | None = None,
    whole_range: bool = False,
) -> Scene:
    """Draw the frames of one person.

    Args:
        person: from `draw_person`.
        rig: camera and screen.
        num_frames: F.
        seed: of the whole synthetic set.
        number: of the person.
        target_px: (F, 2) what they look at; drawn all over the screen when not given.
        whole_range: heads anywhere in the picture and turned evenly over the whole range, instead of as
            people sit before a screen.

    Returns:
        The scene; the same arguments give the same one.
    """
    stream = random_stream(seed, number, "frames")
    if whole_range:
        position_mm, rotation, target_px = _draw_anywhere(rig, num_frames, stream)
    else:
        drawn_px = _draw_targets(rig, num_frames, stream)
        target_px = drawn_px if target_px is None else target_px
        position_mm = _draw_positions(rig, num_frames, stream)
        rotation = _draw_head_rotations(_gaze(rig, target_px, position_mm), stream)
    return Scene(
        person=person,
        rig=rig,
        head_rotation=rotation,
        head_position_mm=position_mm,
        target_px=target_px,
        lid_scale=1.0 + 0.04 * bounded_normal((num_frames,), stream),
        blink=_draw_blinks(num_frames, stream),
        blur_mm=0.25 * bounded_normal((num_frames, 2), stream),
        **draw_light(num_frames, stream),
    )


def draw_light(num_frames: int, stream: torch.Generator, *, frames_per_step: int = FRAMES_PER_STEP) -> dict[str, Any]:
    """Light, background, pupils and sensor: one draw a step, so that frames of a step look alike.

    Args:
        num_frames: F.
        stream: random numbers.
        frames_per_step: frames that share one light and one background.

    Returns:
        Fields of a scene.
    """
    num_steps = -(-num_frames // frames_per_step)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(num_steps, *shape, generator=stream, dtype=torch.float64)

    angles_deg = torch.tensor([60.0, 120.0]) * uniform(2) - torch.tensor([5.0, 60.0])
    # The camera exposes for the face; what a bright or dark room changes is the rest.
    room, level = uniform(1), 0.5 + 0.5 * uniform(1)
    warmth = 0.12 * (uniform(1) - 0.5)
    tint = torch.cat((1 + warmth, torch.ones_like(warmth), 1 - warmth), dim=-1)
    pupil_mm = 6.0 - 3.4 * room[:, 0] + 0.35 * bounded_normal((num_steps,), stream)
    drawn = {
        "light_direction": pitch_yaw_to_vector(angles_deg.deg2rad()),
        "light_rgb": level * tint,
        "ambient_rgb": level * (0.35 + 0.45 * uniform(1)) * (2 - tint),
        "screen_rgb": (0.35 - 0.3 * room) * (0.4 + 0.6 * uniform(1)) * (0.7 + 0.3 * uniform(3)),
        "background_rgb": 0.75 * uniform(2, 1) * (0.55 + 0.45 * uniform(2, 3)),
        "background_wave": torch.tensor([5.0, 5.0, 6.28]) * (uniform(3) - 0.5),
        "noise": 0.003 + 0.006 * uniform() + 0.007 * (1 - room[:, 0]),
        "jpeg_quality": (70 + 28 * uniform()).long(),
        "pupil_mm": pupil_mm.clamp(2.0, 7.0),
        "step": torch.arange(num_steps),
    }
    return {key: value.repeat_interleave(frames_per_step, 0)[:num_frames] for key, value in drawn.items()}


def bounded_normal(shape: tuple[int, ...], stream: torch.Generator) -> Tensor:
    """Standard normal numbers, none further than 2.2 from zero.

    Args:
        shape: of the result.
        stream: random numbers.

    Returns:
        Float64.
    """
    return torch.randn(shape, generator=stream, dtype=torch.float64).clamp(-2.2, 2.2)


def rotation_of(head: Tensor, roll: Tensor) -> Tensor:
    """Head rotations from angles.

    Args:
        head: (F, 2) pitch, yaw in radians of where the face points, camera frame.
        roll: (F,) radians.

    Returns:
        (F, 3, 3) head frame -> camera frame.
    """
    level = torch.stack((roll.cos(), roll.sin(), torch.zeros_like(roll)), dim=-1)
    return normalising_rotation(-pitch_yaw_to_vector(head), level).transpose(-1, -2)


def into_picture(position_mm: Tensor, rig: Rig, *, fill: float = 1.0) -> Tensor:
    """Move heads aside until the camera sees them whole.

    Args:
        position_mm: (F, 3) between the eyes, camera frame.
        rig: whose camera.
        fill: share of the room in the picture that may be used.

    Returns:
        (F, 3) with the depths unchanged.
    """
    room = fill * room_mm(position_mm[:, 2:], rig)
    return torch.cat((position_mm[:, :2].clamp(-room, room), position_mm[:, 2:]), dim=-1)


def room_mm(depth_mm: Tensor, rig: Rig) -> Tensor:
    """How far a head can be from the middle of the picture and still be whole.

    Args:
        depth_mm: (F, 1).
        rig: whose camera.

    Returns:
        (F, 2) mm aside and up or down, not negative.
    """
    half = torch.tensor([rig.width_px, rig.height_px], dtype=torch.float64) / (2 * rig.focal_px)
    return (half * depth_mm - torch.tensor(_HEAD_REACH_MM, dtype=torch.float64)).clamp(min=0.0)


def _gaze(rig: Rig, target_px: Tensor, position_mm: Tensor) -> Tensor:
    """(F, 2) pitch, yaw from heads to targets, camera frame."""
    target_mm = torch.nn.functional.pad(target_px * rig.mm_per_px, (0, 1))
    return vector_to_pitch_yaw(transform_points(rig.screen_to_camera, target_mm) - position_mm)


def _draw_targets(rig: Rig, num_frames: int, stream: torch.Generator) -> Tensor:
    target = torch.rand(num_frames, 2, generator=stream, dtype=torch.float64)
    return target * torch.tensor(rig.screen_px, dtype=torch.float64)


def _draw_positions(rig: Rig, num_frames: int, stream: torch.Generator) -> Tensor:
    """(F, 3) in the camera frame: before the screen, mostly 45 to 75 cm, the eyes a little above its middle."""
    spread_mm = torch.tensor([40.0, 30.0], dtype=torch.float64)
    aside_mm = spread_mm * bounded_normal((num_frames, 2), stream)
    far = torch.rand(num_frames, 2, generator=stream, dtype=torch.float64).mean(-1, keepdim=True) ** 1.2
    distance_mm = NEAREST_MM + (FURTHEST_MM - NEAREST_MM) * far
    on_screen = aside_mm + rig.screen_mm / 2 - torch.tensor([0.0, 30.0], dtype=torch.float64)
    # The screen's z runs away from the viewer.
    position_mm = transform_points(rig.screen_to_camera, torch.cat((on_screen, -distance_mm), dim=-1))
    return into_picture(position_mm, rig)


def _draw_head_rotations(gaze: Tensor, stream: torch.Generator) -> Tensor:
    """(F, 3, 3) heads that go part of the way to the target, with (F, 2) pitch and yaw of that target."""
    num_frames = len(gaze)
    turn_deg = torch.tensor([6.0, 9.0], dtype=torch.float64) * bounded_normal((num_frames, 2), stream)
    head = reachable_head(gaze, 0.3 * gaze + turn_deg.deg2rad())
    roll = 0.3 * math.radians(_MOST_DEG[2]) * bounded_normal((num_frames,), stream)
    return rotation_of(head, roll)


def reachable_head(gaze: Tensor, head: Tensor) -> Tensor:
    """Turn heads on until the eyes reach their targets, but no further than a neck goes.

    Args:
        gaze: (F, 2) pitch, yaw in radians from the head to its target, camera frame.
        head: (F, 2) where the face would point.

    Returns:
        (F, 2) where it points.
    """
    # An eye turns no further in its socket than this; beyond it the head has to come along.
    low, high = torch.tensor([_EYE_LOW_DEG, _EYE_HIGH_DEG], dtype=torch.float64).deg2rad()
    most = torch.tensor(_MOST_DEG[:2], dtype=torch.float64).deg2rad()
    return (gaze - (gaze - head).clamp(low, high)).clamp(-most, most)


def _draw_anywhere(rig: Rig, num_frames: int, stream: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Positions, rotations and targets spread evenly; of some targets the first that the eyes can reach."""

    def even(*shape: int) -> Tensor:
        return 2.0 * torch.rand(num_frames, *shape, generator=stream, dtype=torch.float64) - 1.0

    depth_mm = (NEAREST_MM + FURTHEST_MM) / 2 + (FURTHEST_MM - NEAREST_MM) / 2 * even(1)
    position_mm = torch.cat((even(2) * room_mm(depth_mm, rig), depth_mm), dim=-1)
    angles = even(3) * torch.tensor(_MOST_DEG, dtype=torch.float64).deg2rad()
    # Zero is a head that faces the camera from where it is.
    head = vector_to_pitch_yaw(-position_mm) + angles[:, :2]
    low, high = torch.tensor([_EYE_LOW_DEG, _EYE_HIGH_DEG], dtype=torch.float64).deg2rad()
    target_px = _draw_targets(rig, num_frames, stream)
    for _ in range(20):
        turn = _gaze(rig, target_px, position_mm) - head
        reached = ((turn > low) & (turn < high)).all(-1, keepdim=True)
        target_px = torch.where(reached, target_px, _draw_targets(rig, num_frames, stream))
    return position_mm, rotation_of(head, angles[:, 2]), target_px


def _draw_blinks(num_frames: int, stream: torch.Generator) -> Tensor:
    """(F,) one frame in thirty falls somewhere into a blink."""
    chance, depth = torch.rand(2, num_frames, generator=stream, dtype=torch.float64)
    return torch.where(chance < 1 / 30, depth, torch.zeros_like(depth))


def with_lids(scene: Scene, *, blink: float) -> Scene:
    """The same frames with lids that far on their way down.

    Args:
        scene: F frames.
        blink: 0 open, 1 closed.

    Returns:
        The scene with all its lids there.
    """
    return replace(scene, blink=torch.full_like(scene.blink, blink))
