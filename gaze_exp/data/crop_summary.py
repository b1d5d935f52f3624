"""What there is to say about the splits of one data set: to a person, and to `run.json`."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gaze_exp.data.crop_dataset import CropDataset
from gaze_exp.errors import DataError

log = logging.getLogger(__name__)

_told: set[tuple[str, Path]] = set()
"""Each action of a run opens the data anew; the user hears of a file once."""


def describe(crops: CropDataset) -> dict[str, Any]:
    """Counts of one split."""
    return {
        "files": len(crops.files),
        "persons": crops.subjects,
        "rows": len(crops),
        "kept": int(crops.valid.sum()),
        "dropped": crops.dropped,
        "bad_files": [str(path) for path in crops.bad_files],
        "slow_files": len(crops.slow_files),
        "face_size_px": list(crops.face_size),
        "eye_size_px": list(crops.eye_size),
    }


def refuse_other_sizes(splits: Mapping[str, CropDataset]) -> None:
    """Refuse splits whose crops differ in size.

    Args:
        splits: name -> rows.

    Raises:
        DataError: names a file of each.
    """
    (first_name, first), *others = splits.items()
    for name, crops in others:
        if crops.image_shapes != first.image_shapes:
            raise DataError(
                f"{crops.files[0].path}: crops of {name} are {crops.image_shapes}, those of {first_name} "
                f"{first.image_shapes} in {first.files[0].path}; make both with the same settings"
            )


def warn_if_slow(splits: Sequence[CropDataset]) -> None:
    """Say once for all splits how many files are slow, how slow, and how to rewrite them."""
    slow = [(crops, file) for crops in splits for file in crops.slow_files]
    if not slow or not _first_time("slow", slow[0][1].path):
        return
    crops, example = slow[0]
    log.warning(
        "%d of %d crop files are stored in a way that is slow to read (e.g. %s: %s): %.1f ms a row, where less "
        "than 0.1 is possible. Rewrite them once: "
        "python -m gaze_exp actions=[repack] data.root=OLD repack.to=NEW",
        len(slow),
        sum(len(crops.files) for crops in splits),
        example.path,
        next(image.layout for image in example.images.values() if image.offsets is None),
        1000 * crops.seconds_per_slow_row(),
    )


def warn_if_colour_unknown(splits: Sequence[CropDataset]) -> None:
    """Say once for all splits that their colour order is a guess."""
    unknown = [path for crops in splits for path in crops.unknown_colour]
    if unknown and _first_time("colour", unknown[0]):
        log.warning(
            "%d crop files do not say whether they are RGB or BGR (attribute color_order), e.g. %s; they are "
            "taken as RGB. If faces look blue in the report: data.colour_order=bgr; else data.colour_order=rgb",
            len(unknown),
            unknown[0],
        )


def _first_time(what: str, path: Path) -> bool:
    known = (what, path) in _told
    _told.add((what, path))
    return not known
