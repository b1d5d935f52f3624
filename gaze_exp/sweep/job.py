"""One job of a sweep: the command that a person would type, in a process of its own.

A job that crashes, is killed or runs out of memory costs itself alone, and gives its memory, CPU's and GPU's, back.
Its folder holds `console.log` (all it said), `result.json` (written by the job itself as its last act: what makes it
finished) and `job.json` (written here: what became of it).
"""

import contextlib
import dataclasses
import json
import logging
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gaze_exp.command_line import has_begun, quoted
from gaze_exp.processes.folder_lock import wait_until_free
from gaze_exp.sweep.in_job import ENVIRONMENT, JobNote

log = logging.getLogger(__name__)

DONE, FAILED, STOPPED = "done", "failed", "stopped"
CONSOLE, RESULT, BOOK = "console.log", "result.json", "job.json"
_GRACE_S = 30.0
"""For a job to end in order once it is told to, with its checkpoint written."""


@dataclass(frozen=True)
class Job:
    """What a job is."""

    number: int
    folder: Path
    overrides: tuple[str, ...]
    """As a person would type them, without `hydra.mode` and `hydra.run.dir`."""
    key: str
    """Of its content (`content.key_of`): jobs with equal keys have equal results."""
    flags: tuple[str, ...] = ()
    """What stands before the overrides, such as `--config-dir my_conf`."""


@dataclass(frozen=True)
class Outcome:
    """What became of a job."""

    job: Job
    status: str
    """`done`, `failed`, or `stopped` by a person."""
    objective: float | None
    """What the sweep ranks by; None where the job failed, or its actions have none."""
    seconds: float
    why: str = ""
    """Of a job that is not done: one line."""
    was_finished: bool = False
    """It was done before and did not run again."""


class JobError(RuntimeError):
    """A job of a sweep did not end well; says which, why, and where its log is."""


def run_job(
    job: Job,
    *,
    environment: Mapping[str, str] | None = None,
    rank: int = 0,
    started: "Callable[[RunningJob], None] | None" = None,
) -> Outcome:
    """Run one job as a fresh process and wait for it; a finished one is not run again, a half-done one goes on.

    Call it in whatever process a launcher provides. That process may be killed: the job ends with it.

    Args:
        job: what to run, and in which folder.
        environment: set in the job beside what this process has, such as `CUDA_VISIBLE_DEVICES`.
        rank: where a cluster starts the same job several times at once, which of them this is. Rank 0 keeps the
            folder's books; the others run the command alone, and log to `console_rank1.log`, ...
        started: is told of the process when it has begun.

    Returns:
        What became of it: a job that fails is an outcome, no exception.

    Raises:
        KeyboardInterrupt: after the job was told to end, and has.
    """
    if before := finished(job):  # whatever the rank: one alone would wait for the others
        if rank == 0:
            write_book(job, status=DONE, objective=before.objective, seconds=before.seconds)
        return before
    running = RunningJob(job, environment=environment, rank=rank)
    try:
        if started:
            started(running)
        while (outcome := running.outcome()) is None:
            time.sleep(0.05)
    except BaseException:
        running.interrupt()
        running.wait_for_end()
        raise
    return outcome


def finished(job: Job) -> Outcome | None:
    """The outcome of a job that has been done before with the same content; None where it has to run."""
    result = read_json(job.folder / RESULT)
    if result.get("key") != job.key:
        return None
    return Outcome(job, DONE, result["objective"], seconds=result["seconds"], was_finished=True)


