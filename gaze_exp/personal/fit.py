"""One fit of the trained part of a net: views of photos, MSE in degrees, Adam, averaged weights, early stopping.

Shapes: N photos, B batch.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from gaze_exp.personal.adapters import Adapter
from gaze_exp.personal.feature_bank import Device, FrozenViews
from gaze_exp.personal.model import PersonalModel


@dataclass(frozen=True)
class Recipe:
    """How a fit is done."""

    epochs: int = 50
    views_per_epoch: int = 50
    """Of each photo."""
    lr: float = 1e-4
    patience: int = 10
    """Epochs without a better validation error."""
    batch_size: int = 32
    warmup_epochs: float = 1.0
    """Over which the learning rate rises from nothing: Adam's first steps are as large as any, whatever the gradient,
    and would undo the affine start."""
    average_epochs: float = 1.0
    """Over about how many the weights are averaged: what is validated and kept is the average. 0: the last ones."""
    pull_to_base: float = 0.0
    """Weight of the squared distance of the trained numbers from where they began."""
    seed: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


@dataclass
class Fitted:
    """What became of a fit; the model is the average at the end of the last epoch run."""

    curve: list[dict[str, float]] = field(default_factory=list)
    """`epoch`, `train_loss` and, with validation, `val_error_deg`; epoch 0 is the start."""
    best_epoch: int = 0
    best_predicted: Tensor | None = None
    """(M, 2) client degrees of the validation photos after the best epoch."""


def fit(
    model: PersonalModel,
    views: FrozenViews,
    labels_deg: Tensor,
    train: Tensor,
    *,
    adapter: Adapter,
    recipe: Recipe,
    epochs: int,
    val: Tensor | None = None,
    on_epoch: Callable[[dict[str, float]], None] | None = None,
) -> Fitted:
    """Train what the adapter allows, in place.

    Args:
        model: at its start, on the device.
        views: of all photos.
        labels_deg: (N, 2) client degrees.
        train: indices of the photos to train on.
        adapter: what is trained.
        recipe: how.
        epochs: at most; exactly, without validation.
        val: indices of photos that stop early.
        on_epoch: told of each.

    Returns:
        The curve, the best epoch and its validation predictions.
    """
    done = Fitted()
    loop = Loop(model, adapter=adapter, recipe=recipe, device=views.device)
    for epoch in range(epochs + 1):
        row = {"epoch": float(epoch)}
        if epoch and loop.parameters:
            row["train_loss"] = loop.epoch(epoch, views=views, labels_deg=labels_deg, train=train)
        if val is not None:
            with loop.averaged():
                predicted = predict(model, views, val)
            row["val_error_deg"] = float((predicted - labels_deg[val]).norm(dim=1).mean())
            if all(row["val_error_deg"] < earlier["val_error_deg"] for earlier in done.curve):
                done.best_epoch, done.best_predicted = epoch, predicted
        done.curve.append(row)
        if on_epoch:
            on_epoch(row)
        if val is not None and epoch - done.best_epoch >= recipe.patience:
            break
    loop.keep_average()
    adapter.finish(model.net)
    return done


class Loop:
    """Optimiser, precision and steps.

    Args:
        model: on the device; what the adapter leaves frozen stays as it is to the last bit.
        adapter: what is trained.
        recipe: how.
        device: where.
    """

    def __init__(self, model: PersonalModel, *, adapter: Adapter, recipe: Recipe, device: Device) -> None:
        torch.manual_seed(recipe.seed)  # of low-rank changes
        self.model = model
        self.recipe = recipe
        self.device = device
        self.parameters = adapter.prepare(model.net)
        self.began = [p.detach().clone() for p in self.parameters]
        self.optimizer = torch.optim.Adam(self.parameters, lr=recipe.lr, fused=True) if self.parameters else None
        self.average = [p.detach().clone() for p in self.parameters]
        self.num_steps = 0

    def epoch(self, number: int, *, views: FrozenViews, labels_deg: Tensor, train: Tensor) -> float:
        """Every training photo in `views_per_epoch` views, in random order.

        Args:
            number: of the epoch, from 1; another epoch, other views, as far as there are others.
            views: of all photos.
            labels_deg: (N, 2) client degrees.
            train: indices of the photos to train on.

        Returns:
            The mean loss, degrees squared.
        """
        per_epoch = self.recipe.views_per_epoch
        stream = torch.Generator().manual_seed(self.recipe.seed * 100_003 + number)
        order = torch.randperm(len(train) * per_epoch, generator=stream)
        photos, drawn = train[order // per_epoch], order % per_epoch + (number - 1) * per_epoch
        total = torch.zeros((), device=self.device.name)
        batches = list(zip(photos.split(self.recipe.batch_size), drawn.split(self.recipe.batch_size), strict=True))
        for photo, view in batches:
            self._warm_up(len(batches))
            total += len(photo) * self.step(views.take(photo, view), labels_deg[photo])
            self._take_into_average(len(batches))
        return float(total) / len(order)

    def _warm_up(self, steps_per_epoch: int) -> None:
        assert self.optimizer is not None, "nothing is trained"
        self.num_steps += 1
        share = min(1.0, self.num_steps / max(1.0, self.recipe.warmup_epochs * steps_per_epoch))
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.lr * share

    def _take_into_average(self, steps_per_epoch: int) -> None:
        """An exponential average, and the plain mean of all steps while these are few."""
        new = 1 / max(1.0, min(self.num_steps + 1.0, self.recipe.average_epochs * steps_per_epoch))
        get_ema_multi_avg_fn(1 - new)(self.average, self.parameters, self.num_steps)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Give the net its averaged weights for a while."""
        last = [p.detach().clone() for p in self.parameters]
        self.keep_average()
        try:
            yield
        finally:
            self._put(last)

    def keep_average(self) -> None:
        """Leave the net with its averaged weights."""
        self._put(self.average)

    @torch.no_grad()
    def _put(self, values: list[Tensor]) -> None:
        for parameter, value in zip(self.parameters, values, strict=True):
            parameter.copy_(value)

    def step(self, frozen: Tensor, labels_deg: Tensor) -> Tensor:
        """One step of the optimiser.

        Args:
            frozen: (B, ...) from `FrozenViews.take`.
            labels_deg: (B, 2) client degrees.

        Returns:
            The MSE before it, without the pull, degrees squared.
        """
        assert self.optimizer is not None, "nothing is trained"
        with self.device.precision():
            predicted = answer(self.model, frozen)
        mse = nn.functional.mse_loss(predicted, labels_deg.to(self.device.name, torch.float32))
        loss = mse
        if self.recipe.pull_to_base > 0:
            moved = [(p - b).square().sum() for p, b in zip(self.parameters, self.began, strict=True)]
            loss = mse + self.recipe.pull_to_base * torch.stack(moved).sum()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return mse.detach()


def answer(model: PersonalModel, frozen: Tensor) -> Tensor:
    """(B, C, h, w) maps before layer4, or (B, F) features behind it -> (B, 2) client degrees."""
    return model.from_features(model.net.late(frozen) if frozen.ndim == 4 else frozen)


@torch.no_grad()
def predict(model: PersonalModel, views: FrozenViews, photos: Tensor) -> Tensor:
    """Answer the photos themselves, without augmentation and in float32.

    Args:
        model: on the device.
        views: of all photos.
        photos: (M,) indices.

    Returns:
        (M, 2) float64 client degrees on the CPU.
    """
    frozen = views.clean[photos.to(views.clean.device)]
    return torch.cat([answer(model, part) for part in frozen.split(16)]).double().cpu()
