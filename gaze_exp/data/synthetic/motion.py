"""Sequences: eyes that fixate, jump and follow, a head that drifts, lids that blink.

Everything is drawn in seconds, so that the same seed is the same movement at 60, 30 and 10 frames a second.
"""

import math
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from gaze_exp.data.synthetic.drawing import bounded_normal, draw_light, draw_scene, into_picture, rotation_of
from gaze_exp.data.synthetic.person import Person, draw_person, random_stream
from gaze_exp.data.synthetic.rigs import Rig
from gaze_exp.data.synthetic.scene import Scene
from gaze_exp.errors import ConfigError
from gaze_exp.geometry import transform_points, vector_to_pitch_yaw

KINDS = ("image", "video", "wikipedia")
_EXPOSURE_S = 0.008
_BLINKS_A_SECOND = 0.25
_HEAD_FOLLOWS, _HEAD_TAKES_S = 0.3, 0.6
"""Share of the gaze that the head makes its own, and the time in which it does."""
_GRID_HZ = 120
_MOST_STEPS = 100_000


@dataclass(frozen=True)
class _Fixation:
    start_s: float
    end_s: float
    place: tuple[float, float]
    """Of the screen's width and height."""
    drift: tuple[float, float]
    """Of the screen a second: smooth pursuit."""


@dataclass(frozen=True)
class Movement:
    """How a recording of several steps is filmed."""

    fps: int
    """Frames a second, of a camera that takes 60."""
    frames_per_step: int

    def __post_init__(self) -> None:
        if self.fps < 1 or 60 % self.fps:
            raise ConfigError(f"sample_hz: {self.fps} frames a second cannot be had from 60; 60, 30, 20, 15, 10 can")
        if self.frames_per_step < 1:
            raise ConfigError(f"frames_per_step: {self.frames_per_step} is no number of frames; 1 or more is")


def draw_recording(*, rig: Rig, num_frames: int, movement: Movement | None, seed: int, number: int) -> Scene:
    """Draw a person in steps one after the other: image, video, wikipedia and again, each from another seat.

    Args:
        rig: camera and screen.
        num_frames: F, of all steps.
        movement: of each step; None draws every frame apart.
        seed: of the whole synthetic set.
        number: of the person.

    Returns:
        The scene; `step` numbers its steps.
    """
    person = draw_person(seed, number=number)
    if movement is None:
        return draw_scene(person, rig=rig, num_frames=num_frames, seed=seed, number=number)
    parts: list[Scene] = []
    for start in range(0, num_frames, movement.frames_per_step):
        drawn = draw_sequence(
            person,
            rig=rig,
            num_frames=min(movement.frames_per_step, num_frames - start),
            fps=movement.fps,
            seed=seed,
            number=number * _MOST_STEPS + len(parts),
            kind=KINDS[len(parts) % len(KINDS)],
        )
        parts.append(replace(drawn, step=torch.full_like(drawn.step, len(parts))))
    names = [each.name for each in fields(Scene) if isinstance(getattr(parts[0], each.name), Tensor)]
    joined: dict[str, Any] = {name: torch.cat([getattr(part, name) for part in parts]) for name in names}
    return replace(parts[0], **joined)


