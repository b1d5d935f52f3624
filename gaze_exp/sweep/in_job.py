"""What a job does for its sweep: end when the sweep is gone, and hand its objective back.

The sweep leaves a note in the environment. It is taken out at once, so that nothing the job starts finds it.
"""

import json
import os
import signal
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

ENVIRONMENT = "GAZE_EXP_JOB"
_GRACE_S = 15.0
_notes: list["JobNote"] = []


@dataclass(frozen=True)
class JobNote:
    """From a sweep to its job."""

    key: str
    result: str | None
    """Where the job writes its objective; None for a process that is not the job's first."""
    lifeline: int
    """File descriptor of a pipe whose other end the sweep holds."""

    def to_json(self) -> str:
        """As it stands in the environment."""
        return json.dumps(asdict(self))


def take_note() -> None:
    """Take the note out of the environment, and watch the lifeline; nothing happens in a run that is no job."""
    text = os.environ.pop(ENVIRONMENT, None)
    if text is None:
        return
    note = JobNote(**json.loads(text))
    _notes.append(note)
    os.set_inheritable(note.lifeline, False)
    threading.Thread(target=_end_with_the_sweep, args=(note.lifeline,), daemon=True).start()


def is_job() -> bool:
    """Whether a sweep waits for this process's result."""
    return bool(_notes and _notes[-1].result)


def report(objectives: dict[str, float], *, objective: float | None, seconds: float) -> None:
    """Write what makes a job finished.

    Args:
        objectives: action -> its number, of those that have one.
        objective: what the sweep ranks by.
        seconds: that the actions took.
    """
    from gaze_exp.record import write_json

    note = _notes[-1]
    content = {"key": note.key, "objective": objective, "objectives": objectives, "seconds": round(seconds, 2)}
    write_json(Path(str(note.result)), content)


def _end_with_the_sweep(lifeline: int) -> None:
    """Wait for the pipe's other end to close, which the sweep's death does; then end this process and its ranks."""
    try:
        os.read(lifeline, 1)
    except OSError:
        return
    os.killpg(0, signal.SIGTERM)
    time.sleep(_GRACE_S)
    os.killpg(0, signal.SIGKILL)
