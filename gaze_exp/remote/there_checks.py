"""Whether the machine there can do what is asked of it: looked at before anything is sent."""

import tomllib
from typing import Any

from gaze_exp.errors import ConfigError
from gaze_exp.remote.settings import Remote
from gaze_exp.remote.snapshot import locked
from gaze_exp.remote.upload import mib

ENVIRONMENT_BYTES = 15_000_000_000
"""Of torch with CUDA and what it brings, its downloads included."""


def refuse_what_does_not_fit(remote: Remote, facts: dict[str, Any], *, accelerator: str, paths: dict[str, str]) -> None:
    """Refuse a machine without the GPU, the space, the files or the versions that a run needs.

    Args:
        remote: the machine.
        facts: what it says of itself.
        accelerator: of the hardware.
        paths: keys -> paths that are not here and have to be there.

    Raises:
        ConfigError: with the remedy.
    """
    host = remote.host
    for key, path in paths.items():
        if path in facts["absent"]:
            raise ConfigError(f"{key}: {path} is neither here nor on {host}; a file or folder that is there is right")
    if accelerator == "gpu" and not facts["gpus"]:
        raise ConfigError(
            f"hardware: asks for a GPU, and {host} shows none ({facts['machine']}, {facts['cores']} cores); "
            "hardware=cpu fits, or look there with nvidia-smi"
        )
    if not facts["ready"] and facts["free"] < ENVIRONMENT_BYTES:
        raise ConfigError(
            f"remote.folder: {mib(facts['free'])} free at {facts['root']} on {host}, and the environment needs "
            f"{mib(ENVIRONMENT_BYTES)}; make room there, remote.folder=FOLDER on a larger disk, or "
            "remote.environment=PYTHON of one that is there"
        )
    if facts["given"]:
        _refuse_other_versions(remote, facts["given"])


def _refuse_other_versions(remote: Remote, given: dict[str, Any]) -> None:
    from packaging.requirements import Requirement
    from packaging.specifiers import SpecifierSet

    project = tomllib.loads(locked("pyproject.toml").read_text(encoding="utf-8"))["project"]
    where = f"remote.environment: {remote.environment} on {remote.host}"
    remedy = "remote.environment=null sets up one that fits"
    if not SpecifierSet(project["requires-python"]).contains(given["python"]):
        raise ConfigError(f"{where} is Python {given['python']}, {project['requires-python']} is needed; {remedy}")
    for line in project["dependencies"]:
        needed = Requirement(line)
        version = given["versions"].get(needed.name.lower().replace("_", "-"))
        if version is None or not needed.specifier.contains(version, prereleases=True):
            raise ConfigError(f"{where} has {needed.name} {version or 'not at all'}, {line} is needed; {remedy}")