def draw_sequence(
    person: Person, *, rig: Rig, num_frames: int, fps: float, seed: int, number: int = 0, kind: str = "image"
) -> Scene:
    """Draw frames that follow each other.

    Args:
        person: from `draw_person`.
        rig: camera and screen.
        num_frames: F.
        fps: frames a second.
        seed: of the whole synthetic set, or of this sequence.
        number: of the person, or of the sequence.
        kind: what is looked at: image (fixations and saccades), video (smooth pursuit as well) or
            wikipedia (reading line by line).

    Returns:
        The scene; the same arguments give the same one, another fps other moments of the same movement.

    Raises:
        ConfigError: unknown kind, or fps not above zero.
    """
    _check(kind, fps)
    time_s = torch.arange(num_frames, dtype=torch.float64) / fps
    until_s = num_frames / fps + 1.0
    fixations = _draw_fixations(kind, until_s, random_stream(seed, number, "fixations"))
    stream = random_stream(seed, number, "head")
    seat_mm, sway = _draw_seat(rig, stream), _Sway(stream)
    screen_px = torch.tensor(rig.screen_px, dtype=torch.float64)

    grid_s = torch.arange(0.0, until_s, 1 / _GRID_HZ, dtype=torch.float64)
    gaze = _gaze(rig, _look(fixations, grid_s) * screen_px, seat_mm)
    slow = _at(time_s, _slow(gaze))
    pose = sway.at(time_s)
    position_mm = into_picture(seat_mm + pose[:, :3], rig)
    velocity_mm = (sway.at(time_s + 0.005) - sway.at(time_s - 0.005))[:, :2] / 0.01
    light = {key: value.repeat_interleave(num_frames, 0) for key, value in draw_light(1, stream).items()}
    pupil_mm = light.pop("pupil_mm") + 0.2 * torch.sin(2 * math.pi * 0.35 * time_s)
    return Scene(
        person=person,
        rig=rig,
        head_rotation=rotation_of(_HEAD_FOLLOWS * slow + pose[:, 3:5], pose[:, 5]),
        head_position_mm=position_mm,
        target_px=_look(fixations, time_s) * screen_px,
        lid_scale=torch.ones(num_frames, dtype=torch.float64),
        blink=_blink(time_s, until_s, random_stream(seed, number, "blinks")),
        blur_mm=velocity_mm * _EXPOSURE_S,
        pupil_mm=pupil_mm.clamp(2.0, 7.0),
        **light,
    )


def _check(kind: str, fps: float) -> None:
    if kind not in KINDS:
        raise ConfigError(f"kind: {kind!r} is not known; one of {', '.join(KINDS)}")
    if fps <= 0:
        raise ConfigError(f"fps: {fps} is not above zero; 60, 30 or 10")


def _draw_fixations(kind: str, until_s: float, stream: torch.Generator) -> list[_Fixation]:
    draw = {"image": _next_image, "video": _next_video, "wikipedia": _next_word}[kind]
    place, start_s = (0.5, 0.5), 0.0
    fixations: list[_Fixation] = []
    while start_s < until_s:
        numbers = torch.rand(6, generator=stream, dtype=torch.float64).tolist()
        place, length_s, drift = draw(place, numbers)
        fixations.append(_Fixation(start_s, start_s + length_s, place, drift))
        end = (place[0] + drift[0] * length_s, place[1] + drift[1] * length_s)
        start_s += length_s + _saccade_s()
        place = end
    return fixations


_Move = tuple[tuple[float, float], float, tuple[float, float]]


def _next_image(_: tuple[float, float], numbers: list[float]) -> _Move:
    x, y, length, *_rest = numbers
    return (0.04 + 0.92 * x, 0.04 + 0.92 * y), 0.15 + 0.35 * length, (0.0, 0.0)


def _next_video(_: tuple[float, float], numbers: list[float]) -> _Move:
    x, y, length, follow, dx, dy = numbers
    place, length_s = (0.2 + 0.6 * x, 0.2 + 0.6 * y), 0.3 + 0.7 * length
    if follow < 0.4:
        return place, length_s, (0.0, 0.0)
    # Slow enough to be followed, and it ends on the screen.
    return place, length_s, (0.36 * (dx - 0.5), 0.36 * (dy - 0.5))


def _next_word(place: tuple[float, float], numbers: list[float]) -> _Move:
    step, wobble, length, *_rest = numbers
    x, y = place[0] + 0.03 + 0.05 * step, place[1] + 0.004 * (wobble - 0.5)
    if x > 0.85:
        x, y = 0.15 + 0.02 * step, y + 0.035
    if y > 0.95:
        y = 0.15
    return (x, y), 0.15 + 0.2 * length, (0.0, 0.0)


def _saccade_s() -> float:
    """Time of a jump of ten degrees: 2.2 ms a degree and 21 ms (Carpenter, Movements of the Eyes, 1988)."""
    return 0.043


