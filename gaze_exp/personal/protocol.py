"""Cross-validation of everything that a few photos can do, fold by fold, and the model of all photos.

Inside a fold, the number of epochs is chosen on targets held out of its training side; then the fold's model is
trained anew on the whole training side for so many epochs, and sees the test side once, at the end.

Shapes: N photos, F features.
"""

import copy
import hashlib
import json
import logging
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gaze_exp.atomic_write import atomic_write
from gaze_exp.models.l2cs import L2CS
from gaze_exp.personal import comparison
from gaze_exp.personal.adapters import Adapter
from gaze_exp.personal.baselines import apply, constant, offset, ridge_affine
from gaze_exp.personal.correction import correction
from gaze_exp.personal.epoch_lines import EpochLines
from gaze_exp.personal.feature_bank import FrozenViews
from gaze_exp.personal.fit import Fitted, Recipe, fit, predict
from gaze_exp.personal.grouped_folds import Fold, inner_fold
from gaze_exp.personal.model import PersonalModel
from gaze_exp.personal.start import start_model

log = logging.getLogger(__name__)

FoldResult = dict[str, Any]
"""`predicted`: (M, 2) by method for the fold's test photos; `epochs`, `curve`: of the fine-tuning, if any."""


@dataclass(frozen=True)
class Job:
    """What all folds share."""

    base: L2CS
    """On the device, frozen."""
    views: FrozenViews
    features: Tensor
    """(N, F) the base's pooled features of the photos, on the device."""
    base_deg: Tensor
    """(N, 2) the base's answers through the screen geometry: client degrees, float64 on the CPU; so the next."""
    labels_deg: Tensor
    target: Tensor
    """(N,) int64."""
    adapter: Adapter
    recipe: Recipe
    head: str
    mirrored: bool


def run_fold(job: Job, fold: Fold) -> FoldResult:
    """Predict a fold's test photos by every method.

    Args:
        job: what all folds share.
        fold: its two sides.
    """
    train, test = fold.train, fold.test
    base, labels, target = job.base_deg[train], job.labels_deg[train], job.target[train]
    maps = {
        comparison.CONSTANT: constant(labels),
        comparison.BASE: torch.eye(2, 3, dtype=torch.float64),
        comparison.BASE_OFFSET: offset(base, labels),
        comparison.BASE_AFFINE: ridge_affine(base, labels, target=target),
    }
    result: FoldResult = {"predicted": {name: apply(mapping, job.base_deg[test]) for name, mapping in maps.items()}}
    if job.adapter.trains:
        inner = inner_fold(fold, target=job.target, seed=job.recipe.seed)
        chosen = _fitted(job, inner.train, epochs=job.recipe.epochs, val=inner.test, what=fold.name)[1]
        assert chosen.best_predicted is not None
        model, refitted = _fitted(job, train, epochs=chosen.best_epoch, what=fold.name)
        tuned = predict(model, job.views, test)
        behind = correction(chosen.best_predicted, job.labels_deg[inner.test], target=job.target[inner.test])
        result["predicted"] |= {
            comparison.FINE_TUNED: tuned,
            comparison.FINE_TUNED_AFFINE: apply(behind, tuned),
        }
        result |= {"epochs": chosen.best_epoch, "curve": chosen.curve, "refit_curve": refitted.curve}
    return result


def _fitted(
    job: Job, train: Tensor, *, epochs: int, what: str, val: Tensor | None = None
) -> tuple[PersonalModel, Fitted]:
    """Start at the ridge affine map of some photos and train on them."""
    index = train.to(job.features.device)
    model = start_model(
        job.base,
        job.features[index],
        job.labels_deg[train],
        target=job.target[train],
        head=job.head,
        mirrored=job.mirrored,
    )
    fitted = fit(
        model,
        job.views,
        job.labels_deg,
        train,
        adapter=job.adapter,
        recipe=job.recipe,
        epochs=epochs,
        val=val,
        on_epoch=EpochLines(what, epochs).say,
    )
    return model, fitted


