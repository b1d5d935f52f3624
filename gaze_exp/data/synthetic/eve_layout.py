"""Synthetic persons as the official EVE release lays them out: videos, HDF5 and time stamps of each step.

    train01/step007_image_synthetic-i0412/
        basler.mp4 basler_face.mp4 basler_eyes.mp4 basler.h5 basler.timestamps.txt     60 Hz
        webcam_l, webcam_c, webcam_r: the same                                         30 Hz
        screen.128x72.mp4 screen.timestamps.txt screen.mouse.txt                       30 Hz

In `_eyes.mp4` the subject's left eye is the right half. Videos are written through PyAV (`video.py` says why).
A step appears when all of it is there. Source: EVE's DATASET.md, and what third parties measured on real files.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gaze_exp.data.synthetic.crop_layout import Recording
from gaze_exp.data.synthetic.eve_labels import write_labels
from gaze_exp.data.synthetic.eve_screen import stimulus
from gaze_exp.data.synthetic.jobs import Job, OnFrames, atomic_folder
from gaze_exp.data.synthetic.motion import draw_sequence
from gaze_exp.data.synthetic.person import draw_person, random_stream
from gaze_exp.data.synthetic.renderer import frames_at_once, render, render_frame
from gaze_exp.data.synthetic.rigs import EVE_RIGS
from gaze_exp.data.synthetic.scene import Scene, with_rig
from gaze_exp.data.synthetic.video import VideoWriter
from gaze_exp.data.synthetic.views import eye_views, face_view

FPS = 60
FACE_PX, EYE_PX = 256, 128
_KINDS = {"image": "synthetic-i", "video": "synthetic-v", "wikipedia": "wikipedia-random"}
_START_NS = 1_580_000_000 * 10**9


@dataclass(frozen=True)
class Step:
    """One stimulus that a participant was shown."""

    number: int
    kind: str
    """`image`, `video` or `wikipedia`."""
    name: str

    @property
    def folder(self) -> str:
        """`step007_image_synthetic-i0412`."""
        return f"step{self.number:03d}_{self.kind}_{self.name}"


def draw_steps(recording: Recording, num_steps: int) -> list[Step]:
    """The steps of a participant, with holes in their numbers as in the release.

    Args:
        recording: the participant.
        num_steps: how many.

    Returns:
        Steps in the order of their numbers; image, video, wikipedia and again.
    """
    stream = random_stream(recording.seed, recording.drawn, "steps")
    gaps = torch.randint(1, 5, (num_steps,), generator=stream)
    gaps[0] += 5
    if num_steps > 1:  # two steps beside each other would have no hole between them
        gaps[1] = max(2, int(gaps[1]))
    stimuli = torch.randint(0, 10_000, (num_steps,), generator=stream).tolist()
    steps = []
    for index, number in enumerate(gaps.cumsum(0).tolist()):
        kind = list(_KINDS)[index % len(_KINDS)]
        name = _KINDS[kind] + ("" if kind == "wikipedia" else f"{stimuli[index]:04d}")
        steps.append(Step(number, kind, name))
    return steps


def eve_jobs(
    root: Path, people: Sequence[Recording], *, num_steps: int, num_frames: int, frame_width_px: int
) -> list[Job]:
    """One job a step.

    Args:
        root: the data folder.
        people: who is in it.
        num_steps: of each participant.
        num_frames: of the 60 Hz camera in each step; the others have half of them.
        frame_width_px: of the full-frame videos; 0 for none.

    Returns:
        Jobs, each of which writes one step folder.
    """
    num_views = num_frames + 3 * -(-num_frames // 2)
    frame_bytes = 6_000 + 0.06 * frame_width_px**2

    def job(recording: Recording, step: Step) -> Job:
        path = root / recording.folder / step.folder

        def write(on_frames: OnFrames) -> None:
            write_step(path, recording, step, num_frames=num_frames, frame_width_px=frame_width_px, on_frames=on_frames)

        return Job(path=path, num_frames=num_views, num_bytes=round(num_views * frame_bytes), write=write)

    return [job(recording, step) for recording in people for step in draw_steps(recording, num_steps)]


def write_step(
    path: Path, recording: Recording, step: Step, *, num_frames: int, frame_width_px: int, on_frames: OnFrames
) -> None:
    """Draw, render and write one step.

    Args:
        path: its folder; there whole or not at all.
        recording: whose; a `test` folder gets no labels.
        step: which.
        num_frames: of the 60 Hz camera.
        frame_width_px: of the full-frame videos; 0 for none.
        on_frames: told of the progress.
    """
    person = draw_person(recording.seed, number=recording.drawn)
    seed = 1000 * recording.seed + step.number
    scene = draw_sequence(
        person,
        rig=EVE_RIGS["basler"],
        num_frames=num_frames,
        fps=FPS,
        seed=seed,
        number=recording.drawn,
        kind=step.kind,
    )
    start_ns = _START_NS + (recording.number * 1000 + step.number) * 600 * 10**9
    with atomic_folder(path) as folder:
        for camera, rig in EVE_RIGS.items():
            stride = 1 if camera == "basler" else 2
            seen = with_rig(_every(scene, stride), rig)
            write_labels(folder / f"{camera}.h5", seen, has_gaze=not recording.folder.startswith("test"))
            jitter = random_stream(seed, recording.drawn, camera)
            stamps_ns = _stamps(start_ns, seen.num_frames, fps=FPS // stride, jitter=jitter, precise=stride == 1)
            (folder / f"{camera}.timestamps.txt").write_text("".join(f"{stamp}\n" for stamp in stamps_ns))
            noise = random_stream(seed, recording.drawn, camera, "noise")
            _write_videos(folder, camera, seen, fps=FPS // stride, width_px=frame_width_px, noise=noise, tell=on_frames)
        _write_screen(folder, _every(scene, 2), step, seed=seed, start_ns=start_ns)


def _every(scene: Scene, stride: int) -> Scene:
    tensors: dict[str, Any] = {k: v[::stride] for k, v in vars(scene).items() if isinstance(v, Tensor)}
    return replace(scene, **tensors)


def _stamps(start_ns: int, num: int, *, fps: int, jitter: torch.Generator, precise: bool) -> list[int]:
    """The hardware clock of the Basler is steady; the webcams' stamps come when the system has time for them."""
    wander = torch.rand(num, generator=jitter, dtype=torch.float64) * (20_000 if precise else 4_000_000)
    return [start_ns + round(index * 1e9 / fps) + round(late) for index, late in enumerate(wander.tolist())]


