"""Where the jobs of a sweep come from Hydra: what its launchers and sweepers hand over, and what they get back."""

import copy
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gaze_exp.errors import ConfigError, DataError
from gaze_exp.processes import ranks, requeue
from gaze_exp.sweep.content import job_overrides, key_of
from gaze_exp.sweep.job import BOOK, DONE, FAILED, Job, JobError, Outcome, read_book, run_job, write_book
from gaze_exp.sweep.slots import label_of, run_all, slot_environments

if TYPE_CHECKING:
    from hydra.core.utils import JobReturn
    from hydra.types import HydraContext
    from omegaconf import DictConfig


def is_sweeping() -> bool:
    """Whether this process is the worker of a launcher that has not started a process for the job itself."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def run_in_worker(cfg: "DictConfig") -> float | None:
    """Run the job that a launcher of Hydra's gave to this worker, in a process of its own.

    Args:
        cfg: of the job.

    Returns:
        Its objective; None where a grid goes on after a job that failed.

    Raises:
        JobError: it did not end well, and the sweeper wants to know.
    """
    from hydra.core.hydra_config import HydraConfig

    hydra = HydraConfig.get()
    asked = _job_of(cfg, number=int(hydra.job.num), folder=Path(hydra.runtime.output_dir))
    job = _placed(asked, places=_places(Path(str(hydra.sweep.dir))))
    with requeue.Handover() as handover:
        outcome = run_job(job, rank=ranks.found().rank, started=lambda running: handover.to(running.send))
        if outcome.status != DONE:
            handover.requeue_if_told()
    returned = _returned(outcome, sweeper=hydra.sweeper)
    if isinstance(returned, JobError):
        raise returned
    return returned


def launch(
    config: "DictConfig",
    context: "HydraContext",
    overrides: Sequence[Sequence[str]],
    *,
    first: int,
    num_slots: int,
) -> "list[JobReturn]":
    """Run a batch of jobs, each in a process of its own, and return when all have ended.

    Args:
        config: of the sweep, with Hydra's own part.
        context: of Hydra.
        overrides: of each job.
        first: number of the first.
        num_slots: jobs at a time.

    Raises:
        ConfigError: a job of a grid cannot run; none has been started.
    """
    from hydra.core.utils import JobReturn, JobStatus

    refused: dict[int, str] = {}
    jobs: dict[int, Job] = {}
    num_devices = 1
    places = _places(Path(str(config.hydra.sweep.dir)))
    for number, each in enumerate(overrides, start=first):
        try:
            jobs[number], devices = _composed(config, context, each, number=number, places=places)
            places[jobs[number].key] = jobs[number].folder
            num_devices = max(num_devices, devices)
        except (ConfigError, DataError) as error:
            if _is_grid(config.hydra.sweeper):
                raise
            refused[number] = str(error)  # an adaptive search may come upon what does not go together
    environments = slot_environments(num_slots, num_devices=num_devices)
    common = set.intersection(*(set(job.overrides) for job in jobs.values())) if len(jobs) > 1 else set()
    names = [label_of(job, common=sorted(common)) for job in jobs.values()]
    outcomes = dict(zip(jobs, run_all(list(jobs.values()), environments=environments, names=names), strict=True))
    outcomes |= {number: _refused(config, overrides[number - first], number, why) for number, why in refused.items()}
    returns = []
    for number, each in enumerate(overrides, start=first):
        value = _returned(outcomes[number], sweeper=config.hydra.sweeper)
        status = JobStatus.FAILED if isinstance(value, JobError) else JobStatus.COMPLETED
        returns.append(JobReturn(overrides=list(each), status=status, _return_value=value))
    return returns


def _composed(
    config: "DictConfig", context: "HydraContext", overrides: Sequence[str], *, number: int, places: dict[str, Path]
) -> tuple[Job, int]:
    """A job, checked as the run itself will be, and the devices that it asks for."""
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf, open_dict

    from gaze_exp.config import check

    composed = context.config_loader.load_sweep_config(config, list(overrides))
    with open_dict(composed):
        composed.hydra.job.id = composed.hydra.job.num = number
    before = HydraConfig.instance().cfg
    HydraConfig.instance().set_config(composed)
    try:
        cfg = OmegaConf.masked_copy(composed, [key for key in composed if key != "hydra"])
        with open_dict(cfg):
            cfg.run_dir = "."
        check(cfg)
        folder = Path(str(config.hydra.sweep.dir), str(OmegaConf.select(composed, "hydra.sweep.subdir"))).absolute()
        job = _job_of(cfg, number=number, folder=folder)
        return _placed(job, places=places), int(cfg.hardware.devices)
    finally:
        HydraConfig.instance().cfg = before


def _places(folder: Path) -> dict[str, Path]:
    """Key -> folder of each job that has begun in a sweep's folder."""
    return {read_book(path.parent).get("key", ""): path.parent.absolute() for path in sorted(folder.rglob(BOOK))}


def _placed(job: Job, *, places: dict[str, Path]) -> Job:
    """The job in the folder where it has begun before; else in its own, or the next one that no other job has."""
    folder, count = places.get(job.key, job.folder), 1
    taken = set(places.values()) if job.key not in places else set()
    while folder in taken:
        count += 1
        folder = job.folder.with_name(f"{job.folder.name}_{count}")
    return dataclasses.replace(job, folder=folder)


def _job_of(cfg: "DictConfig", *, number: int, folder: Path) -> Job:
    """The job that Hydra is set to at this moment."""
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import open_dict

    from gaze_exp.config import plain

    hydra = HydraConfig.get()
    overrides = job_overrides(list(hydra.overrides.task))
    anywhere = copy.deepcopy(cfg)
    with open_dict(anywhere):
        anywhere.run_dir = "."
    return Job(number, folder, overrides, key=key_of(overrides, plain(anywhere)), flags=_flags(hydra))


def _flags(hydra: Any) -> tuple[str, ...]:
    """The command line's flags that a job needs too, read from what they did."""
    folders = [each.path for each in hydra.runtime.config_sources if each.provider == "command-line"]
    return ("--config-dir", str(folders[-1])) if folders else ()


def _is_grid(sweeper: Any) -> bool:
    return str(sweeper._target_).endswith(".BasicSweeper")


def _returned(outcome: Outcome, *, sweeper: Any) -> "float | JobError | None":
    """What a sweeper is given: a grid looks at no value, and would stop at a job that failed; a search must know."""
    if outcome.status == DONE or _is_grid(sweeper):
        return outcome.objective
    return JobError(f"job {outcome.job.number} in {outcome.job.folder}: {outcome.why}")


def _refused(config: "DictConfig", overrides: Sequence[str], number: int, why: str) -> Outcome:
    folder = Path(str(config.hydra.sweep.dir), f"refused_{number}").absolute()
    job = Job(number, folder, job_overrides(overrides), key="")
    write_book(job, status=FAILED, objective=None, why=why, seconds=0.0, code=2)
    return Outcome(job, FAILED, None, seconds=0.0, why=why)
