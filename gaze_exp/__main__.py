"""Read the config, check it, run the actions it names."""

import importlib
import logging
import os
import sys
import time
from pathlib import Path
from typing import NoReturn

from omegaconf import DictConfig

from gaze_exp import __version__
from gaze_exp.command_line import config_folders, explain, python_path_of_here, rewrite
from gaze_exp.config import check, check_early, conf_dir, register_schema
from gaze_exp.errors import ConfigError, DataError
from gaze_exp.help import help_text
from gaze_exp.processes import ranks, requeue
from gaze_exp.record import remove_if_empty
from gaze_exp.remote.entry import hand_over, is_meant
from gaze_exp.sweep import begin, in_job, refusals
from gaze_exp.sweep.objective import choose

log = logging.getLogger(__name__)


def run(cfg: DictConfig) -> None:
    """Run the actions of a config in order, and tell a sweep that waits for it what came of them."""
    check(cfg)
    log.info("gaze_exp %s: %s -> %s", __version__, ", ".join(cfg.actions), cfg.run_dir)
    objectives: dict[str, float] = {}
    started = time.monotonic()
    for name in filter(ranks.takes_part, cfg.actions):
        result = importlib.import_module(f"gaze_exp.actions.{name}").run(cfg)
        if result is not None:
            objectives[name] = float(result)
    if in_job.is_job():
        chosen = choose(objectives, wanted=cfg.sweep.objective, folder=Path(cfg.run_dir))
        in_job.report(objectives, objective=chosen, seconds=time.monotonic() - started)
    log.info("done: %s", cfg.run_dir)


def _run_or_say_why_not(cfg: DictConfig) -> float | None:
    """What Hydra calls: a run, or a job of a sweep whose launcher has no process of its own for it."""
    from gaze_exp.sweep import multirun

    if multirun.is_sweeping():
        return multirun.run_in_worker(cfg)
    try:
        with requeue.listening():
            run(cfg)
    except (ConfigError, DataError) as error:
        remove_if_empty(Path(cfg.run_dir))
        if _wants_trace():
            raise
        _refuse(str(error))
    return None


def _wants_trace() -> bool:
    return os.environ.get("GAZE_EXP_TRACE") == "1"


def _refuse(reason: str) -> NoReturn:
    sys.stderr.write(f"error: {reason}\n")
    sys.exit(2)


def _show_help() -> None:
    try:
        sys.stdout.write(help_text(config_folders(sys.argv[1:])) + "\n")
    except ConfigError as error:
        _refuse(str(error))


def _reason(error: Exception) -> str:
    if isinstance(error, (ConfigError, DataError)):
        return str(error)
    if isinstance(error, OSError) and error.errno:  # Hydra's missing config is an OSError too
        where = error.filename or "a file"
        return f"{where}: {error.strerror or error}; another run folder is chosen with hydra.run.dir=FOLDER"
    return explain(error, sys.argv[1:])


def main() -> None:
    """Entry point of `python -m gaze_exp` and of the console script `gaze-exp`."""
    if {"--help", "-h"} & set(sys.argv[1:]):
        _show_help()
        return
    import hydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    in_job.take_note()
    python_path_of_here()
    os.environ["HYDRA_FULL_ERROR"] = "1"  # let errors reach us instead of Hydra's own printer
    try:
        refusals.refuse_broken_plugins()
        register_schema()
        sys.argv[1:] = rewrite(sys.argv[1:])
        config_folders(sys.argv[1:])
        if is_meant(sys.argv[1:]) and (status := hand_over(sys.argv[1:])) is not None:
            sys.exit(status)
        planned = check_early(sys.argv[1:])
        with (
            ranks.joined(sys.argv[1:], planned=planned) as sys.argv[1:],
            begin.sweeping(sys.argv[1:]) as sys.argv[1:],
        ):
            hydra.main(version_base="1.3", config_path=conf_dir(), config_name="config")(_run_or_say_why_not)()
    except KeyboardInterrupt:
        sys.stderr.write("\nstopped; the same command begins again where it can\n")
        sys.exit(130)
    except (ConfigError, DataError, HydraException, OmegaConfBaseException, OSError) as error:
        if _wants_trace():
            raise
        _refuse(_reason(error))


if __name__ == "__main__":
    main()
