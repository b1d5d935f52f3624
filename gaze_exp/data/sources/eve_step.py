"""One camera in one EVE step -> a crop file of that step, and what became of each of its frames.

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

from gaze_exp.data.crops import IMAGES, CropWriter
from gaze_exp.data.sources.eve_labels import (
    SCREEN_PX,
    UNITS_NS,
    StepLabels,
    columns,
    num_rows,
    read_labels,
    read_stamps,
    unit_of,
)
from gaze_exp.data.sources.eve_release import Recording
from gaze_exp.data.sources.eve_video import VideoIndex, index_video, read_frames
from gaze_exp.errors import DataError

_ROWS_AT_ONCE = 128


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

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True)
class _Source:
    """The readable files of one recording, cut to their shortest."""

    labels: StepLabels
    stamps_ns: np.ndarray
    videos: dict[str, VideoIndex]
    rows: np.ndarray
    """Numbers of the frames to keep."""


def convert_step(recording: Recording, path: Path, *, step_id: int, has_gaze: bool, settings: Settings) -> StepResult:
    """Convert one recording.

    Args:
        recording: what to read.
        path: the crop file to write; none is written when no row is left.
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
        broken = _write(path, recording, source, rows, step_id=step_id, has_gaze=has_gaze, settings=settings)
        if not broken:
            break
        _complain(result, f"{recording.name}: {len(broken)} of {len(rows)} frames cannot be decoded", settings)
        rows = np.setdiff1d(rows, broken)
        result.dropped["undecodable"] = result.dropped.get("undecodable", 0) + len(broken)
    result.num_rows = len(rows)
    return result


def _open(recording: Recording, result: StepResult, *, has_gaze: bool, settings: Settings) -> _Source:
    missing = recording.missing()
    if missing:
        raise DataError(f"{recording.folder}: missing {', '.join(missing)}; copy the step again")
    labels = read_labels(recording.path(".h5"), has_gaze=has_gaze)
    stamps = read_stamps(recording.path(".timestamps.txt"))
    videos = {name: index_video(recording.path(f"_{name}.mp4")) for name in ("face", "eyes")}
    result.num_frames = labels.num_rows
    result.fps = videos["face"].fps
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
    videos: dict[str, VideoIndex],
    settings: Settings,
) -> int:
    """Frames that every file has."""
    counts = {".h5": labels.num_rows, ".timestamps.txt": len(stamps)}
    counts |= {f"_{name}.mp4": index.num_frames for name, index in videos.items()}
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
    recording: Recording,
    source: _Source,
    rows: np.ndarray,
    *,
    step_id: int,
    has_gaze: bool,
    settings: Settings,
) -> list[int]:
    """Write the rows; if some do not decode, write nothing and return their frame numbers."""
    labels = {name: values[rows] for name, values in source.labels.arrays.items()}
    labels |= {
        "step_id": np.full(len(rows), step_id, np.int32),
        "frame_index": rows,
        "timestamp": source.stamps_ns[rows],
    }
    try:
        with CropWriter(
            path,
            num_rows=len(rows),
            face_size=settings.face_size,
            eye_size=settings.eye_size,
            optional=columns(has_gaze=has_gaze),
            attrs=step_attributes(source.labels.constants),
            has_gaze=has_gaze,
        ) as writer:
            _append_all(writer, decode_rows(recording, source.videos, rows, settings=settings), rows, labels)
    except _BrokenRows as broken:
        return broken.rows
    return []


class _BrokenRows(Exception):  # noqa: N818  not an error: the file is written again without them
    def __init__(self, rows: list[int]) -> None:
        super().__init__()
        self.rows = rows


def _append_all(
    writer: CropWriter,
    images: Iterator[dict[str, np.ndarray] | None],
    rows: np.ndarray,
    labels: dict[str, np.ndarray],
) -> None:
    """Append rows a few at a time; those that do not decode are gathered, and end the file."""
    broken: list[int] = []
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        stop = min(start + _ROWS_AT_ONCE, len(rows))
        chunk: dict[str, np.ndarray] = {}
        for place, image in enumerate(islice(images, stop - start)):
            if image is None:
                broken.append(int(rows[start + place]))
                continue
            for name in IMAGES:
                whole = chunk.setdefault(name, np.empty((stop - start, *image[name].shape), np.uint8))
                whole[place] = image[name]
        if not broken:
            writer.append(chunk | {name: values[start:stop] for name, values in labels.items()})
    if broken:
        raise _BrokenRows(broken)


def decode_rows(
    recording: Recording, videos: dict[str, VideoIndex], rows: np.ndarray, *, settings: Settings
) -> Iterator[dict[str, np.ndarray] | None]:
    """Decode the crops of some frames.

    Args:
        recording: whose videos.
        videos: `face`, `eyes` -> their index.
        rows: (R,) numbers of frames, rising.
        settings: sizes, and which half is which eye.

    Yields:
        For each frame `face`, `leye` and `reye` (uint8 RGB); None where one of the videos does not decode.
    """
    wanted = rows.tolist()
    faces, eyes = (read_frames(recording.path(f"_{name}.mp4"), videos[name], wanted) for name in ("face", "eyes"))
    for face, pair in zip(faces, eyes, strict=True):
        if face is None or pair is None:
            yield None
            continue
        left, right = eye_halves(pair, swap_halves=settings.swap_halves)
        yield {
            "face": _resized(face, settings.face_size),
            "leye": _resized(left, settings.eye_size),
            "reye": _resized(right, settings.eye_size),
        }


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


def _resized(image: np.ndarray, size: int) -> np.ndarray:
    if image.shape[:2] == (size, size):
        return np.ascontiguousarray(image)
    # Half its size and below, linear interpolation would skip pixels.
    shrinks = 2 * size <= image.shape[0]
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def step_attributes(constants: dict[str, np.ndarray]) -> dict[str, Any]:
    """The geometry of one step, as attributes of its crop file."""
    return {
        "camera_matrix": constants["camera_matrix"][None],
        "screen_to_camera": constants["camera_transformation"][None],
        "mm_per_px": constants["millimeters_per_pixel"][None],
        "screen_px": np.array(SCREEN_PX),
    }
