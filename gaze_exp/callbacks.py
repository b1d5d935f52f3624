"""What happens beside training: curves, pictures, plain progress lines."""

import logging
import math
import time
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger

from gaze_exp import draw
from gaze_exp.atomic_write import atomic_write
from gaze_exp.record import write_json

log = logging.getLogger(__name__)


class History(Callback):
    """Keeps the curves for the report, whatever logger is used, and survives a resume."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[dict[str, float]] = []
        self.loss_sum: torch.Tensor | float = 0.0
        self.num_losses = 0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Add the loss, a mean over the devices and left on this one, to the sum for the next row."""
        del pl_module, outputs, batch, batch_idx
        self.loss_sum = self.loss_sum + trainer.callback_metrics["train/loss_step"].double()
        self.num_losses += 1

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add a row of what has been measured by now."""
        del pl_module
        if trainer.sanity_checking:
            return
        measured = trainer.callback_metrics
        row = {"epoch": epochs_done(trainer), "step": float(trainer.global_step)}
        values = {"train/loss": float(self.loss_sum) / self.num_losses} if self.num_losses else {}
        values |= {name: float(measured[name]) for name in ("val/loss", "val/angular_error") if name in measured}
        self.loss_sum, self.num_losses = 0.0, 0
        row |= {name: value for name, value in values.items() if math.isfinite(value)}  # JSON has no word for others
        row["lr"] = float(trainer.optimizers[0].param_groups[0]["lr"])
        self.rows.append(row)
        if trainer.is_global_zero:
            write_json(self.path, {"rows": self.rows})

    def state_dict(self) -> dict[str, Any]:
        """Travel in the checkpoint."""
        return {"rows": [dict(row) for row in self.rows], "losses": [float(self.loss_sum), self.num_losses]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from the checkpoint's curves."""
        self.rows = list(state_dict["rows"])
        self.loss_sum, self.num_losses = state_dict.get("losses", (0.0, 0))


class ValidationPictures(Callback):
    """Draws the first samples of each validation: predicted gaze red, target green, error in degrees."""

    def __init__(self, folder: Path, *, num_pictures: int = 16) -> None:
        self.folder = folder
        self.num_pictures = num_pictures
        self.pictures: list[draw.Image] = []

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start anew."""
        del trainer, pl_module
        self.pictures = []

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        """Draw a few samples of each of the first batches, so that several persons are seen."""
        del pl_module, batch_idx
        missing = self.num_pictures - len(self.pictures)
        if missing <= 0 or not trainer.is_global_zero:
            return
        gaze, valid, predicted_gaze = (
            batch["gaze"].reshape(-1, 2),
            batch["valid"].flatten(),
            outputs["gaze"].reshape(-1, 2),
        )
        faces = batch["face"].flatten(0, -4)  # of a window, its frames
        chosen = torch.linspace(0, len(gaze) - 1, min(missing, 8)).long().unique()
        for index in chosen.tolist():
            target = gaze[index].float().cpu() if valid[index] else None
            face = draw.rgb_image(faces[index])
            predicted = predicted_gaze[index].detach().float().cpu()
            self.pictures.append(draw.validation_picture(face, predicted, target))

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write one grid, and hand it to the loggers that show pictures."""
        del pl_module
        if not self.pictures or trainer.sanity_checking:
            return
        picture = draw.grid(self.pictures)
        with atomic_write(self.folder / f"step{trainer.global_step:07d}.png") as temporary:
            temporary.write_bytes(draw.png_bytes(picture))
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.log_image("val/pictures", [picture], step=trainer.global_step)
            elif isinstance(logger, TensorBoardLogger):
                logger.experiment.add_image("val/pictures", picture, trainer.global_step, dataformats="HWC")


class PlainProgress(Callback):
    """One line a validation, for logs and pipes where a moving bar would be noise."""

    def __init__(self) -> None:
        self.started = 0.0
        self.first_step = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        del pl_module
        self.started = time.monotonic()
        self.first_step = trainer.global_step

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say where the run is, how good, how fast and how long it will take."""
        del pl_module
        if trainer.sanity_checking or not trainer.is_global_zero:
            return
        measured = trainer.callback_metrics
        elapsed = time.monotonic() - self.started
        steps = trainer.global_step - self.first_step
        left = elapsed / max(1, steps) * max(0, trainer.estimated_stepping_batches - trainer.global_step)
        log.info(
            "epoch %5.2f/%d  step %d  train loss %.4f  val loss %.4f  val angular error %.2f deg  %s left",
            epochs_done(trainer),
            trainer.max_epochs,
            trainer.global_step,
            _newest_row(trainer).get("train/loss", math.nan),
            measured.get("val/loss", math.nan),
            measured.get("val/angular_error", math.nan),
            f"{left / 60:.1f} min",
        )


def _newest_row(trainer: Trainer) -> dict[str, float]:
    """Of the curves, which stand before the progress in the order of callbacks; empty without them."""
    rows = [callback.rows[-1] for callback in trainer.callbacks if isinstance(callback, History) and callback.rows]  # type: ignore[attr-defined]
    return rows[-1] if rows else {}


def epochs_done(trainer: Trainer) -> float:
    """Epochs of training behind us, with their fraction."""
    per_epoch = trainer.estimated_stepping_batches / max(1, trainer.max_epochs or 1)
    return round(trainer.global_step / max(1.0, per_epoch), 3)
