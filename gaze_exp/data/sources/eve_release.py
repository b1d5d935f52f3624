"""The official EVE release on disk: which persons, steps and cameras are there.

    <source>/train01..39, val01..05, test01..10/stepNNN_<image|video|wikipedia>_<name>/<camera>{.h5, .timestamps.txt,
        _face.mp4, _eyes.mp4, .mp4}

Any part of it will do. Folders are listed, never numbered through: real step numbers have holes.

Source: DATASET.md and `datasources/common` of the authors' repository.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gaze_exp.errors import ConfigError, DataError

CAMERAS = ("basler", "webcam_l", "webcam_c", "webcam_r")
KINDS = ("image", "video", "wikipedia")
NEEDED = (".h5", ".timestamps.txt", "_face.mp4", "_eyes.mp4")
"""What a camera must have in a step; the full frame (`.mp4`) is only looked at to check the eyes."""
NUM_PERSONS = {"train": 39, "val": 5, "test": 10}
_STEP = re.compile(r"^step(\d+)_([^_]+)")


@dataclass(frozen=True)
class Recording:
    """What one camera recorded in one step."""

    folder: Path
    """`.../train01/step008_image_MIT-i2263021117`."""
    camera: str

    @property
    def person(self) -> str:
        """`train01`."""
        return self.folder.parent.name

    @property
    def step(self) -> str:
        """`step008_image_MIT-i2263021117`."""
        return self.folder.name

    @property
    def kind(self) -> str:
        """`image`, `video` or `wikipedia`."""
        return self.step.split("_")[1]

    @property
    def name(self) -> str:
        """`train01/step008_image_MIT-i2263021117/basler`, for people."""
        return f"{self.person}/{self.step}/{self.camera}"

    def path(self, suffix: str) -> Path:
        """One of its files: `.h5`, `_eyes.mp4` and so on."""
        return self.folder / f"{self.camera}{suffix}"

    def missing(self) -> list[str]:
        """Names of the files that should be there and are not."""
        return [path.name for path in map(self.path, NEEDED) if not path.is_file()]

    def sizes(self) -> dict[str, int]:
        """File name -> bytes: what tells that a source was changed since."""
        return {path.name: path.stat().st_size for path in map(self.path, NEEDED) if path.is_file()}


@dataclass(frozen=True)
class Release:
    """What there is to convert."""

    recordings: list[Recording]
    """Sorted by person, camera and step number."""
    ignored: list[str]
    """Folders that are no official person or no step, with the reason."""


def split_of(person: str) -> str | None:
    """`train`, `val` or `test`; None for a name that is not in the release.

    >>> split_of("train39"), split_of("train40"), split_of("etc01")
    ('train', None, None)
    """
    match = re.fullmatch(r"(train|val|test)(\d\d)", person)
    return match[1] if match and 1 <= int(match[2]) <= NUM_PERSONS[match[1]] else None


def participant_of(person: str) -> str:
    """The person's folder in a crop data set; numbers go on from split to split.

    >>> participant_of("train01"), participant_of("val01"), participant_of("test10")
    ('participant_001', 'participant_040', 'participant_054')
    """
    split, number = person[:-2], int(person[-2:])
    before = {"train": 0, "val": 39, "test": 44}[split]
    return f"participant_{before + number:03d}"


def step_kind(folder: Path) -> str | None:
    """The stimulus type that a step's name tells.

    Args:
        folder: of a step.

    Returns:
        `image`, `video` or `wikipedia`; None for what is no step to learn from (an eye tracker's calibration).

    Raises:
        DataError: a type that is not known.
    """
    match = _STEP.match(folder.name)
    if match is None or match[2] == "eye":
        return None
    if match[2] not in KINDS:
        raise DataError(
            f"{folder}: {match[2]!r} is no type of stimulus; {', '.join(KINDS)} are: move the folder away or rename it"
        )
    return match[2]


def cameras_of(camera: str) -> tuple[str, ...]:
    """The cameras that a setting names: one of them, or `all`."""
    if camera != "all" and camera not in CAMERAS:
        raise ConfigError(f"data.camera: {camera!r} is no camera of EVE; all, {', '.join(CAMERAS)} are")
    return CAMERAS if camera == "all" else (camera,)


def find_recordings(source: Path, *, camera: str, persons: Sequence[str] = ()) -> Release:
    """List what is there.

    Args:
        source: the folder above `train01`.
        camera: one camera or `all`.
        persons: only these, by their folders' names; none for all.

    Returns:
        Every recording of which at least one file is there.

    Raises:
        DataError: no such folder, nothing in it, or a step of an unknown type.
    """
    cameras = cameras_of(camera)
    if not source.is_dir():
        raise DataError(f"data.source: {source} is no folder; the one above train01 of the EVE release is right")
    recordings: list[Recording] = []
    ignored: list[str] = []
    for folder in sorted(path for path in source.iterdir() if path.is_dir() and not path.name.startswith(".")):
        if split_of(folder.name) is None:
            ignored.append(f"{folder.name}: no person of the release")
        elif not persons or folder.name in persons:
            steps, others = _steps(folder)
            ignored += others
            recordings += [Recording(step, name) for name in cameras for step in steps if _is_there(step, name)]
    if not recordings:
        raise DataError(_nothing_there(source, cameras, persons))
    return Release(recordings, ignored)


def _steps(person: Path) -> tuple[list[Path], list[str]]:
    """Step folders in the order of their numbers, and what else lies there."""
    steps, ignored = [], []
    for folder in sorted(path for path in person.iterdir() if path.is_dir() and not path.name.startswith(".")):
        if step_kind(folder):
            steps.append(folder)
        else:
            ignored.append(f"{person.name}/{folder.name}: no step of a stimulus")
    return sorted(steps, key=lambda folder: (_number(folder), folder.name)), ignored


def _number(step: Path) -> int:
    match = _STEP.match(step.name)
    assert match
    return int(match[1])


def _is_there(step: Path, camera: str) -> bool:
    return any((step / f"{camera}{suffix}").is_file() for suffix in NEEDED)


def _nothing_there(source: Path, cameras: tuple[str, ...], persons: Sequence[str]) -> str:
    whom = f" of {', '.join(persons)}" if persons else ""
    return (
        f"data.source: {source} holds no recording of {', '.join(cameras)}{whom} (looked for "
        f"train01/step*_image_*/{cameras[0]}.h5 and the like); the folder above train01 is right"
    )
