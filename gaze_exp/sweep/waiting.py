"""Wait for the run that still holds a folder, such as the last job of a sweep that was killed."""

import fcntl
import logging
import time
from pathlib import Path

log = logging.getLogger(__name__)

LOCK = ".lock"


def wait_until_free(folder: Path, *, patience_s: float = 60.0) -> None:
    """Wait while another process holds the lock of a run folder; the run that comes next refuses it if it stays so.

    Args:
        folder: of a run; its lock is that of `folder_lock`.
        patience_s: after which the wait ends in any case.
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
