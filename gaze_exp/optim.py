"""The optimiser and its schedule, as one choice."""

import math
from collections.abc import Iterable

import torch
from torch.nn import Parameter
from torch.optim.lr_scheduler import LambdaLR

from gaze_exp.errors import ConfigError

_RANGES = {
    "lr": "0 or more",
    "weight_decay": "0 or more",
    "warmup_epochs": "0 or more",
    "final_lr_fraction": "0 to 1",
    "factor": "above 0, and 1 or less",
    "every_epochs": "above 0",
}


class AdamWCosine:
    """AdamW whose learning rate rises linearly, then falls along half a cosine, a little every step."""

    def __init__(
        self,
        *,
        lr: float = 1e-4,
        weight_decay: float = 1e-4,
        warmup_epochs: float = 2.0,
        final_lr_fraction: float = 0.0,
    ) -> None:
        _check(
            lr=(lr, lr >= 0),
            weight_decay=(weight_decay, weight_decay >= 0),
            warmup_epochs=(warmup_epochs, warmup_epochs >= 0),
            final_lr_fraction=(final_lr_fraction, 0 <= final_lr_fraction <= 1),
        )
        self.lr = lr
        self.weight_decay = weight_decay
        self.warmup_epochs = warmup_epochs
        self.final_lr_fraction = final_lr_fraction

    def __call__(
        self, parameters: Iterable[Parameter], *, total_steps: int, steps_per_epoch: float
    ) -> tuple[torch.optim.Optimizer, LambdaLR]:
        """Make the pair that Lightning drives.

        Args:
            parameters: those to train.
            total_steps: optimiser steps of the whole run.
            steps_per_epoch: optimiser steps of one epoch.

        Returns:
            Optimiser and schedule; the schedule is to be stepped after each optimiser step.
        """
        trained = [p for p in parameters if p.requires_grad]
        # One kernel for all parameters: 30 ms a step on two CPU cores against 124 to 206.
        optimizer = torch.optim.AdamW(trained, lr=self.lr, weight_decay=self.weight_decay, fused=True)
        warmup = max(1.0, self.warmup_epochs * steps_per_epoch)

        def factor(step: int) -> float:
            if step < warmup:
                return (step + 1) / (warmup + 1)
            progress = min(1.0, (step - warmup) / max(1.0, total_steps - warmup))
            return self.final_lr_fraction + (1 - self.final_lr_fraction) * (1 + math.cos(math.pi * progress)) / 2

        return optimizer, LambdaLR(optimizer, factor)


class AdamSteps:
    """Adam with plain L2, whose learning rate rises linearly, then falls by a factor every so many epochs."""

    def __init__(
        self,
        *,
        lr: float = 2.56e-4,
        weight_decay: float = 0.0,
        warmup_epochs: float = 0.0,
        factor: float = 0.5,
        every_epochs: float = 1.0,
    ) -> None:
        _check(
            lr=(lr, lr >= 0),
            weight_decay=(weight_decay, weight_decay >= 0),
            warmup_epochs=(warmup_epochs, warmup_epochs >= 0),
            factor=(factor, 0 < factor <= 1),
            every_epochs=(every_epochs, every_epochs > 0),
        )
        self.lr = lr
        self.weight_decay = weight_decay
        self.warmup_epochs = warmup_epochs
        self.factor = factor
        self.every_epochs = every_epochs

    def __call__(
        self, parameters: Iterable[Parameter], *, total_steps: int, steps_per_epoch: float
    ) -> tuple[torch.optim.Optimizer, LambdaLR]:
        """Make the pair that Lightning drives; see `AdamWCosine`."""
        del total_steps
        trained = [p for p in parameters if p.requires_grad]
        optimizer = torch.optim.Adam(trained, lr=self.lr, weight_decay=self.weight_decay, fused=True)
        warmup = self.warmup_epochs * steps_per_epoch

        def factor(step: int) -> float:
            if step < warmup:
                return (step + 1) / (warmup + 1)
            # A step early rather than late: epochs are whole numbers of steps only up to rounding.
            num_falls = math.floor((step - warmup) / (self.every_epochs * steps_per_epoch) + 1e-9)
            return float(self.factor**num_falls)

        return optimizer, LambdaLR(optimizer, factor)


def _check(**options: tuple[float, bool]) -> None:
    """Refuse the first option, its value and whether that fits, which does not."""
    for name, (value, fits) in options.items():
        if not fits:
            raise ConfigError(f"optim.{name}: {value} cannot be; {_RANGES[name]} would be right")
