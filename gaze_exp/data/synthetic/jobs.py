"""Many files to render: one thread a core, a bar, and an end at once when someone presses Ctrl-C.

A job is one file or one folder that appears under its own name only when it is whole. A rendering that was
stopped goes on with the jobs whose results are missing.
"""

import contextlib
import fcntl
import logging
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import torch

from gaze_exp.data.disk_space import require_space
from gaze_exp.data.progress import progress
from gaze_exp.errors import DataError
from gaze_exp.processes.cores import one_torch_thread

log = logging.getLogger(__name__)

OnFrames = Callable[[int], None]
"""Told how many frames were finished since last time; an exception from it stops the job."""


@dataclass(frozen=True)
class Job:
    """One file or folder to write."""

    path: Path
    num_frames: int
    num_bytes: int
    """About as large as the result."""
    write: Callable[[OnFrames], None]
    """Writes `path`, whole or not at all."""


class _Stopped(Exception):  # noqa: N818  not an error: someone pressed Ctrl-C, or another job failed
    pass


def run_jobs(jobs: Sequence[Job], *, folder: Path) -> None:
    """Do all jobs, one a thread, one thread a core; torch itself must not split its work again.

    Args:
        jobs: what to write.
        folder: for the messages.

    Raises:
        DataError: the disk is too small.
    """
    require_space(folder, sum(job.num_bytes for job in jobs), remedy="render less (fewer frames or persons)")
    num_threads = max(1, min(torch.get_num_threads(), len(jobs)))
    stop = threading.Event()
    with one_torch_thread(), progress(sum(job.num_frames for job in jobs), what="rendering") as tell:

        def on_frames(num: int) -> None:
            if stop.is_set():
                raise _Stopped
            tell(num)

        def work(job: Job) -> None:
            if not stop.is_set():
                job.write(on_frames)

        with ThreadPoolExecutor(num_threads) as pool:
            futures = [pool.submit(work, job) for job in jobs]
            try:
                done, _ = wait(futures, return_when=FIRST_EXCEPTION)
                for future in done:
                    future.result()
            finally:
                stop.set()


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Make a folder and keep other runs out of it: the second says that it waits, and finds what the first has made.

    Args:
        folder: made if it is not there.

    Raises:
        DataError: it cannot be written, now or inside the `with` block.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / LOCK).open("w", encoding="utf-8") as lock:
            _wait_for(lock, folder)
            yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise DataError(f"data.root: cannot write to {folder}: {reason}; choose another data.root") from error


def _wait_for(lock: IO[str], folder: Path) -> None:
    """Lock a file; tell the user when someone else has it."""
    with contextlib.suppress(OSError):  # a file system without locks
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info("another run is writing to %s; waiting until it has ended (Ctrl-C gives up)", folder)
            fcntl.flock(lock, fcntl.LOCK_EX)


LOCK = ".lock"
PARTIAL = ".partial"


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Give a folder to fill; it gets its own name on a clean exit and is removed otherwise.

    Args:
        path: the folder that is to appear.

    Yields:
        An empty folder beside it; what a killed process left there is gone.
    """
    temporary = path.with_name(f".{path.name}{PARTIAL}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        temporary.replace(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
