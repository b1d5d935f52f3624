"""What a model answered on a data set, beside what was true: collected once, then read by everything."""

import csv
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from gaze_exp.atomic_write import atomic_write
from gaze_exp.batch import GazeBatch, GazeOutput, model_inputs
from gaze_exp.errors import DataError
from gaze_exp.geometry import angular_error

ANGLE_COLUMNS = (
    "predicted_pitch_deg",
    "predicted_yaw_deg",
    "target_pitch_deg",
    "target_yaw_deg",
    "head_pitch_deg",
    "head_yaw_deg",
)
COLUMNS = ("row", "subject", *ANGLE_COLUMNS, "error_deg", "valid")


@dataclass(frozen=True)
class Predictions:
    """One line a sample, in the order in which the loader gave them, on the CPU (N samples)."""

    predicted: Tensor
    """(N, 2) float32 pitch, yaw in radians."""
    target: Tensor
    """(N, 2) float32 pitch, yaw in radians; means nothing where not valid."""
    valid: Tensor
    """(N,) bool."""
    subject: Tensor
    """(N,) int64 index into `subjects`."""
    row: Tensor
    """(N,) int64 row in the data set."""
    subjects: list[str]
    """Names of the persons."""
    head: Tensor | None = None
    """(N, 2) float32 head pitch, yaw in radians, NaN where unknown; None when known nowhere."""

    def error_deg(self) -> Tensor:
        """Angle between predicted and true gaze in degrees, (N,) float64, NaN where not valid."""
        error = torch.rad2deg(angular_error(self.predicted.double(), self.target.double()))
        return torch.where(self.valid, error, torch.nan)


def collect(
    model: nn.Module,
    loader: Iterable[GazeBatch],
    *,
    device: torch.device | str,
    subjects: Sequence[str],
    progress: Callable[[Iterable[GazeBatch]], Iterable[GazeBatch]] | None = None,
    watch: Callable[[GazeBatch, GazeOutput], None] | None = None,
) -> Predictions:
    """Run a model over a data set in evaluation mode.

    Args:
        model: returns a `GazeOutput`; it is moved to `device`, and its training modes are put back after.
        loader: gives the batches.
        device: where the model runs.
        subjects: names of the persons that `subject` counts.
        progress: wraps the loader to show progress, `rich.progress.track` for one.
        watch: is shown every batch and what the model answered, before both are gone.

    Returns:
        One line a sample.

    Raises:
        DataError: the loader is empty.
    """
    collected: list[dict[str, Tensor]] = []
    model.to(device)
    with _evaluation_mode(model), torch.inference_mode():
        for batch in progress(loader) if progress else loader:
            inputs = {key: value.to(device) for key, value in model_inputs(model, batch).items()}
            output = cast("GazeOutput", model(**inputs))
            collected.append(_kept(batch, predicted=output["gaze"]))
            if watch:
                watch(batch, output)
    if not collected:
        raise DataError("the data to evaluate hold no sample; check data.root and the names of its folders")
    columns = {key: torch.cat([part[key] for part in collected]) for key in collected[0]}
    head = columns.pop("head")
    return Predictions(**columns, subjects=list(subjects), head=head if bool(torch.isfinite(head).any()) else None)


def _kept(batch: GazeBatch, *, predicted: Tensor) -> dict[str, Tensor]:
    """Copies of what outlives a batch; the loader uses the batch's own memory again."""
    head = batch.get("head", torch.full_like(batch["gaze"], torch.nan))
    kept = {"predicted": predicted.float(), "target": batch["gaze"].float(), "head": head.float()}
    kept |= {"valid": batch["valid"].bool(), "subject": batch["subject"], "row": batch["row"]}
    columns = {key: value.cpu().clone() for key, value in kept.items()}
    if columns["row"].ndim == 1:
        return columns
    is_row = columns["row"].flatten() >= 0  # windows: their frames, without what fills them up
    return {key: value.flatten(0, 1)[is_row] for key, value in columns.items()}


@contextmanager
def _evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Evaluation mode for a while, then every part's own mode again: a frozen part stays frozen."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def to_csv(predictions: Predictions, path: Path | str) -> None:
    """Write one line a sample, whole or not at all.

    Angles are in degrees; a cell is empty where nothing is known (no label, no head pose).

    Args:
        predictions: what to write.
        path: the file, replaced when it is there.
    """
    p = predictions
    label = torch.where(p.valid[:, None], p.target, torch.nan)
    head = torch.full_like(p.predicted, torch.nan) if p.head is None else p.head
    angles_deg = torch.rad2deg(torch.cat((p.predicted, label, head), dim=1).double())
    names = np.array(p.subjects, dtype=object)[p.subject.numpy()]
    columns: list[list[object]] = [p.row.tolist(), names.tolist()]
    columns += [_cells(column) for column in (*angles_deg.T, p.error_deg())]
    columns.append(p.valid.int().tolist())
    with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(zip(*columns, strict=True))


def _cells(values_deg: Tensor) -> list[object]:
    """Numbers with six decimals (2e-8 rad), None where not finite."""
    rounded = values_deg.numpy().round(6)
    cells = rounded.astype(object)
    cells[~np.isfinite(rounded)] = None
    return cells.tolist()


def from_csv(path: Path | str) -> Predictions:
    """Read what `to_csv` wrote; persons are numbered in the order of their names.

    Args:
        path: the file.

    Returns:
        The predictions; angles differ from the written ones by at most 2e-8 rad and float32 rounding.

    Raises:
        DataError: the file lacks a column or holds no sample.
    """
    with Path(path).open(newline="", encoding="utf-8") as file:
        reader = csv.reader(file)
        header = next(reader, [])
        missing = [name for name in COLUMNS if name not in header]
        rows = list(reader)
    if missing or not rows:
        wrong = f"no column {', '.join(missing)}" if missing else "no sample"
        raise DataError(f"{path}: {wrong}; write it again with actions=[evaluate] or actions=[predict]")
    columns = dict(zip(header, zip(*rows, strict=True), strict=True))
    subjects, subject = np.unique(np.array(columns["subject"]), return_inverse=True)
    pairs = [np.array([columns[name] for name in ANGLE_COLUMNS[i : i + 2]]) for i in (0, 2, 4)]
    predicted, target, head = (
        torch.deg2rad(torch.from_numpy(np.where(pair == "", "nan", pair).astype(np.float64).T)).float()
        for pair in pairs
    )
    return Predictions(
        predicted=predicted,
        target=target,
        valid=torch.tensor([value == "1" for value in columns["valid"]]),
        subject=torch.from_numpy(subject.astype(np.int64)),
        row=torch.tensor([int(value) for value in columns["row"]]),
        subjects=subjects.tolist(),
        head=head if bool(torch.isfinite(head).any()) else None,
    )
