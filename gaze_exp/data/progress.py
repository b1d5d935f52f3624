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
def progress(total: int, *, what: str) -> Iterator[Advance]:
    """Show progress.

    Args:
        total: how many frames there are.
        what: is done with them, such as "converting".

    Yields:
        A function to be told how many frames were finished since last time.
    """
    if not sys.stdout.isatty():
        yield _Lines(total, what).advance
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as bar:
        task = bar.add_task(f"{what} frames", total=total)
        yield lambda num: bar.advance(task, num)


class _Lines:
    """Says how far it is and how long it will take, every ten seconds and at the end."""

    def __init__(self, total: int, what: str) -> None:
        self.total, self.what = total, what
        self.done = 0
        self.started = self.told = time.monotonic()
        self.lock = threading.Lock()

    def advance(self, num: int) -> None:
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
            log.info(
                "%s: %d of %d frames (%.0f frames/s, %s left)", self.what, self.done, self.total, rate, _span(left)
            )


def _span(seconds: float) -> str:
    """`42 s`, `7 min`, `3.2 h`."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
