"""A prepared calibration and a base model -> the model of one user, and what it is worth.

Shapes: N photos.
"""

import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gaze_exp.data.calibration_set import CalibrationSet
from gaze_exp.models.l2cs import L2CS
from gaze_exp.personal import comparison
from gaze_exp.personal.correction import correction
from gaze_exp.personal.feature_bank import Device, repeatable
from gaze_exp.personal.model import PersonalModel
from gaze_exp.personal.preparation import Split, Wishes, fill_bank, prepare, refuse_too_few, split
from gaze_exp.personal.protocol import (
    FoldCache,
    FoldResult,
    Job,
    base_with_affine,
    budget,
    final_model,
    fingerprint,
    gathered,
    run_folds,
    state_hash,
)

log = logging.getLogger(__name__)

NO_ESTIMATE = (
    "trained on all photos: there is no held-out estimate of this very model; the table measures the same procedure "
    "on targets left out"
)


@dataclass(frozen=True)
class Outcome:
    """A user's model, and what is known about it."""

    model: PersonalModel
    """Trained on all photos, on the CPU."""
    base_affine: PersonalModel
    """The base with the ridge affine map of all photos, on the CPU: the alternative."""
    metrics: dict[str, Any]
    held_out: dict[str, Tensor]
    """(N, 2) client degrees by method, each from a model that has not seen the photo's target."""
    curves: list[list[dict[str, float]]]
    """Of early stopping inside the folds."""


def personalise(data: CalibrationSet, base: L2CS, *, wishes: Wishes, device: Device, folder: Path) -> Outcome:
    """Split, cross-validate every method, and train on all photos.

    Args:
        data: the user's photos.
        base: its weights are left as they are.
        wishes: what to train and how.
        device: where.
        folder: of the run; holds the split and the finished folds.

    Returns:
        The model and its table.

    Raises:
        ConfigError: mirrored or not cannot be told.
        DataError: the photos are too few for what is asked, or the same on both sides.
    """
    allowed = refuse_too_few(data, wishes)
    photos = data.images()
    sides = split(data, photos, seed=wishes.recipe.seed, path=folder / "split.json")
    with repeatable():
        job, how_mirrored = prepare(data, base, photos, wishes=wishes, device=device)
        log.info("finetune: %s", how_mirrored)
        if job.adapter.trains:
            fill_bank(job.views, wishes=wishes, folder=folder)
        results = _results(job, sides, wishes=wishes, folder=folder)
        by_target, by_session = results[: len(sides.folds)], results[len(sides.folds) :]
        held_out = gathered(by_target, sides.folds, num_photos=len(data))
        metrics = measured(held_out, data=data, seed=wishes.recipe.seed, trains=job.adapter.trains)
        if by_session:
            of_sessions = gathered(by_session, sides.sessions, num_photos=len(data))
            metrics["by_session"] = _table(of_sessions, data=data, seed=wishes.recipe.seed)
        behind = _behind(held_out, metrics, data=data)
        epochs = budget(by_target) if job.adapter.trains else 0
        model, curve = final_model(job, epochs=epochs, behind=behind)
    metrics |= {
        "allowed": {**asdict(allowed), "text": str(allowed)},
        "mirrored": {"mirrored": job.mirrored, "how": how_mirrored},
        "final": {"epochs": epochs, "affine_behind": behind.tolist(), "curve": curve, "note": NO_ESTIMATE},
        "split_sha256": sides.sha256,
        "fold_epochs": [result["epochs"] for result in by_target if "epochs" in result],
    }
    return Outcome(
        model=model.cpu().eval(),
        base_affine=base_with_affine(job).cpu().eval(),
        metrics=metrics,
        held_out=held_out,
        curves=[result["curve"] for result in by_target if "curve" in result],
    )


def _results(job: Job, sides: Split, *, wishes: Wishes, folder: Path) -> list[FoldResult]:
    depends_on = {
        "wishes": wishes.as_dict(),
        "split": sides.sha256,
        "target": job.target.tolist(),
        "labels": job.labels_deg.tolist(),
        "base": state_hash(job.base),
        "mirrored": job.mirrored,
        "bank": None if job.views.bank is None else list(job.views.bank.shape),
        "device": [job.views.device.name, job.views.device.autocast],
    }
    cache = FoldCache(folder / "folds", fingerprint=fingerprint(depends_on))
    return run_folds(job, [*sides.folds, *sides.sessions], cache)


def measured(held_out: dict[str, Tensor], *, data: CalibrationSet, seed: int, trains: bool) -> dict[str, Any]:
    """The table, the gains that matter and the verdict.

    Args:
        held_out: (N, 2) client degrees by method.
        data: the truth.
        seed: of the bootstrap.
        trains: something was fine-tuned.

    Returns:
        Plain data: `table`, `gains`, `verdict` (`better` than the baseline to beat, and its sentence), counts.
    """
    best = comparison.FINE_TUNED if trains else comparison.BASE_AFFINE
    rivals = [comparison.BASE_AFFINE, comparison.BASE_OFFSET, comparison.BASE, comparison.CONSTANT]
    pairs = [(best, rival) for rival in rivals if rival != best]
    pairs += [(comparison.FINE_TUNED_AFFINE, comparison.FINE_TUNED)] if trains else []
    gains = [
        comparison.gain(held_out, of=of, over=over, labels_deg=data.angles_deg, group=data.target, seed=seed)
        for of, over in pairs
    ]
    rows = _table(held_out, data=data, seed=seed)
    decisive = gains[0] if trains else next(gain for gain in gains if gain["over"] == comparison.BASE)
    return {
        "unit": "client degrees: error = px * deg_per_pixel",
        "num_photos": len(data),
        "num_targets": len(data.target.unique()),
        "num_sessions": len(data.session.unique()),
        "table": rows,
        "gains": gains,
        "verdict": {
            **decisive,
            "error_deg": next(row["mean_deg"] for row in rows if row["method"] == best),
            "text": comparison.sentence(decisive),
            "caution": comparison.caution(data.target),
        },
        "bootstrap": {"resampled": "targets", "num_draws": comparison.NUM_DRAWS, "seed": seed},
    }


def _table(held_out: dict[str, Tensor], *, data: CalibrationSet, seed: int) -> list[dict[str, Any]]:
    return comparison.table(
        held_out,
        labels_deg=data.angles_deg,
        group=data.target,
        deg_per_pixel=data.geometry.deg_per_pixel,
        seed=seed,
    )


def _behind(held_out: dict[str, Tensor], metrics: dict[str, Any], *, data: CalibrationSet) -> Tensor:
    """The map behind the fine-tuned model: nothing, unless the table has proven that it helps."""
    proven = metrics["gains"][-1]
    if proven["of"] != comparison.FINE_TUNED_AFFINE or not proven["better"]:
        return torch.eye(2, 3, dtype=torch.float64)
    return correction(held_out[comparison.FINE_TUNED], data.angles_deg, target=data.target)
