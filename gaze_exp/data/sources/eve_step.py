"""One camera in one EVE step -> the rows of that step, and what became of each of its frames.

Frames are chosen first by number (60 -> 10 Hz is every sixth from 0), then by label; a frame that does not decode
is left out, never written black. Resizing does not change a label.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from gaze_exp.data.sources.eve_labels import (
    UNITS_NS,
    StepLabels,
    num_rows,
    read_labels,
    read_stamps,
    unit_of,
)
from gaze_exp.data.sources.eve_release import Recording
from gaze_exp.data.sources.eve_rows import RowsWriter, row_arrays
from gaze_exp.data.sources.eve_video import Video
from gaze_exp.errors import DataError

_ROWS_AT_ONCE = 8
GEOMETRY_NAMES = {
    "camera_matrix": "camera_matrix",
    "camera_transformation": "screen_to_camera",
    "millimeters_per_pixel": "mm_per_px",
}
"""EVE's name -> the attribute of a crop file."""


@dataclass(frozen=True)
class Settings:
    """What decides the bytes of a crop file, beside the source."""

    sample_hz: int = 10
    """Frames a second to keep; 0 for all."""
    face_size: int = 224
    eye_size: int = 112
    swap_halves: bool = False
    """The left eye is the left half of `_eyes.mp4`, against the authors' own code."""
    strict: bool = False
    """Refuse what is missing, damaged or of unequal length, instead of leaving it out."""


@dataclass
class StepResult:
    """What became of one recording; plain data, the same however often it is converted."""

    name: str
    kind: str
    num_frames: int = 0
    """Frames that its HDF5 file describes."""
    num_rows: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    """Why frames were left out -> how many."""
    skipped: str = ""
    """Why the whole recording was left out."""
    warnings: list[str] = field(default_factory=list)
    fps: float = 0.0
    timestamp_unit: str | None = None
    geometry: dict[str, list[Any]] = field(default_factory=dict)
    """Camera matrix, screen -> camera, mm a pixel."""

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True)
class _Source:
    """The readable files of one recording, cut to their shortest."""

    labels: StepLabels
    stamps_ns: np.ndarray
    videos: dict[str, Video]
    rows: np.ndarray
    """Numbers of the frames to keep."""


def convert_step(recording: Recording, path: Path, *, step_id: int, has_gaze: bool, settings: Settings) -> StepResult:
    """Convert one recording.

    Args:
        recording: what to read.
        path: the file of rows to write; there is none when no row is left.
        step_id: the step's number among those of its person.
        has_gaze: whether its person has labels.
        settings: what to keep, and how large.

    Returns:
        Counts, and what there is to say.

    Raises:
        DataError: `path` cannot be written; or, under `strict`, a recording that is not as it should be.
    """
    result = StepResult(recording.name, recording.kind)
    try:
        source = _open(recording, result, has_gaze=has_gaze, settings=settings)
    except DataError as error:
        if settings.strict:
            raise
        result.skipped = str(error)
        result.num_frames = num_rows(recording.path(".h5"))
        result.dropped = {"in a skipped recording": result.num_frames} if result.num_frames else {}
        return result
    rows = source.rows
    while len(rows):
        broken = _write(path, source, rows, step_id=step_id, has_gaze=has_gaze, settings=settings)
        if not broken:
            break
        _complain(result, f"{recording.name}: {len(broken)} of {len(rows)} frames cannot be decoded", settings)
        rows = np.setdiff1d(rows, broken)
        result.dropped["undecodable"] = result.dropped.get("undecodable", 0) + len(broken)
    result.num_rows = len(rows)
    if not result.num_rows:
        path.unlink(missing_ok=True)
    return result


def _open(recording: Recording, result: StepResult, *, has_gaze: bool, settings: Settings) -> _Source:
    missing = recording.missing()
    if missing:
        raise DataError(f"{recording.folder}: missing {', '.join(missing)}; copy the step again")
    labels = read_labels(recording.path(".h5"), has_gaze=has_gaze)
    stamps = read_stamps(recording.path(".timestamps.txt"))
    videos = open_videos(recording)
    result.num_frames = labels.num_rows
    result.fps = videos["face"].index.fps
    constants = labels.constants.items()
    result.geometry = {GEOMETRY_NAMES[name]: value.tolist() for name, value in constants}
    result.timestamp_unit = unit_of(stamps, fps=result.fps)
    num = _shortest(recording, result, labels=labels, stamps=stamps, videos=videos, settings=settings)
    chosen = np.arange(0, num, _stride(recording, result.fps, settings.sample_hz))
    problems = labels.problem[chosen]
    dropped = {"beyond the shortest": labels.num_rows - num, "between samples": num - len(chosen)}
    dropped |= Counter(problems[problems != ""].tolist())
    result.dropped = {reason: count for reason, count in dropped.items() if count}
    scale = UNITS_NS.get(result.timestamp_unit or "", 1)
    if result.timestamp_unit is None:
        result.warnings.append(
            f"{recording.name}: the unit of the time stamps cannot be told; they are kept as they are"
        )
    return _Source(labels, stamps * scale, videos, chosen[problems == ""])