def final_model(job: Job, *, epochs: int, behind: Tensor) -> tuple[PersonalModel, list[dict[str, float]]]:
    """Train on all photos for a fixed number of epochs.

    Args:
        job: what the folds shared.
        epochs: the budget that they chose.
        behind: (2, 3) map behind the model, client degrees.

    Returns:
        The model on the device, and its curve.
    """
    everything = torch.arange(len(job.target))
    if not job.adapter.trains:
        return base_with_affine(job), []
    model, fitted = _fitted(job, everything, epochs=epochs, what="all photos")
    before = torch.cat([model.affine.double().cpu(), torch.tensor([[0.0, 0.0, 1.0]]).double()])
    with torch.no_grad():
        model.affine.copy_(behind.double() @ before)
    return model, fitted.curve


def base_with_affine(job: Job) -> PersonalModel:
    """The base with the ridge affine map of all photos, on the device."""
    mapping = ridge_affine(job.base_deg, job.labels_deg, target=job.target)
    return PersonalModel(copy.deepcopy(job.base), mirrored=job.mirrored, affine=mapping).to(job.features.device)


def budget(results: Sequence[FoldResult]) -> int:
    """Epochs for all photos: the median of what the folds chose."""
    return round(statistics.median(result["epochs"] for result in results))


def gathered(results: Sequence[FoldResult], folds: Sequence[Fold], *, num_photos: int) -> dict[str, Tensor]:
    """Each photo's held-out prediction by each method.

    Args:
        results: of the folds.
        folds: whose test sides are all photos.
        num_photos: N.

    Returns:
        (N, 2) client degrees by method, in the table's order.
    """
    methods = [name for name in comparison.METHODS if name in results[0]["predicted"]]
    together = {name: torch.full((num_photos, 2), torch.nan, dtype=torch.float64) for name in methods}
    for result, fold in zip(results, folds, strict=True):
        for name in methods:
            together[name][fold.test] = result["predicted"][name]
    return together


class FoldCache:
    """Finished folds in the run folder, so that a resumed run does none of them twice.

    Args:
        folder: of the files.
        fingerprint: of everything a result depends on; a fold of another is made anew.
    """

    def __init__(self, folder: Path, *, fingerprint: str) -> None:
        self.folder = folder
        self.fingerprint = fingerprint

    def run(self, job: Job, fold: Fold) -> tuple[FoldResult, bool]:
        """A fold's result, and whether it was there already."""
        path = self.folder / f"{fold.name.replace(' ', '_')}.pt"
        if path.is_file():
            saved = torch.load(path, weights_only=True)
            if saved["fingerprint"] == self.fingerprint:
                return saved["result"], True
            log.info("finetune: %s is of other data or options, and is made anew", path)
        result = run_fold(job, fold)
        with atomic_write(path) as temporary:
            torch.save({"fingerprint": self.fingerprint, "result": result}, temporary)
        return result, False


def run_folds(job: Job, folds: Sequence[Fold], cache: FoldCache) -> list[FoldResult]:
    """Run every fold that is not there yet, and say how it went.

    Args:
        job: what they share.
        folds: to run.
        cache: of the run.
    """
    results, started, made = [], time.monotonic(), 0
    for number, fold in enumerate(folds, start=1):
        result, was_there = cache.run(job, fold)
        results.append(result)
        made += not was_there
        if job.adapter.trains:
            left = (time.monotonic() - started) / max(1, made) * (len(folds) - number)
            errors = {
                name: comparison.error_deg(result["predicted"][name], job.labels_deg[fold.test]).mean()
                for name in (comparison.FINE_TUNED, comparison.BASE_AFFINE)
            }
            log.info(
                "finetune: %d of %d, without %s: %d epochs, %.2f deg (base + affine %.2f)%s, %.1f min left",
                number, len(folds), fold.name, result["epochs"], errors[comparison.FINE_TUNED],
                errors[comparison.BASE_AFFINE], " from before" if was_there else "", left / 60,
            )  # fmt: skip
    return results


def fingerprint(facts: dict[str, Any]) -> str:
    """A hash of plain data."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()


def state_hash(net: torch.nn.Module) -> str:
    """A hash of a net's weights."""
    digest = hashlib.sha256()
    for name, tensor in sorted(net.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
