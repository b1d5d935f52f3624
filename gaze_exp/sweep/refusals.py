"""What cannot work is refused before Hydra, or a sweep, begins: each with its reason and what would work."""

import importlib.metadata
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass

from gaze_exp.errors import ConfigError


@dataclass(frozen=True)
class Extra:
    """A choice of Hydra's that comes with a package of its own."""

    module: str
    extra: str


EXTRAS = {
    "hydra/launcher=joblib": Extra("hydra_plugins.hydra_joblib_launcher", "sweep"),
    "hydra/sweeper=optuna": Extra("hydra_plugins.hydra_optuna_sweeper", "sweep"),
    "hydra/launcher=submitit_local": Extra("hydra_plugins.hydra_submitit_launcher", "slurm"),
    "hydra/launcher=slurm": Extra("hydra_plugins.hydra_submitit_launcher", "slurm"),
}
BREAKS_HYDRA = {"hydra-ax-sweeper": (1, 2), "hydra-rq-launcher": (1, 2)}
"""Up to these versions, their settings are dataclasses that Python 3.11 and later refuse, at Hydra's every start."""


def refuse_broken_plugins() -> None:
    """Refuse an environment in which Hydra cannot start.

    Raises:
        ConfigError: a plugin is installed that ends every program with Hydra in it, even `--help`.
    """
    for name, last_broken in BREAKS_HYDRA.items():
        module = "hydra_plugins." + name.replace("-", "_")
        if not _is_there(module):
            continue
        version = importlib.metadata.version(name)
        if tuple(int(part) for part in version.split(".")[:2]) <= last_broken:
            raise ConfigError(
                f"{name} {version}: ends every program that uses Hydra on Python 3.11 and later (mutable default "
                f"... is not allowed: use default_factory); pip uninstall {name} would be right"
            )


def refuse_missing_extras(overrides: Sequence[str]) -> None:
    """Refuse a launcher or sweeper whose package is not installed.

    Raises:
        ConfigError: with the command that installs it.
    """
    for override in overrides:
        needed = EXTRAS.get(override)
        if needed and not _is_there(needed.module):
            raise ConfigError(
                f"{override.replace('=', ': ')} is not installed; pip install 'gaze-exp[{needed.extra}]', "
                f"or in a checkout uv sync --extra {needed.extra}, would be right"
            )


def refuse_for_one_run(overrides: Sequence[str]) -> None:
    """Refuse in a sweep what names the folder of one run.

    Raises:
        ConfigError: such an override.
    """
    for override in overrides:
        if override.startswith("hydra.run.dir="):
            raise ConfigError(
                "hydra.run.dir: is the folder of one run; in a sweep hydra.sweep.dir=FOLDER would be right"
            )
        if override.startswith("resume=") and override not in {"resume=null", "resume="}:
            raise ConfigError("resume: goes on with one run; a sweep goes on by itself when its command is typed again")


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # no plugin at all
        return False
