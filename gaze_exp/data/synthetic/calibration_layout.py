"""Synthetic persons as the photos of a client's calibration: `calibration_data/img_{ms}.jpg` and `.json`.

The client saves a photo when the user looks at the mouse pointer and presses a key. The picture is the camera's
whole frame, mirrored unless the user switched that off; the label is the pointer in the window, which here fills
the laptop's screen. Until version 0.4.12 the client wrote 1920x1080, from 0.4.13 on 640x480. The JSON has the
client's keys in the client's order. Whatever its `inference` says about gaze is the answer of another program and
is not the truth.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from gaze_exp.data.synthetic.crop_layout import Recording
from gaze_exp.data.synthetic.jobs import Job, OnFrames, atomic_folder
from gaze_exp.data.synthetic.landmarks import eye_centres_px
from gaze_exp.data.synthetic.person import draw_person, random_stream
from gaze_exp.data.synthetic.renderer import render_frame
from gaze_exp.data.synthetic.rigs import LAPTOP, LAPTOPS, Rig
from gaze_exp.data.synthetic.scene import Scene
from gaze_exp.data.synthetic.sitting import draw_sitting

GRIDS = {9: (3, 3), 16: (4, 4), 32: (8, 4)}
"""Number of targets -> columns, rows."""
FOLDER = "calibration_data"
_JPEG_QUALITY = 75
_START_MS = 1_766_068_421_832
_PHOTOS_AT_ONCE = 4
_BYTES_A_PIXEL = 0.13


def calibration_jobs(
    root: Path,
    people: Sequence[Recording],
    *,
    num_targets: int,
    num_sessions: int,
    num_photos: int,
    photo_width_px: int,
    mirrored: bool,
) -> list[Job]:
    """One job a person.

    Args:
        root: the data folder.
        people: who is in it.
        num_targets: 9, 16 or 32 points on the screen.
        num_sessions: sittings on different days.
        num_photos: of each session; more than targets means some twice.
        photo_width_px: a key of `LAPTOPS`.
        mirrored: write the photos mirrored.

    Returns:
        Jobs, each of which writes one `participant_*/calibration_data`.
    """
    rig = LAPTOPS[photo_width_px]

    def job(recording: Recording) -> Job:
        path = root / recording.participant / FOLDER

        def write(on_frames: OnFrames) -> None:
            with atomic_folder(path) as folder:
                for session in range(num_sessions):
                    stream = random_stream(recording.seed, recording.drawn, "targets", session)
                    write_session(
                        folder,
                        recording,
                        session=session,
                        target_px=draw_targets(num_targets, num_photos, stream),
                        rig=rig,
                        mirrored=mirrored,
                        on_frames=on_frames,
                    )

        total = num_sessions * num_photos
        photo_bytes = int(_BYTES_A_PIXEL * rig.width_px * rig.height_px)
        return Job(path=path, num_frames=total, num_bytes=total * photo_bytes, write=write)

    return [job(recording) for recording in people]


def write_session(
    folder: Path,
    recording: Recording,
    *,
    session: int,
    target_px: Tensor,
    rig: Rig,
    mirrored: bool,
    on_frames: OnFrames,
) -> None:
    """Draw, render and write the photos of one sitting.

    Args:
        folder: there already.
        recording: whose.
        session: counts from 0; another session, another day, light and seat.
        target_px: (F, 2) where the pointer stood at each photo.
        rig: camera and screen.
        mirrored: write the photos mirrored.
        on_frames: told of the progress.
    """
    stream = random_stream(recording.seed, recording.drawn, "session", session)
    person = draw_person(recording.seed, number=recording.drawn)
    num_photos = len(target_px)
    scene = draw_sitting(
        person, rig=rig, target_px=target_px, seed=recording.seed, number=recording.drawn, session=session
    )
    pauses_ms = torch.randint(1800, 4200, (num_photos,), generator=stream).cumsum(0)
    times_ms = (pauses_ms + _START_MS + 86_400_000 * session + 3_600_000 * recording.number).tolist()
    noise = random_stream(recording.seed, recording.drawn, "noise", "photo", session)
    width_px, height_px = rig.width_px, rig.height_px
    for start in range(0, num_photos, _PHOTOS_AT_ONCE):
        part = scene.frames(start, start + _PHOTOS_AT_ONCE)
        photos = render_frame(part, width_px=width_px, height_px=height_px, noise=noise, mirrored=mirrored).numpy()
        eyes_px = eye_centres_px(part, width_px=width_px, height_px=height_px)
        if mirrored:
            eyes_px = eyes_px * torch.tensor([-1.0, 1.0]) + torch.tensor([float(width_px), 0.0])
        for index, photo in enumerate(photos):
            time_ms = times_ms[start + index]
            label = describe(part, index, time_ms=time_ms, eyes_px=eyes_px[index], stream=stream)
            _write_photo(folder / f"img_{time_ms}", photo, label)
        on_frames(part.num_frames)


def _write_photo(path: Path, photo: np.ndarray, label: dict[str, Any]) -> None:
    """`path.jpg` and `path.json`."""
    done, encoded = cv2.imencode(".jpg", photo[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY))
    assert done, "OpenCV could not encode a JPEG"
    path.with_suffix(".jpg").write_bytes(encoded.tobytes())
    path.with_suffix(".json").write_text(json.dumps(label, indent=2), encoding="utf-8")


def draw_targets(num_targets: int, num_photos: int, stream: torch.Generator) -> Tensor:
    """Where the pointer stood.

    Args:
        num_targets: a key of `GRIDS`.
        num_photos: how many photos; beyond the targets it starts again with the first.
        stream: random numbers: nobody hits a point exactly.

    Returns:
        (num_photos, 2) float64 px of the window.
    """
    columns, rows = GRIDS[num_targets]
    x = (torch.arange(columns, dtype=torch.float64) / (columns - 1) * 0.9 + 0.05) * LAPTOP.screen_px[0]
    y = (torch.arange(rows, dtype=torch.float64) / (rows - 1) * 0.9 + 0.05) * LAPTOP.screen_px[1]
    grid = torch.cartesian_prod(y, x).flip(-1)
    targets = grid[torch.arange(num_photos) % num_targets]
    # The client's coordinates are float32.
    return (targets + 5.0 * torch.randn(num_photos, 2, generator=stream).double()).float().double()


def describe(scene: Scene, index: int, *, time_ms: int, eyes_px: Tensor, stream: torch.Generator) -> dict[str, Any]:
    """The JSON of one photo.

    Args:
        scene: its frames.
        index: which of them.
        time_ms: since 1970.
        eyes_px: (2, 2) left and right eye in the photo.
        stream: random numbers for the other program's answer.

    Returns:
        The client's keys in the client's order.
    """
    yaw, pitch, roll = (torch.tensor([30.0, 15.0, 4.0]) * torch.randn(3, generator=stream)).tolist()
    left, right = ({"x": float(x), "y": float(y), "z": 0.0} for x, y in eyes_px.float().tolist())
    return {
        "timestamp": time_ms,
        "screen_x": float(scene.target_px[index, 0]),
        "screen_y": float(scene.target_px[index, 1]),
        "inference": {
            "Gaze": {
                "left_eye": left,
                "right_eye": right,
                "yaw": yaw,
                "pitch": pitch,
                "roll": roll,
                "vector": {"x": 0.0, "y": 0.0, "z": -1.0},
                "landmarks": None,
            }
        },
        "moondream_result": None,
    }
