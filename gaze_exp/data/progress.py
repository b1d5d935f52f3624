"""How far a long job is: a bar with the time that remains on a terminal, a line now and then elsewhere."""

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

log = logging.getLogger(__name__)

Advance = Callable[[int], None]
_SECONDS_BETWEEN_LINES = 10.0


@contextmanager
def progress(total: int, *, what: str, unit: str = "frames") -> Iterator[Advance]:
    """Show progress.

    Args:
        total: how many frames there are.
        what: is done with them, such as "converting".
        unit: what they are called.

    Yields:
        A function to be told how many were finished since last time.
    """
    if not sys.stdout.isatty():
        yield _Lines(total, what, unit).advance
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as bar:
        task = bar.add_task(f"{what} {unit}", total=total)
        yield lambda num: bar.advance(task, num)


class _Lines:
    """Says how far it is and how long it will take, every ten seconds and at the end."""

    def __init__(self, total: int, what: str, unit: str) -> None:
        self.total, self.what, self.unit = total, what, unit
        self.done = 0
        self.started = self.told = time.monotonic()
        self.lock = threading.Lock()

    def advance(self, num: int) -> None:
        """Count what was finished since last time, and say so where that is due."""
        if not num:
            return
        with self.lock:
            self.done += num
            now = time.monotonic()
            if self.done < self.total and now - self.told < _SECONDS_BETWEEN_LINES:
                return
            self.told = now
            rate = self.done / max(1e-9, now - self.started)
            left = max(0, self.total - self.done) / max(1e-9, rate)
            counted = f"{self.done} of {self.total} {self.unit}"
            log.info("%s: %s (%.0f %s/s, %s left)", self.what, counted, rate, self.unit, _span(left))


def _span(seconds: float) -> str:
    """`42 s`, `7 min`, `3.2 h`."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
