"""The one training, validation and test step for every model, loss and data set."""

from collections.abc import Callable
from typing import Any, cast

import lightning
import torch
from lightning.pytorch.plugins.precision import MixedPrecision, Precision
from lightning.pytorch.utilities import GradClipAlgorithmType
from torch import Tensor, distributed, nn
from torch.optim import Optimizer

from gaze_exp.batch import GazeBatch, GazeOutput, model_inputs
from gaze_exp.metrics import AngularError, MaskIoU
from gaze_exp.processes.strategy import share_out
from gaze_exp.processes.synced_norm import sync_batch_norm


class GazeModule(lightning.LightningModule):
    """Model, loss, augmentation and optimiser, joined by the batch."""

    def __init__(
        self,
        model: nn.Module,
        *,
        loss: nn.Module,
        augment: nn.Module,
        optim: Callable[..., Any],
        seed: int,
        provenance: dict[str, Any],
        channels_last: bool = False,
        sync_batchnorm: bool = False,
    ) -> None:
        """Keep the parts.

        Args:
            model: its `forward` names the batch keys it reads and returns a `GazeOutput`.
            loss: (output, batch) -> {"total": ..., parts}.
            augment: batch -> batch, for training only.
            optim: parameters, `total_steps`, `steps_per_epoch` -> (optimiser, schedule).
            seed: of every random draw; with epoch, batch and rank it decides each step's draws.
            provenance: plain data that checkpoints carry: config, training persons, constant baseline.
            channels_last: memory format of convolution weights.
            sync_batchnorm: several devices take batch norm's statistics together.
        """
        super().__init__()
        self.model = model.to(memory_format=torch.channels_last) if channels_last else model
        self.loss = loss
        self.augment = augment
        self.optim = optim
        self.seed = seed
        self.provenance = provenance
        self.sync_batchnorm = sync_batchnorm
        self.val_error = AngularError()
        self.val_iou = MaskIoU()

    def forward(self, batch: GazeBatch) -> GazeOutput:
        """Run the model on the keys it names."""
        return cast("GazeOutput", self.model(**model_inputs(self.model, batch)))

    def configure_model(self) -> None:
        """Fit the model to the devices that train it together; called with their processes running."""
        if self.sync_batchnorm and self.trainer.world_size > 1:
            sync_batch_norm(self.model, on_gpu=self.trainer.strategy.root_device.type == "cuda")
        share_out([self.model, self.loss], strategy=self.trainer.strategy)

    def on_train_start(self) -> None:
        """Validate between optimiser steps: a checkpoint holds no gradient that is half summed up."""
        every = self.trainer.accumulate_grad_batches
        interval = self.trainer.val_check_batch
        if interval is not None and interval < self.trainer.num_training_batches:
            self.trainer.val_check_batch = max(every, int(interval) // every * every)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Tie all random draws of a step to its place in the run, so that a resumed run repeats them."""
        del batch
        torch.manual_seed(_step_seed(self.seed, self.current_epoch, batch_idx, self.global_rank))

    def training_step(self, batch: GazeBatch, batch_idx: int) -> Tensor:
        """Augment, predict, and return the loss."""
        del batch_idx
        batch = self.augment(batch)
        losses: dict[str, Tensor] = self.loss(self(batch), batch)
        size = len(batch["gaze"])
        # Lightning's own `sync_dist` has a barrier in each step.
        shown = _mean_over_ranks(losses["total"].detach())
        self.log("train/loss", shown, on_step=True, on_epoch=True, prog_bar=True, batch_size=size)
        return losses["total"]

    def validation_step(self, batch: GazeBatch, batch_idx: int) -> GazeOutput:
        """Log loss and angular error in degrees; the output goes to the picture callback."""
        del batch_idx
        output = self(batch)
        losses = self.loss(output, batch)
        size = len(batch["gaze"])
        self.log("val/loss", losses["total"], on_epoch=True, batch_size=size, sync_dist=True)
        self.val_error.update(output["gaze"], batch["gaze"], batch["valid"])
        self.log("val/angular_error", self.val_error, on_epoch=True, prog_bar=True, batch_size=size)
        for side in ("left", "right") if "mask_left" in batch and "mask_left_logits" in output else ():
            self.val_iou.update(output[f"mask_{side}_logits"], batch[f"mask_{side}"])  # type: ignore[literal-required]
            self.log("val/miou", self.val_iou, on_epoch=True, batch_size=size)
        return output

    def configure_optimizers(self) -> Any:
        """Give the schedule the true number of steps."""
        total_steps = int(self.trainer.estimated_stepping_batches)
        # That made the training loader before a checkpoint's loops are restored, and a loader that is already
        # there is never told where it stood: https://github.com/Lightning-AI/pytorch-lightning/issues/20550.
        # Without it, Lightning makes the loader anew when its time has come.
        self.trainer.fit_loop._combined_loader = None
        epochs = max(1, self.trainer.max_epochs or 1)
        optimizer, schedule = self.optim(
            self.parameters(), total_steps=total_steps, steps_per_epoch=total_steps / epochs
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def configure_gradient_clipping(
        self, optimizer: Optimizer, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """Clip under bf16 too: Lightning refuses with a fused optimiser, for a scale that only fp16 has."""
        plugin = self.trainer.precision_plugin
        if isinstance(plugin, MixedPrecision) and plugin.scaler is None and gradient_clip_val:
            algorithm = GradClipAlgorithmType(gradient_clip_algorithm or "norm")
            Precision.clip_gradients(plugin, optimizer, gradient_clip_val, algorithm)
            return
        super().configure_gradient_clipping(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Carry what evaluation, export and prediction need, as plain data."""
        checkpoint["gaze_exp"] = self.provenance


def _mean_over_ranks(value: Tensor) -> Tensor:
    if not distributed.is_available() or not distributed.is_initialized():
        return value
    value = value.clone()
    distributed.all_reduce(value)
    return value / distributed.get_world_size()


def _step_seed(*parts: int) -> int:
    """Mix seed, epoch, batch and rank into 63 bits that differ in all of them."""
    mixed = 0
    for part in parts:
        mixed = (mixed * 6364136223846793005 + part + 1442695040888963407) & (2**63 - 1)
        mixed ^= mixed >> 29
    return mixed
