"""A SLURM job that has to leave its machine: it saves, is put back into the queue, and goes on in the same folder.

SLURM announces the end in two ways, and one thing is done about each:

- **USR2**, asked for with `sbatch --signal=USR2@180` (seconds before the time limit; where the cluster is set up so,
  before a preemption too), by submitit, or sent by a person: the training writes `last.ckpt` at the end of its step,
  and rank 0 requeues the job. USR2 and not Lightning's USR1, because submitit, which the sweeps use, takes USR2, and
  because NCCL may catch USR1. Lightning's own requeue is off: it saves inside the signal handler, which may run in the
  middle of an optimiser's step, and in another step on every rank.
- **TERM**, the first word of a preemption and of `scancel`: the training writes `last.ckpt` and goes on until SLURM
  ends it. Whether the job comes back is SLURM's to decide then; one that ended by itself would not.

What starts again finds its folder and its checkpoint by the job's number (`ranks.joined`).
"""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

from gaze_exp.processes import ranks

log = logging.getLogger(__name__)

END = signal.SIGUSR2
SAVE = signal.SIGTERM
SAVED = 75
"""Exit code of a run that saved and wants to be started again: EX_TEMPFAIL of sysexits.h."""
FRUITLESS_RESTARTS = 5
"""After so many restarts, one that did no step is not followed by another."""
_PATIENCE_S = 120.0
"""For SLURM to end what it was told to requeue."""


class Notice:
    """What this process was told about its end."""

    def __init__(self) -> None:
        self.must_end = False
        """USR2 came: save, and be requeued."""
        self.must_save = False
        """TERM came: save, and go on."""
        self.is_training = False
        """The answer waits for the end of a step."""
        self.has_progressed = False
        """At least one step was done since this process began."""


notice = Notice()
"""Of this process."""


@contextmanager
def listening() -> Iterator[None]:
    """Answer SLURM's signals while the actions of a run are carried out; nothing changes outside a SLURM job."""
    is_told = ranks.found().launcher == "slurm" or _in_submitit()
    if not is_told or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (END, SAVE)}
    try:
        signal.signal(END, _on_end)
        listen_for_term()
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def listen_for_term() -> None:
    """Take TERM; again when the training begins, since Lightning takes it then and broadcasts inside the handler."""
    signal.signal(SAVE, _on_save)


def is_listening() -> bool:
    """Whether this process answers SLURM's signals."""
    return signal.getsignal(END) is _on_end


@contextmanager
def training() -> Iterator[None]:
    """Put the answer off to the end of a step, or of the training."""
    notice.is_training = True
    try:
        yield
    finally:
        notice.is_training = False
    if notice.must_end:
        leave()


def leave() -> NoReturn:
    """Requeue the job and end; what was saved last is what it goes on from.

    In a sweep the worker of submitit that started this process does the requeueing: it keeps count.
    """
    launch = ranks.found()
    if _in_submitit():
        sys.exit(SAVED)
    signal.signal(SAVE, signal.SIG_DFL)  # which is how SLURM ends what it requeues
    if launch.is_first:
        _requeue(launch.restarts)
    _wait_for_the_end()


def _wait_for_the_end() -> NoReturn:
    """SLURM ends all ranks of what it requeues; one that went first would let the batch script go on."""
    signal.signal(SAVE, signal.SIG_DFL)
    time.sleep(_PATIENCE_S)
    sys.exit(SAVED)


def _in_submitit() -> bool:
    return "SUBMITIT_EXECUTOR" in os.environ


def _on_end(number: int, frame: FrameType | None) -> None:
    del number, frame
    notice.must_end = True
    if not notice.is_training and ranks.found().is_first:
        leave()


def _on_save(number: int, frame: FrameType | None) -> None:
    del number, frame
    notice.must_save = True


def _requeue(restarts: int) -> None:
    """Put this job back into the queue; end with the reason where that cannot be."""
    if restarts >= FRUITLESS_RESTARTS and not notice.has_progressed:
        log.error("slurm: no step was done between this start and its end, nor is one expected of restart %d; "
                  "a longer --time is right", restarts + 1)  # fmt: skip
        sys.exit(1)
    job = job_number()
    try:
        done = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True, timeout=60, check=False)
        refused = (done.stderr or done.stdout).strip() if done.returncode else ""
    except (OSError, subprocess.TimeoutExpired) as error:
        refused = str(error)
    if refused:
        log.error("slurm: job %s was told to end and cannot be requeued: %s", job, refused)
        sys.exit(SAVED)
    log.info("slurm: job %s is requeued and goes on from its last checkpoint", job)


def job_number() -> str:
    """Of this job as `scontrol` takes it; of an array, with the place in it."""
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    return f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}" if array else os.environ["SLURM_JOB_ID"]


class Handover:
    """In a worker of submitit: signals go on to the process that does the job, and a requeue waits until it saved.

    A cluster with cgroups signals the worker alone, another all processes; hearing it twice does no harm.
    """

    def __init__(self) -> None:
        self._previous: dict[int, Any] = {}
        self._send: Callable[[int], None] | None = None
        self._must_end = False

    def __enter__(self) -> "Handover":
        """Take the signals from submitit."""
        if _in_submitit() and callable(signal.getsignal(END)):
            self._previous = {number: signal.signal(number, self._hand_on) for number in (END, SAVE)}
        return self

    def __exit__(self, *error: object) -> None:
        """Give them back."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def to(self, send: Callable[[int], None]) -> None:
        """Hand signals on to the job from now on.

        Args:
            send: gives a signal to the job's processes.
        """
        self._send = send
        if self._must_end:
            send(END)

    def requeue_if_told(self) -> None:
        """Let submitit requeue the job, whose process ended undone; does not return where the signal had come."""
        if self._must_end:
            self._previous[END](END, None)  # on rank 0 it requeues and ends this process, on others it returns
            _wait_for_the_end()

    def _hand_on(self, number: int, frame: FrameType | None) -> None:
        del frame
        self._must_end = self._must_end or number == END
        if self._send is not None:
            self._send(number)
