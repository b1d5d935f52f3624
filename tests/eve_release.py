"""A reader of the official EVE layout that believes nothing: it checks one step against the published schema."""

import re
from dataclasses import dataclass
from pathlib import Path

import av
import h5py
import numpy as np

CAMERAS = ("basler", "webcam_l", "webcam_c", "webcam_r")
CONSTANTS = {
    "camera_matrix": (3, 3),
    "camera_transformation": (4, 4),
    "inv_camera_transformation": (4, 4),
    "millimeters_per_pixel": (2,),
    "pixels_per_millimeter": (2,),
}
GEOMETRY = {"facial_landmarks": (68, 2), "head_rvec": (3, 1), "head_tvec": (3, 1)} | {
    f"{patch}_{name}": shape
    for patch in ("face", "left", "right")
    for name, shape in {"R": (3, 3), "W": (3, 3), "h": (2,), "o": (3,)}.items()
}
GAZE = {"left_p": (), "right_p": ()} | {
    f"{patch}_{name}_tobii": (2,) for patch in ("face", "left", "right") for name in ("PoG", "g")
}
_STEP = re.compile(r"^step(\d{3})_(image|video|wikipedia)_(.+)$")


@dataclass(frozen=True)
class Camera:
    """What one camera recorded in one step."""

    constants: dict[str, np.ndarray]
    data: dict[str, np.ndarray]
    validity: dict[str, np.ndarray]
    stamps_ns: list[int]
    face: np.ndarray
    eyes: np.ndarray
    frame: np.ndarray | None


def video(path: Path) -> tuple[np.ndarray, float]:
    """(F, H, W, 3) frames and how many there are a second."""
    with av.open(str(path)) as file:
        rate = float(file.streams.video[0].average_rate)
        return np.stack([frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]), rate


def read_camera(step: Path, camera: str, *, has_gaze: bool) -> Camera:
    """Read and check one camera of one step."""
    with h5py.File(step / f"{camera}.h5") as file:
        groups = GEOMETRY | (GAZE if has_gaze else {})
        assert set(file) == set(CONSTANTS) | set(groups)
        constants = {name: file[name][:] for name in CONSTANTS}
        assert all(constants[name].shape == shape for name, shape in CONSTANTS.items())
        data = {name: file[name]["data"][:] for name in groups}
        validity = {name: file[name]["validity"][:].astype(bool) for name in groups}
    stamps = [int(line) for line in (step / f"{camera}.timestamps.txt").read_text().splitlines()]
    for name, shape in groups.items():
        assert data[name].shape == (len(stamps), *shape), name
        assert validity[name].shape == (len(stamps),), name
    (face, rate), (eyes, _) = video(step / f"{camera}_face.mp4"), video(step / f"{camera}_eyes.mp4")
    assert rate == (60 if camera == "basler" else 30)
    assert face.shape == (len(stamps), 256, 256, 3)
    assert eyes.shape == (len(stamps), 128, 256, 3)
    path = step / f"{camera}.mp4"
    frame = video(path)[0] if path.exists() else None
    return Camera(constants, data, validity, stamps, face, eyes, frame)


def steps_of(participant: Path) -> dict[int, Path]:
    """Step number -> folder; anything else in there is an error."""
    matches = {path: _STEP.match(path.name) for path in sorted(participant.iterdir())}
    assert all(matches.values()), matches
    return {int(match[1]): path for path, match in matches.items()}
