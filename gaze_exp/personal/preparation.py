"""What stands before the first fold: enough photos, the split on disk, the base's answers, the bank of features."""

import copy
import hashlib
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gaze_exp.data.allowed_fits import AllowedFits, allowed_fits
from gaze_exp.data.calibration_set import CalibrationSet
from gaze_exp.data.progress import progress
from gaze_exp.errors import DataError
from gaze_exp.models.l2cs import L2CS
from gaze_exp.personal.adapters import Adapter
from gaze_exp.personal.feature_bank import GIB, Device, FrozenViews, views_that_fit
from gaze_exp.personal.fit import Recipe
from gaze_exp.personal.grouped_folds import Fold, photo_hashes, refuse_leaks, session_folds, target_folds
from gaze_exp.personal.mirror import decide
from gaze_exp.personal.model import native_sign
from gaze_exp.personal.photo_augment import PhotoAugment
from gaze_exp.personal.protocol import Job
from gaze_exp.record import write_json

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Wishes:
    """What a user chooses."""

    adapter: Adapter
    recipe: Recipe
    augment: PhotoAugment
    head: str = "linear"
    mirrored: bool | str = "auto"
    bank_views: int = 50
    """Of each photo in the bank; 0 draws every view anew."""
    bank_gib: float = 16.0
    min_targets: int = 9
    min_photos: int = 20

    def as_dict(self) -> dict[str, Any]:
        """All that a result depends on, as plain data."""
        return {
            "adapter": {"kind": type(self.adapter).__name__, **vars(self.adapter)},
            "augment": {name: value for name, value in vars(self.augment).items() if not name.startswith("_")},
            "recipe": self.recipe.as_dict(),
            "head": self.head,
            "mirrored": self.mirrored,
            "bank_views": self.bank_views,
        }


def refuse_too_few(data: CalibrationSet, wishes: Wishes) -> AllowedFits:
    """Say what the photos allow, and refuse to fine-tune on less.

    Raises:
        DataError: with what the data allow instead.
    """
    allowed = allowed_fits(data.target_px, data.target, min_targets=wishes.min_targets, min_photos=wishes.min_photos)
    if wishes.adapter.trains and not allowed.finetune:
        raise DataError(f"{data.folder}: {allowed}; adapt=affine makes the best of them without training")
    return allowed


@dataclass(frozen=True)
class Split:
    """Which photos test in which fold."""

    folds: list[Fold]
    """Of the targets."""
    sessions: list[Fold]
    """One for each session left out; none where there is only one."""
    sha256: str
    """Of the photos, their pixels and their sides."""


def split(data: CalibrationSet, photos: Tensor, *, seed: int, path: Path) -> Split:
    """Split by target, then by session, and write it down before anything is computed from it.

    Args:
        data: whose photos.
        photos: (N, 3, S, S) uint8.
        seed: of the folds.
        path: of the file.

    Raises:
        DataError: the same picture, target or session on both sides.
    """
    folds, sessions = target_folds(data.target, seed=seed), session_folds(data.session)
    hashes = photo_hashes(photos)
    refuse_leaks(folds, group=data.target, photo_hashes=hashes)
    refuse_leaks(sessions, group=data.session, photo_hashes=hashes)
    content = {
        "photos": dict(zip(data.filenames, hashes, strict=True)),
        "test": {fold.name: [data.filenames[i] for i in fold.test.tolist()] for fold in [*folds, *sessions]},
    }
    sha256 = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    write_json(path, {"sha256": sha256, **content})
    return Split(folds, sessions, sha256)


def prepare(data: CalibrationSet, base: L2CS, photos: Tensor, *, wishes: Wishes, device: Device) -> tuple[Job, str]:
    """Run the base on all photos, and decide whether they are mirror images.

    Args:
        data: labels and targets.
        base: left as it is.
        photos: (N, 3, S, S) uint8 RGB.
        wishes: of the user.
        device: where the net shall run.

    Returns:
        What the folds share, without a bank yet, and how the mirror was told.
    """
    layout = torch.channels_last if device.channels_last else torch.contiguous_format
    net = copy.deepcopy(base).to(device.name).to(memory_format=layout)
    net.eval().requires_grad_(requires_grad=False)
    pooled = not wishes.adapter.trains_late
    views = FrozenViews(net, photos, augment=wishes.augment, pooled=pooled, device=device, seed=wishes.recipe.seed)
    with torch.no_grad():
        features = views.clean if pooled else torch.cat([net.late(maps) for maps in views.clean.split(16)])
        native_deg = net.angles_deg(features).double().cpu()
    mirrored, how = decide(wishes.mirrored, base_yaw_deg=native_deg[:, 0], target_x_px=data.target_px[:, 0])
    job = Job(
        base=net,
        views=views,
        features=features,
        base_deg=native_deg * native_sign(mirrored=mirrored).double(),
        labels_deg=data.angles_deg.double(),
        target=data.target,
        adapter=wishes.adapter,
        recipe=wishes.recipe,
        head=wishes.head,
        mirrored=mirrored,
    )
    return job, how


def fill_bank(views: FrozenViews, *, wishes: Wishes, folder: Path) -> None:
    """Compute the bank of views, as large as is allowed, and say what it holds.

    Args:
        views: of all photos.
        wishes: how many views, and how large at most.
        folder: where a bank goes that memory cannot hold.
    """
    num_photos, bytes_a_view = len(views.photos), 2 * views.clean[0].numel()
    num_views = views_that_fit(
        wishes.bank_views, bytes_a_view=bytes_a_view, num_photos=num_photos, most_gib=wishes.bank_gib
    )
    size = f"{num_views * num_photos * bytes_a_view / GIB:.2f} GiB"
    if num_views < wishes.bank_views:
        log.warning(
            "finetune: finetune.bank_gib=%g holds %d of the %d views of each photo (%s); %s",
            wishes.bank_gib, num_views, wishes.bank_views, size,
            "they are seen more often" if num_views else "every view is drawn and run anew, which is slower",
        )  # fmt: skip
    if num_views == 0:
        return
    log.info("finetune: a bank of %d views of each of %d photos, fp16, %s", num_views, num_photos, size)
    with progress(num_views * num_photos, what="finetune", unit="views") as tell:
        views.fill(num_views, folder=folder, on_views=tell)