class RunningJob:
    """A job that has been started; ask `outcome()` now and then.

    Args:
        job: what to run.
        environment: set in the job beside what this process has.
        rank: as of `run_job`.
    """

    def __init__(self, job: Job, *, environment: Mapping[str, str] | None = None, rank: int = 0) -> None:
        self.job = job
        self.rank = rank
        self._begin = time.monotonic()
        self._log = job.folder / (CONSOLE if rank == 0 else f"console_rank{rank}.log")
        job.folder.mkdir(parents=True, exist_ok=True)
        if rank == 0:
            wait_until_free(job.folder)
        # The job reads one end until nobody holds the other: then its sweep is gone, and so shall it be.
        its_end, self._lifeline = os.pipe()
        note = JobNote(key=job.key, result=None if rank else str(job.folder / RESULT), lifeline=its_end)
        self._log_start = self._log.stat().st_size if self._log.is_file() else 0
        with self._log.open("ab") as console:
            self._process = subprocess.Popen(
                command(job),
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {}), ENVIRONMENT: note.to_json()},
                pass_fds=[its_end],
                process_group=0,  # Ctrl-C is for the sweep, which passes it on; and its ranks end with it
            )
        os.close(its_end)
        self._write(status="running", process=self._process.pid, host=platform.node())

    def outcome(self) -> Outcome | None:
        """What became of the job; None while it runs."""
        code = self._process.poll()
        if code is None:
            return None
        return self._ended(code, stopped=False)

    def interrupt(self) -> None:
        """Send what Ctrl-C sends, to all processes of the job, without waiting."""
        self.send(signal.SIGINT)

    def wait_for_end(self) -> None:
        """Wait until a job that was interrupted has ended; another Ctrl-C, or too long a wait, kills it."""
        try:
            self._process.wait(_GRACE_S)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            self.send(signal.SIGKILL)
        self._ended(self._process.wait(), stopped=True)

    def _ended(self, code: int, *, stopped: bool) -> Outcome:
        self.send(signal.SIGKILL)  # ranks that outlived the first one
        os.close(self._lifeline)
        seconds = round(time.monotonic() - self._begin, 2)
        done = finished(self.job) if self.rank == 0 else None
        if done:  # its last act: whatever came after does not count
            outcome = dataclasses.replace(done, seconds=seconds, was_finished=False)
        elif code == 0 and self.rank:
            outcome = Outcome(self.job, DONE, None, seconds=seconds)
        else:
            why = "stopped by Ctrl-C" if stopped else self._why(code)
            outcome = Outcome(self.job, STOPPED if stopped else FAILED, None, seconds=seconds, why=why)
        self._write(status=outcome.status, objective=outcome.objective, why=outcome.why, seconds=seconds, code=code)
        return outcome

    def send(self, number: int) -> None:
        """Send a signal to all processes of the job."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    def _write(self, **state: Any) -> None:
        if self.rank == 0:
            write_book(self.job, **state)

    def _why(self, code: int) -> str:
        if code < 0:
            name = signal.Signals(-code).name
            hint = ", which is also how a system ends what takes too much memory" if name == "SIGKILL" else ""
            return f"killed by {name}{hint}"
        with self._log.open("rb") as file:
            file.seek(max(self._log_start, self._log.stat().st_size - 20_000))
            said = [line.strip() for line in file.read().decode(errors="replace").splitlines() if line.strip()]
        return said[-1].removeprefix("error: ") if said and code else f"ended with code {code} and without a result"


def end_strays(folder: Path, *, attempt: str) -> None:
    """End what a stopped sweep has left running: jobs of workers that live on without it, on this machine.

    Args:
        folder: of the sweep.
        attempt: whose jobs are meant.
    """
    for path in folder.rglob(BOOK):
        book = read_json(path)
        if (book.get("attempt"), book.get("status"), book.get("host")) == (attempt, "running", platform.node()):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(book["process"], signal.SIGTERM)


def command(job: Job) -> list[str]:
    """What starts a job: the command that a person would type, told its folder, and to go on where it has begun."""
    goes_on = [f"resume={quoted(job.folder)}"] if has_begun(job.folder) else []
    where = [*goes_on, "hydra.mode=RUN", f"hydra.run.dir={quoted(job.folder)}"]
    return [sys.executable, "-m", "gaze_exp", *job.flags, *job.overrides, *where]


def write_book(job: Job, **state: Any) -> None:
    """Write `job.json` of a job: what it is and, in `state`, what became of it."""
    from gaze_exp.record import write_json

    about = {"key": job.key, "number": job.number, "overrides": list(job.overrides), "flags": list(job.flags)}
    write_json(job.folder / BOOK, {**about, "attempt": os.environ.get("GAZE_EXP_SWEEP", ""), **state})


def read_book(folder: Path) -> dict[str, Any]:
    """`job.json` of a folder; empty where it has none."""
    return read_json(folder / BOOK)


def read_json(path: Path) -> dict[str, Any]:
    """Plain data of a file; empty where there is none, or half of one."""
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content
