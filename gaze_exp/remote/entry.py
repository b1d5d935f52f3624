"""Where the program hands over: a command line that means another machine runs nothing here."""

import logging
import sys
from datetime import datetime
from pathlib import Path

from gaze_exp.command_line import split_flags
from gaze_exp.config import check, compose, plain
from gaze_exp.errors import ConfigError
from gaze_exp.remote.settings import Remote, elsewhere

log = logging.getLogger(__name__)

SWEEP = {"-m", "--multirun"}
OWN_FOLDER = {"--config-dir", "-cd"}


def is_meant(arguments: list[str]) -> bool:
    """Whether a command line may mean another machine, or a dry run, at the cost of looking at its words alone."""
    flags, overrides = split_flags(arguments)
    if not set(flags) <= SWEEP | OWN_FOLDER:
        return False  # --cfg and the like only show something
    words = [override.lstrip("+") for override in overrides]
    return any(word.startswith(("remote=", "remote.", "dry_run=")) for word in words)


def hand_over(arguments: list[str]) -> int | None:
    """Do elsewhere what a command line asks for, or say what it would do.

    Args:
        arguments: as typed, `+task=` and `~/` made good.

    Returns:
        Exit status; None where it means a run here.

    Raises:
        ConfigError: that cannot be done, with the remedy.
        DataError: a file cannot be used.
    """
    flags, overrides = split_flags(arguments)
    if SWEEP & set(flags):
        _refuse_sweep(overrides)
        return None
    config_dir = flags.get("--config-dir") or flags.get("-cd")
    cfg = compose([*overrides, "run_dir=."], config_dir=config_dir)
    remote = Remote(**plain(cfg.remote))
    is_elsewhere = elsewhere(remote)
    if not is_elsewhere and not cfg.dry_run:
        return None
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout, force=True)
    if not (remote.attach or remote.status or remote.cancel):
        check(cfg)
    if not is_elsewhere:
        log.info("would run here: %s", ", ".join(cfg.actions))
        return 0
    from gaze_exp.remote.job import run_elsewhere

    here = Path(_run_dir(overrides, task=cfg.task_name))
    return run_elsewhere(remote, plain(cfg), overrides, config_dir=config_dir, here=here)


def _refuse_sweep(overrides: list[str]) -> None:
    """Refuse `-m` with another machine; its values are not looked at, for no single config holds them."""
    for override in overrides:
        key, _, value = override.lstrip("+").partition("=")
        if key.startswith(("remote", "dry_run")) and value not in {"here", "false"}:
            raise ConfigError(
                f"{key}: a sweep runs where it is started; -m on that machine, or one run at a time here, is right"
            )


def _run_dir(overrides: list[str], *, task: str) -> str:
    """The run folder here: as typed, else as every run has it."""
    typed = [o.partition("=")[2].strip("'\"") for o in overrides if o.startswith("hydra.run.dir=")]
    return typed[-1] if typed else f"outputs/{task}/{datetime.now().astimezone():%Y-%m-%d_%H-%M-%S-%f}"
