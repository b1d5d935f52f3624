"""What calibration is worth on people whom the base model has never seen: 9, 16 and 32 targets.

The whole round for each person: photos of one sitting, prepared with a real detector, fitted by every method, and
measured in two ways: on targets left out of that sitting (grouped cross-validation in three folds), and in another
sitting on another day, with other light, another seat and other targets.
"""

import functools
import itertools
import logging
import multiprocessing
import tempfile
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gaze_exp.calibration_crops import Cutting
from gaze_exp.calibration_prepare import prepare as prepare_photos
from gaze_exp.checkpoint import file_of
from gaze_exp.data.calibration_set import CalibrationSet, read_calibration_set
from gaze_exp.data.sources.calibration import CalibrationSource, read_calibration_folder
from gaze_exp.data.synthetic.calibration_layout import GRIDS, draw_targets, write_session
from gaze_exp.data.synthetic.crop_layout import Recording
from gaze_exp.data.synthetic.person import random_stream
from gaze_exp.data.synthetic.rigs import LAPTOP
from gaze_exp.errors import ConfigError
from gaze_exp.faces.finder import open_finder
from gaze_exp.hardware import Hardware
from gaze_exp.models.l2cs import L2CS
from gaze_exp.personal import comparison
from gaze_exp.personal.adapters import Layer4AndHead
from gaze_exp.personal.feature_bank import Device
from gaze_exp.personal.fit import Recipe
from gaze_exp.personal.grouped_folds import Fold, photo_hashes, target_folds
from gaze_exp.personal.photo_augment import PhotoAugment
from gaze_exp.personal.preparation import Wishes, fill_bank, prepare
from gaze_exp.personal.protocol import FoldCache, fingerprint, state_hash
from gaze_exp.processes.cores import num_cores
from gaze_exp.processes.worker_process import end_with_parent
from gaze_exp.screen import ScreenGeometry

log = logging.getLogger(__name__)

NUM_PERSONS = 10
SEED = 20_000
"""Of these people: far from any that a base is trained on by hand."""
PHOTOS = {9: 27, 16: 32, 32: 32}
"""Of the sitting to learn from, by targets: fewer than 100, and enough to fine-tune."""
TEST_PHOTOS = 24
LEFT_OUT, ANOTHER_DAY = "targets left out", "another day"
RECIPE = Recipe(epochs=8, views_per_epoch=8, patience=8, lr=6e-4)
"""Shorter than the fine-tune's own: the net is small, and three folds of ten persons are many fits."""
BANK_VIEWS = 20
NUM_FOLDS = 3
FINISHED = Path("outputs/personal_round")


@dataclass(frozen=True)
class Place:
    """With what the round is gone."""

    machine: Hardware
    weights: Path
    """Of the base."""
    detector: str
    """A face detector, ONNX."""
    finished: Path
    """Folder of finished folds, so that a round that was stopped goes on."""


@dataclass(frozen=True)
class Sample:
    """Held-out answers of all methods for one person."""

    person: int
    num_targets: int
    measured: str
    predicted: dict[str, Tensor]
    """(M, 2) client degrees by method."""
    labels_deg: Tensor
    """(M, 2)."""

    def error_deg(self, method: str) -> float:
        """Mean over the photos, client degrees."""
        return float(comparison.error_deg(self.predicted[method], self.labels_deg).mean())

    def __str__(self) -> str:
        errors = ", ".join(f"{method} {self.error_deg(method):.2f}" for method in self.predicted)
        return f"person {self.person}, {self.num_targets} targets, {self.measured}: {errors}"


def run(machine: Hardware, *, checkpoint: str | None, detector: str | None) -> list[dict[str, Any]]:
    """Go the whole round for ten persons, as many at a time as there are cores.

    Args:
        machine: resolved.
        checkpoint: of the base, trained on other people.
        detector: a face detector, ONNX.

    Raises:
        ConfigError: no base, or no detector.
    """
    if checkpoint is None:
        raise ConfigError("checkpoint: personal_round needs a base model; a .ckpt of task=l2cs_train would be right")
    open_finder(detector)  # refuses before anything is rendered
    place = Place(machine, weights=file_of(checkpoint), detector=str(detector), finished=FINISHED)
    samples = go_round(range(1, NUM_PERSONS + 1), GRIDS, place=place, recipe=RECIPE)
    return [row for measured in (LEFT_OUT, ANOTHER_DAY) for row in rows_of(samples, measured=measured)]


def go_round(persons: Iterable[int], target_counts: Iterable[int], *, place: Place, recipe: Recipe) -> list[Sample]:
    """Photograph, prepare, fit and measure every person with every number of targets.

    Args:
        persons: their numbers.
        target_counts: of the sitting to learn from.
        place: with what.
        recipe: of the fine-tune.

    Returns:
        Two for each person and number of targets: on targets left out, and on another day.
    """
    cores = num_cores() if place.machine.accelerator == "cpu" else 1
    rounds = [(num_targets, person) for person, num_targets in itertools.product(persons, target_counts)]
    samples: list[Sample] = []
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(cores, mp_context=context, initializer=end_with_parent) as pool:
        for made in pool.map(functools.partial(one_round, place=place, recipe=recipe), *zip(*rounds, strict=True)):
            samples += made
            for sample in made:
                log.info("personal_round: %s", sample)
    return samples


