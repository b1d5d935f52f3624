"""The environment of a run there: set up once from uv.lock, found again by its hash.

Runs on the other machine with its system's Python and nothing installed: the standard library of 3.9 alone.
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from gaze_exp.remote.there.frames import Refusal, say
from gaze_exp.remote.there.store import free_bytes, root_of

Runner = Callable[[list[str], dict[str, str]], int]
"""Runs a command with more environment variables, its output into the job's log; returns its exit status."""

SYNC = ("sync", "--frozen", "--no-dev", "--no-install-project", "--compile-bytecode", "--no-progress")
VERSIONS = (
    "import importlib.metadata as m,json,sys;"
    "print(json.dumps({'python':'.'.join(map(str,sys.version_info[:3])),"
    "'versions':{d.metadata['Name'].lower().replace('_','-'):d.version for d in m.distributions()}}))"
)


def hello(request: dict[str, Any]) -> None:
    """Say what this machine is: processor, GPUs, space, and whether an environment is ready."""
    root = root_of(request)
    given = request.get("environment")
    say(
        {
            "root": str(root),
            "machine": f"{platform.system()} {platform.machine()}",
            "python": platform.python_version(),
            "cores": os.cpu_count(),
            "gpus": gpus(),
            "free": free_bytes(root),
            "uv": find_uv(root),
            "ready": bool(given) or ready_marker(root, request["key"]).is_file(),
            "given": _versions_of(given) if given else None,
            "absent": [name for name in request.get("paths", []) if not exists(root, name)],
        }
    )


def exists(root: Path, name: str) -> bool:
    """Whether a path that the run will read is there, as the run will see it."""
    return (root / "work" / Path(name).expanduser()).exists()


def gpus() -> list[str]:
    """NVIDIA GPUs by name."""
    tool = shutil.which("nvidia-smi") or "/usr/bin/nvidia-smi"
    try:
        done = subprocess.run([tool, "-L"], capture_output=True, text=True, check=False, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [line.partition("(UUID")[0].strip() for line in done.stdout.splitlines() if line.startswith("GPU ")]


def find_uv(root: Path) -> str | None:
    """Uv on the path, where its installer puts it, or where this program has put it."""
    places = [Path.home() / ".local/bin/uv", Path.home() / ".cargo/bin/uv", root / "tools/bin/uv"]
    found = shutil.which("uv")
    return found or next((str(p) for p in places if os.access(p, os.X_OK)), None)


def _versions_of(interpreter: str) -> dict[str, Any]:
    path = str(Path(interpreter).expanduser())
    try:
        done = subprocess.run([path, "-c", VERSIONS], capture_output=True, text=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Refusal("environment", f"{interpreter} cannot be run ({error})") from error
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise Refusal("environment", f"{interpreter} is no Python that works ({last})")
    return dict(json.loads(done.stdout))


def ready_marker(root: Path, key: str) -> Path:
    """Exists where an environment is complete."""
    return root / "env" / key / "ready.json"


def set_up(root: Path, *, key: str, code: Path, run: Runner, log: IO[bytes]) -> str:
    """Make sure that the environment of a lock file is there.

    Args:
        root: folder of this program there.
        key: hash of the lock file.
        code: folder with pyproject.toml and uv.lock.
        run: runs a command.
        log: the job's log.

    Returns:
        Its interpreter.
    """
    folder = root / "env" / key
    folder.mkdir(parents=True, exist_ok=True)
    with (root / "env" / f"{key}.lock").open("w") as lock:
        if not ready_marker(root, key).is_file():
            _tell(log, f"remote: sets up the environment {folder}, once")
        fcntl.flock(lock, fcntl.LOCK_EX)  # another job may be at it
        if not ready_marker(root, key).is_file():
            uv = find_uv(root) or _fetch_uv(root, run=run, log=log)
            if run([uv, *SYNC, "--project", str(code)], {"UV_PROJECT_ENVIRONMENT": str(folder / "venv")}):
                raise Refusal("environment", "uv sync failed; its lines above say why")
            content = json.dumps({"uv": uv, "machine": platform.machine()}) + "\n"
            ready_marker(root, key).write_text(content, encoding="utf-8")
    return str(folder / "venv" / "bin" / "python")


def _fetch_uv(root: Path, *, run: Runner, log: IO[bytes]) -> str:
    """Install uv into a folder of its own with the system's venv and pip."""
    tools = root / "tools"
    _tell(log, f"remote: there is no uv; it comes into {tools}")
    if run([sys.executable, "-m", "venv", str(tools)], {}):
        raise Refusal(
            "environment",
            "python3 has no venv there, nor is there uv; `apt install python3-venv`, or the installer of uv "
            "(https://docs.astral.sh/uv), there would be right",
        )
    pip = [str(tools / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "uv>=0.8"]
    if run(pip, {}):
        raise Refusal("environment", "pip could not fetch uv; the lines above say why")
    return str(tools / "bin" / "uv")


def _tell(log: IO[bytes], line: str) -> None:
    log.write(f"{line}\n".encode())
    log.flush()
