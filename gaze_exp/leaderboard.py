"""Finished runs of several models -> one page that ranks them by their error on persons nobody trained on.

A model's interval is Student's over its seeds: it says how much of a difference is luck of the start. The difference
to our baseline is taken person by person on the same seeds, and its interval draws persons.
"""

import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gaze_exp.errors import DataError

PARTS = ("run.json", "metrics.json", "model.json", "model.onnx")
"""What a finished run has left."""

# Two-sided 95 % points of Student's distribution for 1, 2, ... degrees of freedom.
_STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
_NUM_DRAWS = 2000


@dataclass(frozen=True)
class Speed:
    """What one model costs, measured in turn with the others."""

    training_samples_per_s: float
    latency_ms: float
    """Of one frame, ONNX on one thread of the CPU."""


@dataclass(frozen=True)
class Row:
    """One model of the board."""

    name: str
    typed: tuple[str, ...]
    """What its runs were told beside what all were told."""
    num_parameters: int
    onnx_mb: float
    errors_deg: tuple[float, ...]
    """Mean error on the test persons, one a seed."""
    per_person_deg: dict[str, float]
    """Mean over the seeds."""
    num_samples: int
    """Seen in training, by one seed."""

    @property
    def mean_deg(self) -> float:
        """Over the seeds."""
        return statistics.fmean(self.errors_deg)

    @property
    def half_width_deg(self) -> float | None:
        """Of the 95 % interval over seeds; None for one seed."""
        num = len(self.errors_deg)
        if num < 2:
            return None
        point = _STUDENT[min(num - 1, len(_STUDENT)) - 1]
        return point * statistics.stdev(self.errors_deg) / math.sqrt(num)


def is_finished(folder: Path) -> bool:
    """Whether a run has left everything that the board needs."""
    return all((folder / name).is_file() for name in PARTS)


def read_row(name: str, folders: Sequence[Path], *, typed: Sequence[str]) -> Row:
    """Read the runs of one model.

    Args:
        name: on the board.
        folders: of its finished runs, one a seed.
        typed: what they were told.

    Raises:
        DataError: runs that were measured on different persons.
    """
    metrics = [_json_of(folder / "metrics.json") for folder in folders]
    run = _json_of(folders[0] / "run.json")
    persons = [{who: each["mean"] for who, each in one["per_subject"].items()} for one in metrics]
    if any(one.keys() != persons[0].keys() for one in persons):
        raise DataError(f"{folders[0]}: its seeds were measured on different persons; remove its folders and run again")
    per_person = {who: statistics.fmean(one[who] for one in persons) for who in persons[0]}
    steps = run["config"]["trainer"]["max_epochs"] * run["data"]["splits"]["train"]["kept"]
    return Row(
        name=name,
        typed=tuple(typed),
        num_parameters=run["num_parameters"],
        onnx_mb=(folders[0] / "model.onnx").stat().st_size / 1e6,
        errors_deg=tuple(float(one["mean"]) for one in metrics),
        per_person_deg=per_person,
        num_samples=steps,
    )


def _json_of(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def difference(row: Row, ours: Row) -> tuple[float, float, float]:
    """How much worse a model is than ours, person by person.

    Args:
        row: a model.
        ours: ours, on the same persons.

    Returns:
        Mean and the ends of its 95 % interval over persons, degrees; positive where ours is better.

    Raises:
        DataError: they were measured on different persons.
    """
    if row.per_person_deg.keys() != ours.per_person_deg.keys():
        raise DataError(
            f"leaderboard: {row.name} and {ours.name} were measured on different persons; the same data are right"
        )
    worse = np.array([row.per_person_deg[who] - ours.per_person_deg[who] for who in ours.per_person_deg])
    drawn = np.random.default_rng(0).integers(0, len(worse), (_NUM_DRAWS, len(worse)))
    low, high = np.quantile(worse[drawn].mean(axis=1), [0.025, 0.975])
    return float(worse.mean()), float(low), float(high)


def page(
    rows: Sequence[Row], *, speeds: dict[str, Speed], ours: Sequence[str], told: Sequence[str], failed: dict[str, str]
) -> str:
    """The board as Markdown, best first.

    Args:
        rows: the models.
        speeds: of each.
        ours: names of our models, the baseline first.
        told: lines about command, data, budget and machine.
        failed: name -> why a model is not on the board.
    """
    ranked = sorted(rows, key=lambda row: row.mean_deg)
    text = ["# Leaderboard", "", *told, "", verdict(ranked, ours=ours), "", *_table(ranked, ours, speeds), ""]
    text += [f"**{name}** is missing: {why}" for name, why in failed.items()]
    text += ["", "What each was told beside what all were told:", ""]
    text += [f"- {row.name}: `{' '.join(row.typed)}`" for row in sorted(rows, key=lambda row: row.name)]
    return "\n".join(text).rstrip() + "\n"


def verdict(ranked: Sequence[Row], *, ours: Sequence[str]) -> str:
    """Which of ours lead the others, in a sentence for each.

    Args:
        ranked: best first.
        ours: names of our models, those that were run and others.
    """
    own = [row for row in ranked if row.name in ours]
    rivals = [row for row in ranked if row.name not in ours]
    if not own:
        return "Ours was not run."
    if not rivals:
        return f"Nobody stands beside {own[0].name}."
    return "\n".join(_against(row, rivals[0]) for row in own)


def _against(row: Row, rival: Row) -> str:
    mean, low, high = difference(rival, row)
    against = (
        f"Against {rival.name}, the best of the others: {mean:+.2f} degrees ({low:+.2f} to {high:+.2f} over persons)."
    )
    if rival.mean_deg < row.mean_deg:
        return f"**{row.name} does not lead.** {against}"
    return f"{row.name} leads, {'beyond doubt' if low > 0 else 'within the doubt about persons'}. {against}"


_COLUMNS = (
    "", "model", "error, deg", "95 % over seeds", "against our baseline, deg", "parameters", "training samples/s",
    "ONNX, MB", "latency, ms",
)  # fmt: skip


def _table(ranked: Sequence[Row], ours: Sequence[str], speeds: dict[str, Speed]) -> list[str]:
    baseline = next((row for row in ranked if row.name == ours[0]), None)
    lines = [_line(_COLUMNS), "|" + "---|" * len(_COLUMNS)]
    for place, row in enumerate(ranked, start=1):
        half, speed = row.half_width_deg, speeds[row.name]
        against = (
            ""
            if baseline is None or row is baseline
            else "{:+.2f} ({:+.2f} to {:+.2f})".format(*difference(row, baseline))
        )
        cells = (
            str(place),
            f"**{row.name} (ours)**" if row.name in ours else row.name,
            f"{row.mean_deg:.2f}",
            "one seed" if half is None else f"{row.mean_deg - half:.2f} to {row.mean_deg + half:.2f}",
            against,
            f"{row.num_parameters:,}",
            f"{speed.training_samples_per_s:.0f}",
            f"{row.onnx_mb:.1f}",
            f"{speed.latency_ms:.2f}",
        )
        lines.append(_line(cells))
    return lines


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
