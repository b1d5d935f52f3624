"""Begin a sweep, or go on with one, and sum it up at its end."""

import itertools
import json
import logging
import os
import shlex
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gaze_exp.command_line import quoted, split_flags
from gaze_exp.errors import ConfigError
from gaze_exp.sweep.job import end_strays
from gaze_exp.sweep.refusals import refuse_for_one_run, refuse_missing_extras

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override
    from omegaconf import DictConfig

log = logging.getLogger(__name__)

SWEEP = "sweep.json"
_MOST_CHECKED = 32
"""Of the values of one key: more are numbers in a row, or too many to try before the first job."""
_NOT_ITS_CONTENT = ("hydra.sweep.dir=", "hydra/launcher=", "hydra.launcher.", "hydra.verbose=", "sweep.resume=")
"""Overrides that say where and how the jobs of a sweep run, not which there are."""


@dataclass(frozen=True)
class Sweep:
    """A sweep that is about to begin."""

    folder: Path
    key: str
    command: str
    more: tuple[str, ...]
    """Overrides that it gets beside those typed."""
    maximise: bool
    flags: tuple[str, ...]


@contextmanager
def sweeping(arguments: list[str]) -> Iterator[list[str]]:
    """Let Hydra sweep where that is asked for: in a checked way, in a folder where it can go on, with a summary.

    Args:
        arguments: as `command_line.rewrite` leaves them.

    Yields:
        The arguments for Hydra; a plain run's are left as they are.

    Raises:
        ConfigError: a job that cannot run, or a combination that cannot work; nothing has been started.
        SystemExit: 1, where a job failed; the others have been run.
    """
    flags, overrides = split_flags(arguments)
    if not is_sweep(arguments):
        yield arguments
        return
    from gaze_exp.processes import folder_lock

    sweep = _prepare(flags, overrides)
    attempt = f"{time.time():.6f}"
    os.environ["GAZE_EXP_SWEEP"] = attempt  # the jobs of this attempt say so in their books
    with folder_lock.hold(sweep.folder):
        _write(sweep, finished=False)
        try:
            yield [*arguments, *sweep.more]
        except KeyboardInterrupt:
            end_strays(sweep.folder, attempt=attempt)
            _sum_up(sweep, attempt)
            raise
        except Exception as error:
            if _sum_up(sweep, attempt) == 0:
                _remove_if_nothing_began(sweep.folder)
                raise
            log.warning("sweep: ended by %s", str(error).strip() or type(error).__name__)
            sys.exit(1)
        num_failed = _sum_up(sweep, attempt)
        _write(sweep, finished=num_failed == 0)
        if num_failed:
            sys.exit(1)


def is_sweep(arguments: list[str]) -> bool:
    """Whether a command asks for a sweep, and not just to be shown something of it."""
    flags, _ = split_flags(arguments)
    asks = bool({"-m", "--multirun"} & set(flags))
    return asks and set(flags) <= {"-m", "--multirun", "--config-dir", "-cd"}


def _prepare(flags: dict[str, str], overrides: list[str]) -> Sweep:
    refuse_missing_extras(overrides)
    refuse_for_one_run(overrides)
    config_dir = flags.get("--config-dir") or flags.get("-cd")
    config = _check_values(overrides, config_dir=config_dir)
    hydra = config.hydra
    more = _optuna_defaults(config, overrides)
    its_content = sorted(each for each in overrides if not each.startswith(_NOT_ITS_CONTENT))
    key = json.dumps([*its_content, f"--config-dir={config_dir}"])
    folder = _folder(config, overrides, key=key)
    _refuse_strangers(folder, launcher=str(hydra.launcher._target_), key=key)
    _let_workers_import()
    return Sweep(
        folder=folder.absolute(),
        key=key,
        command=shlex.join(["python", "-m", "gaze_exp", *(w for pair in flags.items() for w in pair if w), *overrides]),
        more=(*more, f"hydra.sweep.dir={quoted(folder)}"),
        maximise="maximize" in str(hydra.sweeper.get("direction", "")),
        flags=("--config-dir", config_dir) if config_dir else (),
    )


def _check_values(overrides: list[str], *, config_dir: str | None) -> "DictConfig":
    """Compose and check so many jobs that every value of every key is in one of them.

    A value that is wrong in each job is found before the first begins, whatever launcher and sweeper are chosen.
    """
    import hydra
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from omegaconf import open_dict

    from gaze_exp.config import check, hydra_here

    searchpath = [f'hydra.searchpath=["{Path(config_dir).resolve()}"]'] if config_dir else []
    with hydra_here() as loader:
        parser = OverridesParser.create(config_loader=loader)
        parsed = parser.parse_overrides(overrides)
        fixed = [each.input_line or "" for each in parsed if not each.is_sweep_override()]
        first = hydra.compose("config", overrides=[*searchpath, *fixed], return_hydra_config=True)
        params = [f"{key}={value}" for key, value in (first.hydra.sweeper.get("params") or {}).items()]
        typed = {each.key_or_group for each in parsed}
        parsed += [each for each in parser.parse_overrides(params) if each.key_or_group not in typed]
        values = [_values(each) for each in parsed]
        for number in range(max(map(len, values), default=1)):
            job = [of_one[number % len(of_one)] for of_one in values]
            config = hydra.compose("config", overrides=[*searchpath, *job, "run_dir=."], return_hydra_config=True)
            with open_dict(config):
                del config["hydra"]
            check(config)
    return first