def _look(fixations: list[_Fixation], time_s: Tensor) -> Tensor:
    """(F, 2) place on the screen, of its width and height."""
    starts = torch.tensor([fixation.start_s for fixation in fixations], dtype=torch.float64)
    ends = torch.tensor([fixation.end_s for fixation in fixations], dtype=torch.float64)
    places = torch.tensor([fixation.place for fixation in fixations], dtype=torch.float64)
    drifts = torch.tensor([fixation.drift for fixation in fixations], dtype=torch.float64)
    index = (torch.searchsorted(starts, time_s, right=True) - 1).clamp(0, len(fixations) - 2)
    since_s = (torch.minimum(time_s, ends[index]) - starts[index])[:, None]
    here = places[index] + since_s * drifts[index]
    # A saccade speeds up and slows down as smoothly as it can.
    share = ((time_s - ends[index]) / (starts[index + 1] - ends[index])).clamp(0.0, 1.0)[:, None]
    return here + (places[index + 1] - here) * share**3 * (10.0 - 15.0 * share + 6.0 * share**2)


def _gaze(rig: Rig, target_px: Tensor, seat_mm: Tensor) -> Tensor:
    """(N, 2) pitch, yaw from the seat."""
    target_mm = torch.nn.functional.pad(target_px * rig.mm_per_px, (0, 1))
    return vector_to_pitch_yaw(transform_points(rig.screen_to_camera, target_mm) - seat_mm)


def _slow(gaze: Tensor) -> Tensor:
    """(N, 2) what a head makes of a gaze on the grid: it comes late and turns smoothly."""
    keep = 1 - 1 / (_HEAD_TAKES_S * _GRID_HZ)
    state, states = gaze[0], []
    for now in gaze:
        state = keep * state + (1 - keep) * now
        states.append(state)
    return torch.stack(states)


def _at(time_s: Tensor, on_grid: Tensor) -> Tensor:
    """(F, 2) values between the points of the grid."""
    place = (time_s * _GRID_HZ).clamp(0, len(on_grid) - 1.001)
    low = place.long()
    return on_grid[low] + (place - low)[:, None] * (on_grid[low + 1] - on_grid[low])


def _draw_seat(rig: Rig, stream: torch.Generator) -> Tensor:
    """(1, 3) where the head is on average, camera frame."""
    aside_mm = torch.tensor([30.0, 20.0], dtype=torch.float64) * bounded_normal((2,), stream)
    middle = rig.screen_mm / 2 - torch.tensor([0.0, 30.0], dtype=torch.float64) + aside_mm
    distance_mm = 620.0 + 60.0 * bounded_normal((1,), stream)
    return transform_points(rig.screen_to_camera, torch.cat((middle, -distance_mm)))[None]


class _Sway:
    """Slow waves of position (mm) and pitch, yaw, roll (radians)."""

    def __init__(self, stream: torch.Generator) -> None:
        size = torch.tensor([6.0, 4.0, 8.0, 0.03, 0.04, 0.025], dtype=torch.float64)
        self.size = size * (0.5 + torch.rand(3, 6, generator=stream, dtype=torch.float64)) / 2
        self.speed = 2 * math.pi * (0.03 + 0.3 * torch.rand(3, 6, generator=stream, dtype=torch.float64))
        self.phase = 2 * math.pi * torch.rand(3, 6, generator=stream, dtype=torch.float64)

    def at(self, time_s: Tensor) -> Tensor:
        """(F, 6)."""
        return (self.size * torch.sin(self.speed * time_s[:, None, None] + self.phase)).sum(1)


def _blink(time_s: Tensor, until_s: float, stream: torch.Generator) -> Tensor:
    """(F,) 0 open, 1 closed: lids fall in 80 ms, stay for 40 ms and rise in 160 ms; some go only half the way."""
    blink = torch.zeros_like(time_s)
    start_s = 0.0
    while start_s < until_s:
        pause, depth = torch.rand(2, generator=stream, dtype=torch.float64).tolist()
        start_s += 0.5 - math.log(1.0 - pause) / _BLINKS_A_SECOND
        since_s = time_s - start_s
        lids = torch.minimum(since_s / 0.08, (0.28 - since_s) / 0.16).clamp(0.0, 1.0)
        blink = torch.maximum(blink, lids * (1.0 if depth < 0.8 else 0.5))
    return blink
