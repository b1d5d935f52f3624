"""The training's part of a requeue: a whole checkpoint, between two steps, agreed upon by all ranks."""

import logging
import math
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from gaze_exp.processes import requeue

log = logging.getLogger(__name__)


class SaveAtSignal(Callback):
    """Writes `last.ckpt` at the end of the step in which a signal came, and leaves if it said so.

    Args:
        folder: of the checkpoints.
    """

    def __init__(self, folder: Path) -> None:
        self.last = folder / "last.ckpt"

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take TERM back from Lightning, whose handler would call a collective in the middle of another."""
        del trainer, pl_module
        requeue.listen_for_term()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Ask all ranks whether one of them got a signal; save between steps, and not where a validation is due."""
        del pl_module, outputs, batch
        if (batch_idx + 1) % trainer.accumulate_grad_batches:
            return
        requeue.notice.has_progressed = True
        # A validation is not begun twice and not left out: it ends first, and the next step is saved.
        validated = trainer.val_check_batch or math.inf
        if (batch_idx + 1) % validated == 0 or batch_idx + 1 == trainer.num_training_batches:
            return
        notice = requeue.notice
        if not _any(trainer, notice.must_end or notice.must_save):
            return
        must_end = _any(trainer, notice.must_end)
        self._save(trainer)
        notice.must_save = False
        if must_end:
            notice.must_end = True
            requeue.leave()

    def _save(self, trainer: Trainer) -> None:
        best: Any = trainer.checkpoint_callback
        best.last_model_path = str(self.last)  # else it would take this file for another run's
        trainer.save_checkpoint(self.last, weights_only=False)
        log.info("slurm: a signal came; saved step %d to %s", trainer.global_step, self.last)


def _any(trainer: Trainer, value: bool) -> bool:
    """Whether it is so in any rank."""
    return bool(trainer.strategy.reduce_boolean_decision(value, all=False))
