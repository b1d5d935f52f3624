"""The log of a job there, shown here as it grows, and kept so that a new connection goes on where the last one was."""

import sys
from pathlib import Path
from typing import Any

from gaze_exp.remote.refusals import ConnectionCut
from gaze_exp.remote.ssh import Line

LOG = "remote.log"
"""In the run folder here: what the run there has printed, as far as it has come."""


def follow(line: Line, job: str, folder: Path) -> dict[str, Any]:
    """Show the log of a job from the byte on where the file here ends, until the job ends.

    Args:
        line: to the machine.
        job: its name there.
        folder: of the run here.

    Returns:
        How the job ended: `state` and `rc`.
    """
    path = folder / LOG
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return line.patiently(lambda: _once(line, job, path))


def _once(line: Line, job: str, path: Path) -> dict[str, Any]:
    with (
        path.open("ab") as log,
        line.stream("follow", job=job, offset=path.stat().st_size) as answers,
    ):
        for answer in answers:
            if isinstance(answer, bytes):
                log.write(answer)
                log.flush()
                sys.stdout.write(answer.decode(errors="replace"))
                sys.stdout.flush()
            elif answer.get("end"):
                return answer
    raise ConnectionCut("the log ended too early")
