"""A line now and then about a fit that takes long."""

import logging
import math
import time
from collections.abc import Mapping

EVERY_S = 10.0

log = logging.getLogger(__name__)


class EpochLines:
    """A line about a fit that takes long, every ten seconds.

    Args:
        what: is trained, or left out of training.
        epochs: at most.
    """

    def __init__(self, what: str, epochs: int) -> None:
        self.what = what
        self.epochs = epochs
        self.told = time.monotonic()

    def say(self, row: Mapping[str, float]) -> None:
        """Tell of an epoch: its number, loss and error."""
        if time.monotonic() - self.told < EVERY_S:
            return
        self.told = time.monotonic()
        error = f", {row['val_error_deg']:.2f} deg in early stopping" if "val_error_deg" in row else ""
        rmse = math.sqrt(row.get("train_loss", 0.0))
        log.info(
            "finetune: %s: epoch %d of at most %d, %.2f deg (rms) in training%s",
            self.what, row["epoch"], self.epochs, rmse, error,
        )  # fmt: skip