def _write_videos(
    folder: Path, camera: str, scene: Scene, *, fps: int, width_px: int, noise: torch.Generator, tell: OnFrames
) -> None:
    height_px = width_px * 9 // 16
    chunk = max(1, min(frames_at_once(EYE_PX), 16))
    with ExitStack() as stack:

        def video(name: str, width_px: int, height_px: int) -> VideoWriter:
            return stack.enter_context(VideoWriter(folder / name, width_px=width_px, height_px=height_px, fps=fps))

        face, eyes = video(f"{camera}_face.mp4", FACE_PX, FACE_PX), video(f"{camera}_eyes.mp4", 2 * EYE_PX, EYE_PX)
        full = video(f"{camera}.mp4", width_px, height_px) if width_px else None
        for start in range(0, scene.num_frames, chunk):
            part = scene.frames(start, start + chunk)
            face.append(render(part, face_view(part), size_px=FACE_PX, noise=noise).numpy())
            left, right = (render(part, view, size_px=EYE_PX, noise=noise).numpy() for view in eye_views(part))
            eyes.append(np.concatenate((right, left), axis=2))
            if full:
                full.append(render_frame(part, width_px=width_px, height_px=height_px, noise=noise).numpy())
            tell(part.num_frames)


def _write_screen(folder: Path, scene: Scene, step: Step, *, seed: int, start_ns: int) -> None:
    with VideoWriter(folder / "screen.128x72.mp4", width_px=128, height_px=72, fps=FPS // 2) as video:
        video.append(stimulus(scene.target_px, kind=step.kind, seed=seed, screen_px=scene.rig.screen_px))
    stamps = [start_ns + round(index * 1e9 / (FPS // 2)) for index in range(scene.num_frames)]
    (folder / "screen.timestamps.txt").write_text("".join(f"{stamp}\n" for stamp in stamps))
    # The hand rests while the eyes wander, except where a page has to be scrolled.
    places = scene.target_px if step.kind == "wikipedia" else scene.target_px[:1].expand(scene.num_frames, 2)
    lines = [f"{stamp} {x:.0f} {y:.0f}\n" for stamp, (x, y) in zip(stamps, places.tolist(), strict=True)]
    (folder / "screen.mouse.txt").write_text("".join(lines))
