"""Synthetic persons as crop files: who goes into which split, and one file written through `CropWriter`."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gaze_exp.data.crops import OPTIONAL, CropWriter
from gaze_exp.data.synthetic.drawing import FRAMES_PER_STEP
from gaze_exp.data.synthetic.jobs import Job, OnFrames
from gaze_exp.data.synthetic.landmarks import landmarks_px
from gaze_exp.data.synthetic.masks import eye_mask
from gaze_exp.data.synthetic.motion import KINDS, Movement, draw_recording
from gaze_exp.data.synthetic.person import random_stream
from gaze_exp.data.synthetic.renderer import frames_at_once, render
from gaze_exp.data.synthetic.rigs import ABOVE, Rig
from gaze_exp.data.synthetic.scene import Scene
from gaze_exp.data.synthetic.views import FACE_CAMERA, NormalCamera, View, eye_views, face_view
from gaze_exp.data.synthetic.warps import warp

SOURCE_FPS = 60
APART = Movement(fps=1, frames_per_step=FRAMES_PER_STEP)
"""What is written of frames that were drawn apart."""

_OPTIONAL = {
    **OPTIONAL,
    "pupil_mm": ((), "float32"),
    "landmarks_px": ((68, 2), "float32"),
    "head_rotation": ((3, 3), "float32"),
    "head_position_mm": ((3,), "float32"),
    **{f"{eye}_R": ((3, 3), "float32") for eye in ("left", "right")},
    **{f"{eye}_o": ((3,), "float32") for eye in ("left", "right")},
    **{f"{patch}_W": ((3, 3), "float64") for patch in ("face", "left", "right")},
}
_MASKS = {"mask_left": "leye", "mask_right": "reye"}
_SIDES = {"face": "face", "left": "leye", "right": "reye"}


@dataclass(frozen=True)
class Recording:
    """One person's place in the data set."""

    number: int
    """Unique over all splits."""
    folder: str
    """`train01`."""
    seed: int
    """The person is drawn from this seed and the next number."""
    drawn: int

    @property
    def participant(self) -> str:
        """`participant_001`."""
        return f"participant_{self.number:03d}"

    def path(self, root: Path, *, camera: str) -> Path:
        """The crop file.

        Args:
            root: the data folder.
            camera: the camera in the file name.

        Returns:
            `<root>/train01/participant_001/frames_basler.h5`.
        """
        return root / self.folder / self.participant / f"frames_{camera}.h5"


def recordings(
    *,
    num_train: int,
    num_val: int,
    num_test: int,
    seed: int,
    own_seeds: Mapping[str, int | None] = MappingProxyType({}),
) -> list[Recording]:
    """Persons of all splits, numbered through.

    Args:
        num_train: persons to train on.
        num_val: persons to validate on.
        num_test: persons to test on.
        seed: of the whole data set; a person is drawn from it and their number.
        own_seeds: split -> a seed of its own, from which its persons are drawn as 1, 2, ...

    Returns:
        Recordings in the order of their numbers.
    """
    people: list[Recording] = []
    for split, num in {"train": num_train, "val": num_val, "test": num_test}.items():
        own = own_seeds.get(split)
        for index in range(1, num + 1):
            number = len(people) + 1
            identity = (seed, number) if own is None else (own, index)
            people.append(Recording(number, f"{split}{index:02d}", *identity))
    return people


def file_bytes(*, num_frames: int, face_size: int, eye_size: int) -> int:
    """Size of one crop file.

    Args:
        num_frames: rows.
        face_size: side of the face crop, px.
        eye_size: side of the eye crops, px.

    Returns:
        Bytes, a little more than needed.
    """
    return num_frames * (3 * (face_size**2 + 2 * eye_size**2) + 256) + 65536


def write_recording(
    path: Path,
    *,
    recording: Recording,
    rig: Rig,
    num_frames: int,
    face_size: int,
    eye_size: int,
    camera: str,
    masks: bool = False,
    movement: Movement | None = None,
    face_width_mm: float = FACE_CAMERA.width_mm,
    on_frames: OnFrames,
) -> None:
    """Draw, render and write one person.

    Args:
        path: the crop file; there whole or not at all.
        recording: whose.
        rig: camera and screen.
        num_frames: rows.
        face_size: side of the face crop, px.
        eye_size: side of the eye crops, px.
        camera: the camera's name, for the attributes.
        masks: write `mask_left` and `mask_right` too.
        movement: of frames that follow each other; None draws every frame apart.
        face_width_mm: what the face crop spans.
        on_frames: told how many frames were finished since last time; an exception from it stops the file.

    Raises:
        DataError: the file cannot be written.
    """
    seed, drawn = recording.seed, recording.drawn
    scene = draw_recording(rig=rig, num_frames=num_frames, movement=movement, seed=seed, number=drawn)
    views = _views(scene, face_width_mm)
    sizes = {"face": face_size, "leye": eye_size, "reye": eye_size}
    labels = _labels(scene, views, sizes, movement or APART)
    noise = {name: random_stream(seed, drawn, "noise", name) for name in views}
    chunk = frames_at_once(min(face_size, eye_size))
    named = {"camera": camera, "participant": recording.participant, "scene_seed": seed}
    attrs = _attributes(scene, movement or APART) | named
    optional = _OPTIONAL | (dict.fromkeys(_MASKS, ((eye_size, eye_size), "uint8")) if masks else {})
    shape: dict[str, Any] = {"num_rows": num_frames, "face_size": face_size, "eye_size": eye_size}
    with CropWriter(path, **shape, optional=optional, attrs=attrs) as writer:
        for start in range(0, num_frames, chunk):
            part = scene.frames(start, stop := min(start + chunk, num_frames))
            rows = _render_rows(part, _views(part, face_width_mm), sizes, noise, masks=masks)
            rows |= {name: values[start:stop] for name, values in labels.items()}
            writer.append(rows)
            on_frames(stop - start)


