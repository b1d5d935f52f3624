"""Which photos train and which test: by target, or by session, decided before anything else.

Two photos of one target are nearly the same picture with the same label. A model that has seen one knows the
other by heart, so they always stand on the same side.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gaze_exp.errors import DataError

MOST_TARGETS_TO_LEAVE_OUT_ONE = 16
NUM_FOLDS = 5
INNER_SHARE = 4
"""One target in so many is held out inside a fold, for early stopping."""


@dataclass(frozen=True)
class Fold:
    """Indices of the photos on both sides."""

    name: str
    train: Tensor
    """(N,) int64, ascending, as `test`."""
    test: Tensor


def target_folds(target: Tensor, *, seed: int, leave_one_out_up_to: int = MOST_TARGETS_TO_LEAVE_OUT_ONE) -> list[Fold]:
    """Cross-validation grouped by target: leave one out up to 16 targets, else five folds.

    Args:
        target: (N,) int64 which target each photo shows.
        seed: shuffles the targets of five folds.
        leave_one_out_up_to: so many targets.

    Returns:
        Folds whose test sides are all photos, each once.

    Raises:
        DataError: fewer than two targets.

    >>> [fold.test.tolist() for fold in target_folds(torch.tensor([7, 7, 9, 9, 3]), seed=0)]
    [[4], [0, 1], [2, 3]]
    """
    targets = target.unique()
    if len(targets) < 2:
        raise DataError(f"{len(targets)} target cannot be split; photos of at least two places on the screen can")
    if len(targets) <= leave_one_out_up_to:
        return [_without(target, [t], name=f"target {int(t)}") for t in targets]
    parts = _shuffled(targets, seed=seed).tensor_split(NUM_FOLDS)
    return [_without(target, part, name=f"fold {i + 1} of {NUM_FOLDS}") for i, part in enumerate(parts)]


def session_folds(session: Tensor) -> list[Fold]:
    """Leave one session out; nothing where there is only one.

    Args:
        session: (N,) int64.
    """
    sessions = session.unique()
    return [_without(session, [s], name=f"session {int(s)}") for s in sessions] if len(sessions) > 1 else []


def inner_fold(fold: Fold, *, target: Tensor, seed: int) -> Fold:
    """Hold out a quarter of a fold's training targets, two at least, for choices such as the number of epochs.

    Args:
        fold: the outer one; its test side takes no part.
        target: (N,) int64 of all photos.
        seed: chooses the targets.

    Returns:
        A fold of the outer one's training photos.
    """
    of_train = target[fold.train]
    targets = of_train.unique()
    held_out = _shuffled(targets, seed=seed)[: max(2, len(targets) // INNER_SHARE)]
    inner = _without(of_train, held_out, name=f"{fold.name}, inner")
    return Fold(name=inner.name, train=fold.train[inner.train], test=fold.train[inner.test])


def refuse_leaks(folds: Iterable[Fold], *, group: Tensor, photo_hashes: Sequence[str]) -> None:
    """Prove that no group and no picture stands on both sides of a fold.

    Args:
        folds: to check.
        group: (N,) int64 target, or session, of each photo.
        photo_hashes: of each photo's pixels.

    Raises:
        DataError: it does; the photos are named by their index.
    """
    for fold in folds:
        for what, values in (("target or session", group.tolist()), ("picture", list(photo_hashes))):
            both = {values[i] for i in fold.train.tolist()} & {values[i] for i in fold.test.tolist()}
            if both:
                shown = [i for i, value in enumerate(values) if value in both]
                raise DataError(
                    f"{fold.name}: the same {what} stands on both sides, in photos {shown[:6]}; "
                    "prepare the photos again, which puts what is the same together"
                )


def photo_hashes(photos: Tensor) -> list[str]:
    """A hash of each photo's pixels: (N, 3, S, S) uint8."""
    return [hashlib.sha256(photo.contiguous().numpy().tobytes()).hexdigest() for photo in photos]


def _without(group: Tensor, held_out: Sequence[Tensor] | Tensor, *, name: str) -> Fold:
    is_test = torch.isin(group, torch.as_tensor([int(g) for g in held_out]))
    return Fold(name=name, train=(~is_test).nonzero()[:, 0], test=is_test.nonzero()[:, 0])


def _shuffled(values: Tensor, *, seed: int) -> Tensor:
    return values[torch.randperm(len(values), generator=torch.Generator().manual_seed(seed))]
