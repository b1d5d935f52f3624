"""A calibration's sitting: one seat, one light, a head that drifts and goes part of the way to each target.

F photos, float64, mm, camera frame.
"""

import torch
from torch import Tensor

from gaze_exp.data.synthetic.drawing import bounded_normal, draw_light, into_picture, reachable_head, rotation_of
from gaze_exp.data.synthetic.person import Person, random_stream
from gaze_exp.data.synthetic.rigs import Rig
from gaze_exp.data.synthetic.scene import Scene
from gaze_exp.geometry import transform_points, vector_to_pitch_yaw

_NEAREST_MM, _FURTHEST_MM = 450.0, 750.0
"""From the screen, as a person usually sits."""
_ANOTHER_DAY_MM = 40.0
"""How much nearer or further the same person sits on another day: two thirds of the time less than that."""
_BESIDE_MM = (30.0, 20.0)
"""How far a seat is from before the middle of the screen."""
_DRIFT_MM = (12.0, 8.0, 15.0)
"""How far a head has moved by the end; people sink and come nearer, or lean back."""
_JITTER_MM = 2.0
_HABIT_DEG = (4.0, 3.0, 2.5)
"""How a head is held in one sitting, on average: pitch, yaw, roll."""
_WOBBLE_DEG = (1.2, 1.5, 0.8)
"""What differs from photo to photo."""
_FOLLOWS = (0.15, 0.5)
"""Share of the gaze that the head makes its own: some turn their eyes, others their heads."""
_BLINKS = 1 / 60
"""Photos that fall into a blink: who presses a key to be photographed seldom blinks."""


def draw_sitting(person: Person, *, rig: Rig, target_px: Tensor, seed: int, number: int, session: int) -> Scene:
    """Draw the photos of one calibration session.

    Args:
        person: from `draw_person`.
        rig: camera and screen.
        target_px: (F, 2) what they look at, in order.
        seed: of the whole synthetic set.
        number: of the person.
        session: another session, another seat and light; how far away one usually sits and how much the head
            follows are the person's.

    Returns:
        The scene; the same arguments give the same one.
    """
    num_photos = len(target_px)
    habits = random_stream(seed, number, "habit")
    habit, usual = torch.rand(2, generator=habits, dtype=torch.float64)
    usual_mm = _NEAREST_MM + (_FURTHEST_MM - _NEAREST_MM) * usual
    stream = random_stream(seed, number, "sitting", session)
    position_mm = _draw_positions(rig, num_photos, stream, usual_mm=usual_mm)
    target_mm = torch.nn.functional.pad(target_px * rig.mm_per_px, (0, 1))
    gaze = vector_to_pitch_yaw(transform_points(rig.screen_to_camera, target_mm) - position_mm)
    held, wobble = (torch.tensor(size, dtype=torch.float64).deg2rad() for size in (_HABIT_DEG, _WOBBLE_DEG))
    pose = held * bounded_normal((3,), stream) + wobble * bounded_normal((num_photos, 3), stream)
    follows = _FOLLOWS[0] + (_FOLLOWS[1] - _FOLLOWS[0]) * habit
    chance, depth = torch.rand(2, num_photos, generator=stream, dtype=torch.float64)
    light = draw_light(num_photos, stream, frames_per_step=num_photos)
    pupil_mm = light.pop("pupil_mm") + 0.15 * bounded_normal((num_photos,), stream)
    return Scene(
        person=person,
        rig=rig,
        head_rotation=rotation_of(reachable_head(gaze, follows * gaze + pose[:, :2]), pose[:, 2]),
        head_position_mm=position_mm,
        target_px=target_px,
        lid_scale=1.0 + 0.04 * bounded_normal((num_photos,), stream),
        blink=torch.where(chance < _BLINKS, depth, torch.zeros_like(depth)),
        blur_mm=0.15 * bounded_normal((num_photos, 2), stream),
        pupil_mm=pupil_mm.clamp(2.0, 7.0),
        **light,
    )


def _draw_positions(rig: Rig, num_photos: int, stream: torch.Generator, *, usual_mm: Tensor) -> Tensor:
    """(F, 3) camera frame: near one seat, from which the head walks away in small steps."""
    distance_mm = (usual_mm + _ANOTHER_DAY_MM * bounded_normal((1,), stream)).clamp(_NEAREST_MM, _FURTHEST_MM)
    aside_mm = torch.tensor(_BESIDE_MM, dtype=torch.float64) * bounded_normal((2,), stream)
    before = rig.screen_mm / 2 - torch.tensor([0.0, 30.0], dtype=torch.float64) + aside_mm
    # The screen's z runs away from the viewer.
    seat_mm = transform_points(rig.screen_to_camera, torch.cat((before, -distance_mm)))
    steps = bounded_normal((num_photos, 3), stream).cumsum(0) / num_photos**0.5
    drift_mm = torch.tensor(_DRIFT_MM, dtype=torch.float64) * steps
    return into_picture(seat_mm + drift_mm + _JITTER_MM * bounded_normal((num_photos, 3), stream), rig)