def _views(scene: Scene, face_width_mm: float) -> dict[str, View]:
    face = face_view(scene, camera=NormalCamera(width_mm=face_width_mm))
    return {"face": face, **dict(zip(("leye", "reye"), eye_views(scene), strict=True))}


def _render_rows(
    scene: Scene, views: dict[str, View], sizes: dict[str, int], noise: dict[str, torch.Generator], *, masks: bool
) -> dict[str, np.ndarray]:
    rows = {name: _render_frames(scene, view, sizes[name], noise[name]) for name, view in views.items()}
    for name, eye in _MASKS.items() if masks else ():
        rows[name] = eye_mask(scene, views[eye], size_px=sizes[eye]).numpy().astype(np.uint8)
    return rows


def _render_frames(scene: Scene, view: View, size_px: int, noise: torch.Generator) -> np.ndarray:
    """(F, size, size, 3) uint8, a few frames at a time."""
    chunk = frames_at_once(size_px)
    starts = range(0, scene.num_frames, chunk)
    parts = [
        render(scene.frames(i, i + chunk), view.frames(i, i + chunk), size_px=size_px, noise=noise) for i in starts
    ]
    return torch.cat(parts).numpy()


def _labels(scene: Scene, views: dict[str, View], sizes: dict[str, int], movement: Movement) -> dict[str, np.ndarray]:
    face = views["face"]
    index = torch.arange(scene.num_frames)
    in_step = index % movement.frames_per_step
    frame_index = in_step * (SOURCE_FPS // movement.fps)
    values: dict[str, Tensor] = {
        "gaze": face.gaze,
        "gaze_left": views["leye"].gaze,
        "gaze_right": views["reye"].gaze,
        "head": face.head,
        "face_R": face.rotation,
        "face_o": face.origin_mm,
        "pog_px": scene.target_px,
        "validity": scene.valid,
        "valid_left": scene.valid,
        "valid_right": scene.valid,
        "step_id": scene.step,
        "frame_index": frame_index,
        "timestamp": index * (10**9 // movement.fps),
        "pupil_mm": scene.pupil_mm,
        "landmarks_px": landmarks_px(scene, width_px=scene.rig.width_px, height_px=scene.rig.height_px),
        "head_rotation": scene.head_rotation,
        "head_position_mm": scene.head_position_mm,
        **{f"{side}_R": views[_SIDES[side]].rotation for side in ("left", "right")},
        **{f"{side}_o": views[_SIDES[side]].origin_mm for side in ("left", "right")},
        **{f"{side}_W": warp(scene, views[name], size_px=sizes[name]) for side, name in _SIDES.items()},
    }
    dtypes = {name: dtype for name, (_, dtype) in _OPTIONAL.items()} | {"gaze": "float32"}
    return {name: tensor.numpy().astype(dtypes[name]) for name, tensor in values.items()}


def _attributes(scene: Scene, movement: Movement) -> dict[str, object]:
    rig, steps = scene.rig, range(int(scene.step[-1]) + 1)
    kinds = itertools.cycle(KINDS[:1] if movement == APART else KINDS)
    return {
        "gaze_key": "face_g_tobii",
        "source_fps": SOURCE_FPS,
        "sample_hz": movement.fps,
        "steps": [f"step{step:03d}_{kind}_synthetic" for step, kind in zip(steps, kinds, strict=False)],
        "camera_matrix": rig.camera_matrix.numpy(),
        "screen_to_camera": rig.screen_to_camera.numpy(),
        "mm_per_px": np.full(2, rig.mm_per_px),
        "screen_px": np.array(rig.screen_px),
    }


def crop_jobs(
    root: Path,
    people: Sequence[Recording],
    *,
    num_frames: int,
    face_size: int,
    eye_size: int,
    rig: Rig = ABOVE,
    camera: str = "basler",
    masks: bool = False,
    movement: Movement | None = None,
    face_width_mm: float = FACE_CAMERA.width_mm,
) -> list[Job]:
    """One job a person.

    Args:
        root: the data folder.
        people: who is in it.
        num_frames: rows of each file.
        face_size: side of the face crop, px.
        eye_size: side of the eye crops, px.
        rig: camera and screen.
        camera: the camera in the file name.
        masks: write `mask_left` and `mask_right` too.
        movement: of frames that follow each other; None draws every frame apart.
        face_width_mm: what the face crop spans.

    Returns:
        Jobs, each of which writes one `frames_<camera>.h5`.
    """
    settings: dict[str, Any] = {"rig": rig, "num_frames": num_frames, "face_size": face_size, "eye_size": eye_size}
    settings |= {"camera": camera, "masks": masks, "movement": movement, "face_width_mm": face_width_mm}

    def job(recording: Recording) -> Job:
        path = recording.path(root, camera=camera)

        def write(on_frames: OnFrames) -> None:
            write_recording(path, recording=recording, on_frames=on_frames, **settings)

        size = file_bytes(num_frames=num_frames, face_size=face_size, eye_size=eye_size)
        return Job(path=path, num_frames=num_frames, num_bytes=size, write=write)

    return [job(recording) for recording in people]
