"""One run a folder: a second one that is started into it is refused before it touches anything."""

import errno
import fcntl
import json
import logging
import os
import platform
import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from gaze_exp.errors import ConfigError

log = logging.getLogger(__name__)

LOCK = ".lock"
_held: dict[Path, IO[str]] = {}


@contextmanager
def hold(folder: Path | str, *, launch: str = "") -> Iterator[None]:
    """Keep a run folder for this process.

    The lock is the kernel's, on `.lock` in the folder: it ends with the process, however that ends, and the file
    that stays behind says who was there last.

    Args:
        folder: made when it is missing.
        launch: identity of the launch, the same in each of its restarts.

    Raises:
        ConfigError: another run writes there.
    """
    path = Path(folder).resolve() / LOCK
    if path in _held:  # this run has it
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    # A lock of POSIX, not of flock: no forked worker that outlives a killed run inherits it, and NFS knows it.
    file = path.open("a+", encoding="utf-8")
    try:
        _lock(file, folder)
        _held[path] = file
        file.truncate(0)
        file.write(json.dumps(_who(launch)) + "\n")
        file.flush()
        yield
    finally:
        _held.pop(path, None)
        file.close()


def wait_until_free(folder: Path, *, patience_s: float = 60.0) -> None:
    """Wait while another process holds a run folder, such as the last job of a sweep that was killed.

    Args:
        folder: of a run.
        patience_s: after which the wait ends in any case, and `hold` refuses the folder.
    """
    until, said = time.monotonic() + patience_s, False
    while _is_held(folder / LOCK) and time.monotonic() < until:
        if not said:
            log.info("sweep: waiting for the run that still ends in %s", folder)
            said = True
        time.sleep(0.1)


def _is_held(path: Path) -> bool:
    try:
        with path.open("a+b") as file:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return path.is_file()
    return False


def holder(folder: Path) -> dict[str, str]:
    """Who holds a run folder, or held it last; empty where nobody did."""
    try:
        said = json.loads((folder / LOCK).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}


def _lock(file: IO[str], folder: Path | str) -> None:
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in {errno.EACCES, errno.EAGAIN}:
            log.warning("%s: this file system knows no locks; see to it that no other run writes there", folder)
            return
        who = holder(Path(folder))
        raise ConfigError(
            f"run_dir: {folder} is in use by process {who.get('pid', '?')} on {who.get('host', '?')}, since "
            f"{who.get('since', '?')}; hydra.run.dir=ANOTHER_FOLDER, or waiting for its end, would be right"
        ) from error


def _who(launch: str) -> dict[str, str]:
    return {
        "pid": str(os.getpid()),
        "host": platform.node(),
        "since": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "command": shlex.join(sys.argv[1:]),
        "launch": launch,
    }
