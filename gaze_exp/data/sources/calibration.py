"""A client's calibration folder: `NAME.jpg` with the pointer's place in `NAME.json`, NAME mostly `img_{ms}`.

Only this folder itself is read, never one below it (the client keeps its reports there), and nothing in it is
ever written. The gaze in a file's `inference` is another program's answer and is not looked at.
"""

import hashlib
import json
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gaze_exp.errors import ConfigError, DataError

_PHOTOS = {".jpg", ".jpeg"}
_SAME_POINT_PX = 1.0
_FARTHEST_PX = 20_000.0


@dataclass(frozen=True)
class CalibrationSource:
    """Where the photos are, where the set goes, and what counts as the same."""

    calibration_dir: str = "calibration_data"
    root: str = "dataset_clean"
    same_target_px: float = 80.0
    """Pointers nearer than this are one target, and so are those that a chain of such ones connects."""
    session_gap_min: float = 10.0
    """A longer pause begins a new session."""

    def __post_init__(self) -> None:
        for name in ("same_target_px", "session_gap_min"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(f"data.{name}: {getattr(self, name)} is none; 0 or more is")


@dataclass(frozen=True)
class Photo:
    """A photo with its label; the picture itself has not been opened."""

    path: Path
    target_px: tuple[float, float]
    """x right, y down in the client's window; it may lie outside."""
    time_ms: int | None
    """Since 1970; None where neither label nor name says."""
    sha256: str


@dataclass(frozen=True)
class Dropped:
    """A file that is not used, and why."""

    file: str
    reason: str


@dataclass(frozen=True)
class CalibrationFolder:
    """What a folder holds: photos in the order of their times, and what cannot be used."""

    path: Path
    photos: list[Photo]
    dropped: list[Dropped] = field(default_factory=list)


def read_calibration_folder(folder: str | Path) -> CalibrationFolder:
    """Read all labels of a folder; the photos are only hashed.

    Args:
        folder: the client's `calibration_data`.

    Returns:
        The photos that have a label, and the files that were left out.

    Raises:
        DataError: there is no such folder, nothing in it, or a label that says nothing or two things.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise DataError(
            f"{folder}: there is no such folder below {Path.cwd()}; the client makes calibration_data where it was "
            "started: data.calibration_dir=PATH says where that is"
        )
    files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    pictures = [path for path in files if path.suffix.lower() in _PHOTOS]
    if not pictures:
        raise DataError(
            f"{folder}: holds no .jpg; the client writes img_*.jpg and img_*.json into calibration_data, in the folder "
            "where it was started: data.calibration_dir=PATH says where that is"
        )
    stems = {path.stem for path in pictures}
    photos: list[Photo] = []
    dropped = [
        Dropped(path.name, "a label without its photo")
        for path in files
        if path.suffix == ".json" and path.stem not in stems and re.match(r"img_\d", path.stem)
    ]
    taken: set[str] = set()
    for path in pictures:
        if path.stem in taken:
            dropped.append(Dropped(path.name, "another photo has the same name and label"))
            continue
        taken.add(path.stem)
        try:
            photos.append(_read_photo(path))
        except (OSError, TypeError, ValueError, RecursionError) as error:
            dropped.append(Dropped(path.name, str(error)))
    kept, copies = _without_copies(photos)
    kept.sort(key=lambda photo: (photo.time_ms or 0, photo.path.name))
    return CalibrationFolder(folder, kept, dropped + copies)


def _read_photo(path: Path) -> Photo:
    """Raise an error other than DataError where this photo alone is of no use."""
    label_path = path.with_suffix(".json")
    if not label_path.is_file():
        raise ValueError("a photo without its label (.json of the same name)")
    try:
        label = json.loads(label_path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{label_path.name}: is no JSON ({error})") from error
    if not isinstance(label, dict):
        raise TypeError(f"{label_path.name}: is no JSON object")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Photo(path, target_of(label, path=label_path), _time_of(label, path), digest)


def target_of(label: dict[str, Any], *, path: Path) -> tuple[float, float]:
    """Where the user looked.

    Args:
        label: the client's JSON.
        path: of the file, for errors.

    Returns:
        x, y in px of the client's window.

    Raises:
        DataError: it says nothing, or two things. There is no default: a default is a wrong label.
        TypeError, ValueError: what it says is no number.
    """
    pairs = {name: (f"{name}_x", f"{name}_y") for name in ("screen", "target")}
    given = {name: keys for name, keys in pairs.items() if any(key in label for key in keys)}
    if not given:
        raise DataError(
            f"{path}: has neither screen_x, screen_y nor target_x, target_y: where the user looked is not known; "
            "prepare a copy of the folder without this photo and its label"
        )
    points = {name: (_number(label, keys[0], path), _number(label, keys[1], path)) for name, keys in given.items()}
    if len(points) == 2 and math.dist(points["screen"], points["target"]) > 1e-3:
        raise DataError(
            f"{path}: screen_x, screen_y {points['screen']} and target_x, target_y {points['target']} differ; prepare "
            "a copy of the folder without the pair that is not the pointer's place"
        )
    return points.get("screen") or points["target"]


def _number(label: dict[str, Any], key: str, path: Path) -> float:
    value = label.get(key)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{path.name}: {key}: {json.dumps(value)[:40]} is no number")
    if not abs(value) <= _FARTHEST_PX:
        raise ValueError(f"{path.name}: {key}: {str(value)[:20]} px is no place on or near a screen")
    return float(value)


def _time_of(label: dict[str, Any], path: Path) -> int | None:
    """The label's own time, else the one in the name `img_{ms}`."""
    value = label.get("timestamp")
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**53:
        return value
    found = re.fullmatch(r"img_(\d{12,14})", path.stem)
    return int(found[1]) if found else None


def _without_copies(photos: Sequence[Photo]) -> tuple[list[Photo], list[Dropped]]:
    """Keep one of the photos with the same bytes or the same time; none where their labels differ.

    A copy on both sides of a split would be a test photo that was learnt.
    """
    kept: list[Photo] = []
    dropped: list[Dropped] = []
    for first, *copies in _groups(photos):
        apart = [one for one in copies if math.dist(one.target_px, first.target_px) > _SAME_POINT_PX]
        if apart:
            names = ", ".join(one.path.name for one in (first, *copies))
            reason = f"the same picture or time with different targets ({names}): which is right is not known"
            dropped += [Dropped(one.path.name, reason) for one in (first, *copies)]
        else:
            kept.append(first)
            dropped += [Dropped(one.path.name, f"the same picture or time as {first.path.name}") for one in copies]
    return kept, dropped


def _groups(photos: Iterable[Photo]) -> list[list[Photo]]:
    """Photos that share their bytes or their time with another of the group."""
    groups: list[list[Photo]] = []
    for photo in photos:
        marks = {photo.sha256, photo.time_ms} - {None}
        same = [group for group in groups if any(marks & {one.sha256, one.time_ms} for one in group)]
        groups = [group for group in groups if group not in same]
        groups.append([one for group in same for one in group] + [photo])
    return groups