def _shortest(
    recording: Recording,
    result: StepResult,
    *,
    labels: StepLabels,
    stamps: np.ndarray,
    videos: dict[str, Video],
    settings: Settings,
) -> int:
    """Frames that every file has."""
    counts = {".h5": labels.num_rows, ".timestamps.txt": len(stamps)}
    counts |= {f"_{name}.mp4": video.index.num_frames for name, video in videos.items()}
    num = min(counts.values())
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{recording.path(suffix).name} {count}" for suffix, count in counts.items())
        _complain(
            result, f"{recording.folder}: frames, rows and stamps disagree ({told}); the first {num} are used", settings
        )
    return num


def _complain(result: StepResult, text: str, settings: Settings) -> None:
    if settings.strict:
        raise DataError(f"{text}; copy the step again, or go on without data.strict=true")
    result.warnings.append(text)


def _stride(recording: Recording, fps: float, sample_hz: int) -> int:
    """Every how many-th frame is kept."""
    if sample_hz == 0:
        return 1
    stride = round(fps) / sample_hz
    if stride < 1 or stride != int(stride):
        raise DataError(
            f"{recording.path('_face.mp4')}: {fps:g} frames a second cannot be sampled at {sample_hz} Hz; a divisor "
            "of them is right (data.sample_hz, 0 for all frames)"
        )
    return int(stride)


def _write(
    path: Path,
    source: _Source,
    rows: np.ndarray,
    *,
    step_id: int,
    has_gaze: bool,
    settings: Settings,
) -> list[int]:
    """Write the rows; if some do not decode, return their frame numbers: the file is worth nothing then."""
    labels = {name: values[rows] for name, values in source.labels.arrays.items()}
    labels |= {
        "step_id": np.full(len(rows), step_id, np.int32),
        "frame_index": rows,
        "timestamp": source.stamps_ns[rows],
    }
    arrays = row_arrays(face_size=settings.face_size, eye_size=settings.eye_size, has_gaze=has_gaze)
    buffer = image_buffer(settings, num_rows=min(_ROWS_AT_ONCE, len(rows)))
    broken: list[int] = []
    with RowsWriter(path, arrays, num_rows=len(rows)) as writer:
        writer.write(0, labels)
        decodes = decode_rows(source.videos, rows, settings=settings, out=buffer)
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            part = rows[start : start + _ROWS_AT_ONCE]
            fine = list(islice(decodes, len(part)))
            broken += part[~np.array(fine)].tolist()
            if not broken:
                writer.write(start, {name: images[: len(part)] for name, images in buffer.items()})
    return broken


def image_buffer(settings: Settings, *, num_rows: int) -> dict[str, np.ndarray]:
    """Memory for the images of some rows.

    Args:
        settings: their sizes.
        num_rows: how many.

    Returns:
        `face`, `leye`, `reye` -> (rows, H, W, 3) uint8.
    """
    sizes = {"face": settings.face_size, "leye": settings.eye_size, "reye": settings.eye_size}
    return {name: np.empty((num_rows, size, size, 3), np.uint8) for name, size in sizes.items()}


def open_videos(recording: Recording) -> dict[str, Video]:
    """The two videos of a recording.

    Args:
        recording: whose videos.

    Returns:
        `face`, `eyes` -> the video.

    Raises:
        DataError: one of them cannot be opened.
    """
    return {name: Video(recording.path(f"_{name}.mp4")) for name in ("face", "eyes")}


def decode_rows(
    videos: dict[str, Video], rows: np.ndarray, *, settings: Settings, out: dict[str, np.ndarray]
) -> Iterator[bool]:
    """Decode the crops of some frames.

    Args:
        videos: from `open_videos`.
        rows: (R,) numbers of frames, rising.
        settings: sizes, and which half is which eye.
        out: from `image_buffer`; filled from its start again when it is full.

    Yields:
        For each frame whether both videos decode; if so, its crops are in `out`.
    """
    wanted = rows.tolist()
    faces, eyes = (videos[name].frames(wanted) for name in ("face", "eyes"))
    for number, (face, pair) in enumerate(zip(faces, eyes, strict=True)):
        if face is not None and pair is not None:
            place = number % len(out["face"])
            left, right = eye_halves(pair, swap_halves=settings.swap_halves)
            for name, image in (("face", face), ("leye", left), ("reye", right)):
                _resize(image, out[name][place])
        yield face is not None and pair is not None


def eye_halves(pair: np.ndarray, *, swap_halves: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """The subject's left and right eye of a frame of `_eyes.mp4`.

    Args:
        pair: (h, 2 w, 3).
        swap_halves: the left eye is the left half.

    Returns:
        Left eye (the right half), right eye (the left half), as in the authors' `eve_sequences`.
    """
    middle = pair.shape[1] // 2
    right, left = pair[:, :middle], pair[:, middle:]
    return (right, left) if swap_halves else (left, right)


def _resize(image: np.ndarray, out: np.ndarray) -> None:
    """Resize into given memory, (H, W, 3) each."""
    size = out.shape[0]
    # Half its size and below, linear interpolation would skip pixels.
    shrinks = 2 * size <= image.shape[0]
    cv2.resize(image, (size, size), dst=out, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
