"""Random rows of the crop files beside a fresh decode of their frames: not one byte may differ."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import h5py
import numpy as np

from gaze_exp.data.crops import IMAGES
from gaze_exp.data.sources.eve_labels import read_labels
from gaze_exp.data.sources.eve_parts import PersonFile
from gaze_exp.data.sources.eve_step import Settings, decode_rows, image_buffer, open_videos
from gaze_exp.errors import DataError


def verify(files: Sequence[PersonFile], *, settings: Settings, num_rows: int = 100, seed: int = 0) -> dict[str, Any]:
    """Compare random rows of all files with their sources.

    Args:
        files: whole ones.
        settings: of their conversion.
        num_rows: how many, drawn without replacement.
        seed: of the draw.

    Returns:
        `rows` that were compared and `seed`.

    Raises:
        DataError: a row differs, is no angle, or its label is not finite.
    """
    written = [file for file in files if file.path.is_file()]
    lengths = [_length(file) for file in written]
    total = sum(lengths)
    chosen = np.sort(np.random.default_rng(seed).choice(total, min(num_rows, total), replace=False))
    starts = np.cumsum([0, *lengths])
    for file, start, length in zip(written, starts, lengths, strict=False):
        rows = chosen[(chosen >= start) & (chosen < start + length)] - start
        if len(rows):
            _compare(file, rows, settings)
    return {"rows": len(chosen), "seed": seed}


def _length(file: PersonFile) -> int:
    with h5py.File(file.path) as crops:
        return len(crops["face"])


def _compare(file: PersonFile, rows: np.ndarray, settings: Settings) -> None:
    """Compare rows of one file, step by step."""
    with h5py.File(file.path) as crops:
        by_step: Mapping[int, list[int]] = defaultdict(list)
        for row in rows.tolist():
            by_step[int(crops["step_id"][row])].append(row)
        for step, members in by_step.items():
            recording = file.recordings[step]
            frames = crops["frame_index"][members]
            labels = read_labels(recording.path(".h5"), has_gaze=file.has_gaze)
            images = image_buffer(settings, num_rows=1)
            fresh = decode_rows(open_videos(recording), frames, settings=settings, out=images)
            for row, frame, decodes in zip(members, frames.tolist(), fresh, strict=True):
                where = f"{file.path}: row {row} ({recording.name}, frame {frame})"
                if not decodes or any((crops[name][row] != images[name][0]).any() for name in IMAGES):
                    raise DataError(f"{where} is not what its videos show; convert again into another data.root")
                if file.has_gaze:
                    _check_label(crops["gaze"][row], labels.arrays["gaze"][frame], where)


def _check_label(gaze: np.ndarray, expected: np.ndarray, where: str) -> None:
    if not np.array_equal(gaze, expected) or not (np.abs(gaze) <= (np.pi / 2, np.pi)).all():
        raise DataError(f"{where} has the label {gaze.tolist()}, its source {expected.tolist()}; convert again")
