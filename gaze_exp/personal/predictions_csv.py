"""Held-out predictions of every method, one line a photo, for a spreadsheet."""

import csv
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from gaze_exp.atomic_write import atomic_write
from gaze_exp.data.calibration_set import CalibrationSet


def write_predictions(path: Path, *, data: CalibrationSet, held_out: Mapping[str, Tensor]) -> None:
    """Write the CSV, whole or not at all.

    Args:
        path: of the file.
        data: the photos.
        held_out: (N, 2) client degrees by method.
    """
    with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        axes = [f"{method} {axis} px" for method in held_out for axis in ("x", "y")]
        writer.writerow(["filename", "session", "target", "target_x_px", "target_y_px", *axes])
        points = [data.geometry.to_pixels(predicted.double()) for predicted in held_out.values()]
        for index, name in enumerate(data.filenames):
            numbers = [*data.target_px[index].tolist(), *(x for p in points for x in p[index].tolist())]
            row = [name, int(data.session[index]), int(data.target[index]), *(f"{x:.2f}" for x in numbers)]
            writer.writerow(row)
