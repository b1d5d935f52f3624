"""Which crop files belong to training, validation and test, and that no person is in two of them.

Layout: `<root>/{train,val,test}*/participant_*/frames_<camera>.h5`, where what follows the split's name is
not a letter: `train01` and `val` are splits, `training` and `valid01` are not.
"""

import logging
import re
from collections.abc import Mapping
from pathlib import Path

from gaze_exp.errors import ConfigError, DataError

log = logging.getLogger(__name__)

SPLITS = ("train", "val", "test")
PERSON_IDS = ("participant", "folder")
_SPLIT_FOLDER = re.compile(r"^(train|val|test)(?![A-Za-z])")


def find_crop_files(root: str | Path, *, camera: str = "basler") -> dict[str, list[Path]]:
    """Find the crop files of each split.

    Args:
        root: the data folder.
        camera: the camera in the file name; `all` for every one.

    Returns:
        `train`, `val`, `test` -> sorted files; a split may be empty.

    Raises:
        DataError: no folder, or no crop file in it.
    """
    root = Path(root).expanduser()
    found: dict[str, list[Path]] = {split: [] for split in SPLITS}
    ignored = []
    folders = sorted(folder for folder in root.iterdir() if folder.is_dir()) if root.is_dir() else []
    for folder in folders:
        files = sorted(folder.glob(f"participant_*/frames_{'*' if camera == 'all' else camera}.h5"))
        match = _SPLIT_FOLDER.match(folder.name)
        if match:
            found[match[1]] += files
        elif files:
            ignored.append(folder.name)
    if ignored:
        told = ", ".join(ignored)
        log.warning("%s: ignored, not named train*, val* or test* (e.g. train01): %s", root, told)
    if not any(found.values()):
        raise DataError(nothing_found(root, camera))
    return found


def nothing_found(root: Path, camera: str) -> str:
    """What is said of a folder without crop files, or of one that is not there."""
    wanted = f"{{train,val,test}}*/participant_*/frames_{camera}.h5"
    what = "holds no crop files" if root.is_dir() else "is not there" if not root.exists() else "is no folder"
    cameras = {path.stem.removeprefix("frames_") for path in root.glob("*/participant_*/frames_*.h5")}
    others = f"; it has other cameras, e.g. data.camera={min(cameras)}" if cameras - {camera} else ""
    return (
        f"data.root: {root} {what} (looked for {wanted}){others}. Two ways on: render a data set with "
        f"`data=synthetic`, or convert the official release (docs/eve.md) and set data.root to the result"
    )


def require_splits(found: Mapping[str, list[Path]], *, root: str | Path, needed: tuple[str, ...]) -> None:
    """Refuse a data set that lacks a split.

    Args:
        found: split -> its files.
        root: the data folder, for the message.
        needed: the splits that must have a person.

    Raises:
        DataError: no person in one of them.
    """
    for split in needed:
        if not found[split]:
            there = ", ".join(f"{len(files)} {name}" for name, files in found.items() if files)
            raise DataError(
                f"data.root: {root} has no {split} person (found {there}); move some persons' folders to "
                f"{split}01/, or render a whole data set with `data=synthetic`"
            )


def person_of(path: Path, *, participant: str | None, person_id: str) -> str:
    """The name that tells persons apart.

    Args:
        path: a crop file.
        participant: what the file itself says.
        person_id: `participant` believes the file, then its folder; `folder` takes `train01/participant_001`,
            for data whose numbering starts anew in each split folder.

    Returns:
        The person's name.
    """
    if person_id not in PERSON_IDS:
        raise ConfigError(f"data.person_id: {person_id!r} is not known; one of {PERSON_IDS}")
    if person_id == "folder":
        return "/".join(path.parts[-3:-1])
    return participant or path.parent.name


def refuse_leaks(persons: Mapping[str, Mapping[str, Path]]) -> None:
    """Refuse a person who is in two splits: the error would be measured on somebody seen in training.

    Args:
        persons: split -> person -> one file of theirs.

    Raises:
        DataError: names the person and both files.
    """
    seen: dict[str, tuple[str, Path]] = {}
    for split, members in persons.items():
        for person, path in members.items():
            if person in seen:
                other_split, other = seen[person]
                raise DataError(
                    f"{person} is in {other_split} and in {split}: {other} and {path}; move one "
                    f"to the other's split, or, if numbers start anew in each split, data.person_id=folder"
                )
            seen[person] = (split, path)
