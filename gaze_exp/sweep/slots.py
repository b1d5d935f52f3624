"""Jobs of a sweep side by side, each in a slot that has its part of the machine."""

import logging
import os
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from gaze_exp.errors import ConfigError
from gaze_exp.processes.cores import num_cores
from gaze_exp.sweep.job import CONSOLE, DONE, Job, Outcome, RunningJob, finished, write_book

log = logging.getLogger(__name__)

_POLL_S = 0.05
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


def run_all(jobs: Sequence[Job], *, environments: Sequence[dict[str, str]], names: Sequence[str]) -> list[Outcome]:
    """Run jobs, as many at a time as there are slots, until the last has ended.

    Jobs with one content run once; what was finished before does not run again; a job that fails leaves the others
    alone.

    Args:
        jobs: in the order in which they begin.
        environments: one of each slot: what is set in its jobs.
        names: of the jobs, for the log: what tells each from the others.

    Returns:
        The outcome of each.

    Raises:
        KeyboardInterrupt: after all jobs were told to end, and have.
    """
    label = dict(zip((job.key for job in jobs), names, strict=True))
    once = {job.key: job for job in jobs}
    outcomes = {job.key: before for job in once.values() if (before := _done_before(job, name=label[job.key]))}
    waiting = [job for job in reversed(once.values()) if job.key not in outcomes]  # the next is the last
    running: dict[int, RunningJob] = {}
    clock = _Clock(len(waiting), num_slots=len(environments))
    try:
        while waiting or running:
            for slot in [slot for slot in range(len(environments)) if slot not in running][: len(waiting)]:
                job = waiting.pop()
                log.info("sweep: %s: begins; its log is %s", label[job.key], shown(job.folder / CONSOLE))
                running[slot] = RunningJob(job, environment=environments[slot])
            ended = {slot: outcome for slot, each in running.items() if (outcome := each.outcome())}
            for slot, outcome in ended.items():
                del running[slot]
                outcomes[outcome.job.key] = outcome
                _say(outcome, name=label[outcome.job.key], left=clock.tick(outcome))
            time.sleep(_POLL_S)
    except BaseException:
        _stop(running.values())
        num_done = sum(outcome.status == DONE for outcome in outcomes.values())
        log.warning("sweep: stopped; %d of %d jobs are done", num_done, len(once))
        raise
    return [outcomes[job.key] for job in jobs]


def _done_before(job: Job, *, name: str) -> Outcome | None:
    before = finished(job)
    if before:
        write_book(job, status=DONE, objective=before.objective, seconds=before.seconds)
        log.info("sweep: %s: done before, %s", name, _value(before))
    return before


def _stop(running: Iterable[RunningJob]) -> None:
    """Tell all at once, then wait for each."""
    running = list(running)
    for each in running:
        each.interrupt()
    for each in running:
        each.wait_for_end()


def shown(path: Path) -> Path:
    """A path as it can be typed from the current folder."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def slot_environments(num_slots: int, *, num_devices: int = 1) -> list[dict[str, str]]:
    """What each slot's jobs are told of the machine.

    One slot has all of it. Several have an equal share of the GPUs, or share one where there are too few, and of the
    threads, unless the environment says how many.

    Args:
        num_slots: jobs at a time.
        num_devices: the most that a job asks for; of GPUs, it must have them to itself.

    Raises:
        ConfigError: no slots, or too few GPUs for them.
    """
    if num_slots < 1:
        raise ConfigError(f"hydra.launcher.num_slots: {num_slots} is no number of jobs; 1 or more is")
    if num_slots == 1:
        return [{}]
    threads = max(1, num_cores() // num_slots)
    common = {name: str(threads) for name in _THREADS if name not in os.environ}
    gpus = visible_gpus()
    if not gpus:
        return [common] * num_slots
    if num_devices > 1 and num_devices * num_slots > len(gpus):
        right = max(len(gpus) // num_devices, 1)
        raise ConfigError(
            f"hydra.launcher.num_slots: {num_slots} jobs at a time with hardware.devices={num_devices} need "
            f"{num_slots * num_devices} GPUs, {len(gpus)} are here; {right} would be right"
        )
    share = max(len(gpus) // num_slots, 1)
    mine = [[gpus[(slot * share + i) % len(gpus)] for i in range(share)] for slot in range(num_slots)]
    return [{**common, "CUDA_VISIBLE_DEVICES": ",".join(each)} for each in mine]


def visible_gpus() -> list[str]:
    """The CUDA devices that this process may use, asked without torch, which takes seconds to import."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [each.strip() for each in named.split(",") if each.strip() not in {"", "-1", "NoDevFiles"}]
    asks = shutil.which("nvidia-smi")
    if asks is None:
        return []
    command = [asks, "--query-gpu=index", "--format=csv,noheader"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    return answer.stdout.split() if answer.returncode == 0 else []


class _Clock:
    """Guesses how long the rest takes."""

    def __init__(self, num_jobs: int, *, num_slots: int) -> None:
        self.num_jobs = num_jobs
        self.num_slots = num_slots
        self.seconds: list[float] = []

    def tick(self, outcome: Outcome) -> str:
        """Count a job that has ended; how much is left, in words."""
        self.seconds.append(outcome.seconds)
        rest = self.num_jobs - len(self.seconds)
        minutes = sum(self.seconds) / len(self.seconds) * rest / self.num_slots / 60
        return f"; {rest} left, about {minutes:.0f} min" if rest else ""


def _say(outcome: Outcome, *, name: str, left: str) -> None:
    if outcome.status == DONE:
        log.info("sweep: %s: %s in %.0f s%s", name, _value(outcome), outcome.seconds, left)
    else:
        log.error("sweep: %s: failed: %s (see %s)%s", name, outcome.why, shown(outcome.job.folder / CONSOLE), left)


def _value(outcome: Outcome) -> str:
    return "no objective" if outcome.objective is None else f"objective {outcome.objective:.4g}"


def label_of(job: Job, *, common: Sequence[str]) -> str:
    """A job in a few words: its number and what tells it from the others.

    Args:
        job: the job.
        common: overrides that all jobs share.
    """
    own = shlex.join(each for each in job.overrides if each not in common)
    return f"{job.number} {own}".strip()
