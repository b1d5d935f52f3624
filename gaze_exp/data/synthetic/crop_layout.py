"""Synthetic persons as crop files: who goes into which split, and one file written through `CropWriter`."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gaze_exp.data.crops import CropWriter
from gaze_exp.data.synthetic.person import draw_person, random_stream
from gaze_exp.data.synthetic.renderer import frames_at_once, render
from gaze_exp.data.synthetic.scene import FRAMES_PER_STEP, Rig, Scene, draw_scene
from gaze_exp.data.synthetic.views import View, eye_views, face_view

SOURCE_FPS = 60
SAMPLE_HZ = 1

_OPTIONAL = {
    "validity": ((), "bool"),
    "valid_left": ((), "bool"),
    "valid_right": ((), "bool"),
    "step_id": ((), "int32"),
    "frame_index": ((), "int64"),
    "timestamp": ((), "int64"),
    "gaze_left": ((2,), "float32"),
    "gaze_right": ((2,), "float32"),
    "pog_px": ((2,), "float32"),
    "head": ((2,), "float32"),
    "face_R": ((3, 3), "float32"),
    "face_o": ((3,), "float32"),
}


@dataclass(frozen=True)
class Recording:
    """One person's place in the data set."""

    number: int
    """Unique over all splits; the person is drawn from it."""
    folder: str
    """`train01`."""

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


def recordings(*, num_train: int, num_val: int, num_test: int) -> list[Recording]:
    """Persons of all splits, numbered through.

    Args:
        num_train: persons to train on.
        num_val: persons to validate on.
        num_test: persons to test on.

    Returns:
        Recordings in the order of their numbers.
    """
    counts = {"train": num_train, "val": num_val, "test": num_test}
    folders = [f"{split}{index:02d}" for split, num in counts.items() for index in range(1, num + 1)]
    return [Recording(number, folder) for number, folder in enumerate(folders, start=1)]


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
    scene_seed: int,
    num_frames: int,
    face_size: int,
    eye_size: int,
    camera: str,
    on_frames: Callable[[int], None],
) -> None:
    """Draw, render and write one person.

    Args:
        path: the crop file; there whole or not at all.
        recording: whose.
        rig: camera and screen.
        scene_seed: of the whole data set.
        num_frames: rows.
        face_size: side of the face crop, px.
        eye_size: side of the eye crops, px.
        camera: the camera's name, for the attributes.
        on_frames: told how many frames were finished since last time; an exception from it stops the file.

    Raises:
        DataError: the file cannot be written.
    """
    person = draw_person(scene_seed, number=recording.number)
    scene = draw_scene(person, rig=rig, num_frames=num_frames, seed=scene_seed, number=recording.number)
    views = {"face": face_view(scene), **dict(zip(("leye", "reye"), eye_views(scene), strict=True))}
    labels = _labels(scene, views)
    noise = {name: random_stream(scene_seed, recording.number, "noise", name) for name in views}
    sizes = {"face": face_size, "leye": eye_size, "reye": eye_size}
    chunk = frames_at_once(min(face_size, eye_size))
    attrs = {**_attributes(scene), "camera": camera, "participant": recording.participant, "scene_seed": scene_seed}
    with CropWriter(
        path, num_rows=num_frames, face_size=face_size, eye_size=eye_size, optional=_OPTIONAL, attrs=attrs
    ) as writer:
        for start in range(0, num_frames, chunk):
            stop = min(start + chunk, num_frames)
            images = {
                name: _render_frames(scene.frames(start, stop), view.frames(start, stop), sizes[name], noise[name])
                for name, view in views.items()
            }
            writer.append(images | {name: values[start:stop] for name, values in labels.items()})
            on_frames(stop - start)


def _render_frames(scene: Scene, view: View, size_px: int, noise: torch.Generator) -> np.ndarray:
    """(F, size, size, 3) uint8, a few frames at a time."""
    chunk = frames_at_once(size_px)
    starts = range(0, scene.num_frames, chunk)
    parts = [
        render(scene.frames(i, i + chunk), view.frames(i, i + chunk), size_px=size_px, noise=noise) for i in starts
    ]
    return torch.cat(parts).numpy()


def _labels(scene: Scene, views: dict[str, View]) -> dict[str, np.ndarray]:
    face = views["face"]
    index = torch.arange(scene.num_frames)
    in_step = index % FRAMES_PER_STEP
    seen = torch.ones(scene.num_frames, dtype=torch.bool)
    frame_index = in_step * (SOURCE_FPS // SAMPLE_HZ)
    values: dict[str, Tensor] = {
        "gaze": face.gaze,
        "gaze_left": views["leye"].gaze,
        "gaze_right": views["reye"].gaze,
        "head": face.head,
        "face_R": face.rotation,
        "face_o": face.origin_mm,
        "pog_px": scene.target_px,
        "validity": seen,
        "valid_left": seen,
        "valid_right": seen,
        "step_id": scene.step,
        "frame_index": frame_index,
        "timestamp": index * (10**9 // SAMPLE_HZ),
    }
    dtypes = {name: dtype for name, (_, dtype) in _OPTIONAL.items()} | {"gaze": "float32"}
    return {name: tensor.numpy().astype(dtypes[name]) for name, tensor in values.items()}


def _attributes(scene: Scene) -> dict[str, object]:
    rig = scene.rig
    return {
        "gaze_key": "face_g_tobii",
        "source_fps": SOURCE_FPS,
        "sample_hz": SAMPLE_HZ,
        "steps": [f"step{step:03d}_image_synthetic" for step in range(int(scene.step[-1]) + 1)],
        "camera_matrix": rig.camera_matrix.numpy(),
        "screen_to_camera": rig.screen_to_camera.numpy(),
        "mm_per_px": np.full(2, rig.mm_per_px),
        "screen_px": np.array(rig.screen_px),
    }