def _values(override: "Override") -> list[str]:
    """What an override comes to in the jobs of a sweep, as overrides without a sweep: both ends of a range."""
    if not override.is_sweep_override():
        return [override.input_line or ""]
    key = override.get_key_element()
    if override.is_interval_sweep():
        value: Any = override.value()
        return [f"{key}={value.start}", f"{key}={value.end}"]
    values = [f"{key}={value}" for value in itertools.islice(override.sweep_string_iterator(), 10_000)]
    if override.is_range_sweep() or len(values) > _MOST_CHECKED:
        return [values[0], values[-1]]
    return values


def _optuna_defaults(config: "DictConfig", overrides: list[str]) -> list[str]:
    """Where Optuna's own defaults would spoil a sweep, ours, unless a person has typed another."""
    sweeper = config.hydra.sweeper
    if "max_failure_rate" not in sweeper:
        return []
    ours = {
        "hydra.sweeper.max_failure_rate": 1.0,  # a trial that fails costs itself
        "hydra.sweeper.n_jobs": config.hydra.launcher.get("num_slots", sweeper.n_jobs),  # drawn at once
    }
    if sweeper.sampler.get("seed", 0) is None:
        ours["hydra.sweeper.sampler.seed"] = 0  # a sweep that goes on draws the same again, and finds it done
    return [f"{key}={value}" for key, value in ours.items() if not any(o.startswith(f"{key}=") for o in overrides)]


def _folder(config: "DictConfig", overrides: list[str], *, key: str) -> Path:
    """Where the sweep's results go: what is typed; else this command's last sweep that did not end; else a new one."""
    from hydra.core.hydra_config import HydraConfig

    before = HydraConfig.instance().cfg
    HydraConfig.instance().set_config(config)
    try:
        configured = Path(str(config.hydra.sweep.dir))
    finally:
        HydraConfig.instance().cfg = before
    resumes = bool(config.sweep.resume)
    if any(each.startswith("hydra.sweep.dir=") for each in overrides):
        if (configured / SWEEP).is_file() and not resumes:
            raise ConfigError(
                f"sweep.resume: false begins afresh, and {configured} holds a sweep; "
                "another hydra.sweep.dir would be right"
            )
        return configured
    if not resumes:
        return configured
    for book in sorted(configured.parent.glob(f"*/{SWEEP}"), reverse=True):
        about = json.loads(book.read_text(encoding="utf-8"))
        if about["key"] == key and not about["finished"]:
            log_line = f"sweep: goes on in {book.parent}; sweep.resume=false would begin afresh"
            sys.stdout.write(log_line + "\n")  # no logging yet: Hydra sets it up later
            return book.parent
    return configured


def _refuse_strangers(folder: Path, *, launcher: str, key: str) -> None:
    """Only our launcher finds a job's folder by its content; the others would mix up two sweeps in one folder."""
    book = folder / SWEEP
    if launcher.endswith(".ProcessLauncher") or not book.is_file():
        return
    about = json.loads(book.read_text(encoding="utf-8"))
    if about["key"] != key:
        raise ConfigError(
            f"hydra.sweep.dir: {folder} holds another sweep ({about['command']}); another folder, or "
            "hydra/launcher=process, which can add to it, would be right"
        )


def _let_workers_import() -> None:
    """Let the workers of other launchers find this package and its plugins, wherever they start."""
    package = Path(__file__).resolve().parents[1]
    paths = [str(package.parent), str(package / "plugins"), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(filter(None, paths)))


def _write(sweep: Sweep, *, finished: bool) -> None:
    from gaze_exp.record import write_json

    write_json(sweep.folder / SWEEP, {"key": sweep.key, "command": sweep.command, "finished": finished})


def _remove_if_nothing_began(folder: Path) -> None:
    if {path.name for path in folder.iterdir()} <= {SWEEP, ".lock", "multirun.yaml"}:
        shutil.rmtree(folder)


def _sum_up(sweep: Sweep, attempt: str) -> int:
    """Write and say what came of the sweep; the number of jobs that failed."""
    from gaze_exp.sweep.summary import summarise

    return summarise(sweep.folder, attempt=attempt, command=sweep.command, maximise=sweep.maximise)
