"""What a run was: command, code, machine, versions, data; written where its results are."""

import contextlib
import importlib.metadata
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from gaze_exp.atomic_write import atomic_write
from gaze_exp.processes.ranks import as_typed

VERSIONS_OF = (
    "gaze-exp",
    "torch",
    "torchvision",
    "timm",
    "lightning",
    "numpy",
    "h5py",
    "onnx",
    "onnxruntime",
)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write plain data as readable JSON, whole or not at all."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def write_run(path: Path, described: dict[str, Any]) -> None:
    """Write `run.json`; a run that goes on keeps what it said at its start, and lists each time it was resumed."""
    if path.is_file() and any(argument.startswith("resume=") for argument in sys.argv[1:]):
        first = json.loads(path.read_text(encoding="utf-8"))
        again = {"command": shlex.join(["python", "-m", "gaze_exp", *as_typed(sys.argv[1:])])}
        again |= {key: described[key] for key in ("overrides", "started", "code", "machine")}
        described = first | {"resumed": [*first.get("resumed", []), again]}
    write_json(path, described)


def python() -> str:
    """The interpreter that runs this, as it can be typed from the current folder."""
    found = shutil.which("python")
    if found and Path(found).absolute() == Path(sys.executable).absolute():
        return "python"
    here, executable = Path.cwd(), Path(sys.executable).absolute()
    return str(executable.relative_to(here) if executable.is_relative_to(here) else executable)


def command_line() -> str:
    """The command that repeats this run from its start, as a person would type it."""
    arguments = as_typed(sys.argv[1:])
    # `command_line.rewrite` has put the run's own overrides there; the folder they came from is this run's.
    if any(a.startswith("resume=") and not a.endswith(".ckpt") for a in arguments):
        arguments = [a for a in arguments if not a.startswith(("resume=", "hydra.run.dir="))]
    return shlex.join(["python", "-m", "gaze_exp", *arguments])


def describe(overrides: list[str]) -> dict[str, Any]:
    """Describe the run: command, time, code, machine and versions.

    Args:
        overrides: the task's overrides as composed.

    Returns:
        Plain data for `run.json`.
    """
    return {
        "command": command_line(),
        "overrides": overrides,
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "code": code(),
        "machine": machine(),
        "versions": {name: _version(name) for name in VERSIONS_OF},
    }


def machine() -> dict[str, Any]:
    """Processor, cores, memory, GPUs and system of this machine."""
    import torch

    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "memory_gib": round(memory, 1),
        "gpus": gpus,
        "system": platform.platform(),
        "python": platform.python_version(),
    }


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def code() -> dict[str, Any]:
    """Commit of the checkout that runs, with what was changed since; empty for an installed package.

    Code that was sent to another machine brings along what it was there.
    """
    folder = Path(__file__).resolve().parent.parent
    if not (folder / ".git").exists():
        sent = folder / "gaze_exp" / "commit.json"
        return json.loads(sent.read_text(encoding="utf-8")) if sent.is_file() else {"commit": None, "diff": None}
    commit = _git(folder, "rev-parse", "HEAD")
    return {"commit": commit or None, "diff": _git(folder, "diff", "HEAD")[:200_000] or None}


def _git(folder: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def remove_if_empty(run_dir: Path) -> None:
    """Remove the folder of a run that ended before it made anything but its own config and log.

    So are the folders above it, up to the current one, that it leaves empty.
    """
    made = {path.name for path in run_dir.iterdir()} if run_dir.is_dir() else {"?"}
    if made <= {".hydra", ".lock", "gaze_exp.log"} and (run_dir / ".hydra").is_dir():
        shutil.rmtree(run_dir)
        with contextlib.suppress(OSError):  # not empty
            for folder in run_dir.parents:
                if Path.cwd() not in folder.parents:
                    break
                folder.rmdir()
