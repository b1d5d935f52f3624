"""How far a long part is: a bar on a terminal, a line now and then elsewhere."""

import logging
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

EVERY_S = 10.0

log = logging.getLogger(__name__)


@contextmanager
def counted(total: int, *, what: str) -> Iterator[Callable[[int], None]]:
    """Give a function that is told how many more are done.

    Args:
        total: of all.
        what: is counted, in the plural.
    """
    if not sys.stdout.isatty():
        yield _Lines(total, what).advance
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda num: bar.advance(task, num)


class _Lines:
    """Says how far it is, every ten seconds and at the end."""

    def __init__(self, total: int, what: str) -> None:
        self.total = total
        self.what = what
        self.done = 0
        self.started = self.told = time.monotonic()

    def advance(self, num: int) -> None:
        self.done += num
        now = time.monotonic()
        if self.done < self.total and now - self.told < EVERY_S:
            return
        self.told = now
        rate = self.done / max(1e-9, now - self.started)
        left = (self.total - self.done) / max(1e-9, rate)
        log.info("finetune: %d of %d %s (%.0f/s, %.0f s left)", self.done, self.total, self.what, rate, left)


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