def one_round(num_targets: int, person: int, *, place: Place, recipe: Recipe) -> list[Sample]:
    """Photograph, prepare, fit and measure one person with one number of targets.

    Args:
        num_targets: of the sitting to learn from.
        person: number.
        place: with what.
        recipe: of the fine-tune.
    """
    if place.machine.accelerator == "cpu":
        torch.set_num_threads(1)  # small convolutions: a person a core is faster than a core more for each
    base = L2CS(weights=place.weights).eval()
    with tempfile.TemporaryDirectory(prefix="personal_round_") as folder:
        data = photographed(Path(folder), number=person, num_targets=num_targets, detector=place.detector, base=base)
        return measure(data, base, place=place, person=person, num_targets=num_targets, recipe=recipe)


def photographed(root: Path, *, number: int, num_targets: int, detector: str, base: L2CS) -> CalibrationSet:
    """A person's two sittings as the client writes them, prepared as a user prepares his.

    Args:
        root: a new folder.
        number: of the person.
        num_targets: of the first sitting.
        detector: a face detector, ONNX.
        base: whose image size the crops have.

    Returns:
        Session 0 to learn from, session 1 to be measured on.
    """
    photos = root / "calibration_data"
    photos.mkdir(parents=True)
    who = Recording(number, "", SEED, number)
    stream = random_stream(SEED, number, "targets", num_targets)
    other = torch.tensor(LAPTOP.screen_px) * (0.04 + 0.92 * torch.rand(TEST_PHOTOS, 2, generator=stream).double())
    sittings = (draw_targets(num_targets, PHOTOS[num_targets], stream), other.float().double())
    for session, target_px in enumerate(sittings):
        write_session(
            photos, who, session=session, target_px=target_px, rig=LAPTOP, mirrored=True, on_frames=lambda _: None
        )
    size_px = base.image_size or 448
    cutting = Cutting(
        finder=open_finder(detector), geometry=ScreenGeometry(), rule="client", size_px=size_px, mirrored=True
    )
    source = CalibrationSource(calibration_dir=str(photos), root=str(root / "dataset_clean"))
    prepare_photos(read_calibration_folder(source.calibration_dir), source, cutting)
    return read_calibration_set(source.root)


def measure(
    data: CalibrationSet, base: L2CS, *, place: Place, person: int, num_targets: int, recipe: Recipe
) -> list[Sample]:
    """Fit every method on parts of the first sitting, and on all of it.

    Args:
        data: from `photographed`.
        base: left as it is.
        place: with what.
        person: number.
        num_targets: of the first sitting.
        recipe: of the fine-tune.

    Returns:
        The held-out answers, for both ways to measure.
    """
    wishes = Wishes(
        adapter=Layer4AndHead(),
        recipe=replace(recipe, seed=person),
        augment=PhotoAugment(),
        bank_views=BANK_VIEWS,
        mirrored=True,  # as these photos are; a base that knows nothing could not tell
    )
    images = data.images()
    job, _ = prepare(data, base, images, wishes=wishes, device=Device.of(place.machine))
    fill_bank(job.views, wishes=wishes, folder=data.folder)
    first, second = torch.nonzero(data.session == 0)[:, 0], torch.nonzero(data.session == 1)[:, 0]
    parts = target_folds(data.target[first], seed=person, num_folds=NUM_FOLDS)
    depends_on = {
        "photos": photo_hashes(images), "base": state_hash(base), "recipe": wishes.recipe.as_dict(),
        "views": BANK_VIEWS, "precision": place.machine.precision,
    }  # fmt: skip
    cache = FoldCache(place.finished / f"person{person}_targets{num_targets}", fingerprint=fingerprint(depends_on))
    folds = [Fold(fold.name, first[fold.train], first[fold.test]) for fold in parts]
    results = [cache.run(job, fold)[0]["predicted"] for fold in folds]
    together = {method: torch.cat([result[method] for result in results]) for method in results[0]}
    left_out = torch.cat([fold.test for fold in folds])
    later = cache.run(job, Fold(ANOTHER_DAY, first, second))[0]["predicted"]
    return [
        Sample(person, num_targets, LEFT_OUT, together, job.labels_deg[left_out]),
        Sample(person, num_targets, ANOTHER_DAY, later, job.labels_deg[second]),
    ]


def rows_of(samples: list[Sample], *, measured: str) -> list[dict[str, Any]]:
    """Mean error over persons by method and number of targets, with a bootstrap over persons.

    Args:
        samples: all of them.
        measured: which kind.

    Returns:
        A row for each method, client degrees; then how much less than base + affine the fine-tuned ones err.
    """
    counts = sorted({sample.num_targets for sample in samples})
    mine = {n: [s for s in samples if s.measured == measured and s.num_targets == n] for n in counts}
    methods = list(mine[counts[0]][0].predicted)
    errors = {(m, n): np.array([sample.error_deg(m) for sample in mine[n]]) for m in methods for n in counts}
    rows = {method: {n: errors[method, n] for n in counts} for method in methods}
    for method in (comparison.FINE_TUNED, comparison.FINE_TUNED_AFFINE):
        less = {n: errors[comparison.BASE_AFFINE, n] - errors[method, n] for n in counts}
        rows[f"{method}: less than {comparison.BASE_AFFINE}"] = less
    return [
        {"measured on": measured, "method": name, **{f"{n} targets, deg": _mean(values[n]) for n in counts}}
        for name, values in rows.items()
    ]


def _mean(values: np.ndarray) -> str:
    return f"{values.mean():.2f} ({_between(values)})"


def _between(values: np.ndarray) -> str:
    between = comparison.interval(values, group=torch.arange(len(values)), seed=0)
    return "one person" if between is None else f"{between[0]:.2f} to {between[1]:.2f}"
