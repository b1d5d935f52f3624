"""A job that runs on another machine: followed, fetched, asked after, stopped."""

import logging
import sys
import time
from pathlib import Path
from typing import Any

from gaze_exp import record
from gaze_exp.errors import ConfigError
from gaze_exp.remote.fetch import NOTE, fetch, read_note, refuse_foreign_folder
from gaze_exp.remote.follow import follow
from gaze_exp.remote.ssh import Line

log = logging.getLogger(__name__)

GRACE_S = 20.0
"""For a run that is told to stop to write what it has."""


def finish(line: Line, name: str, here: Path) -> int:
    """Follow a job to its end and bring its results back.

    Args:
        line: to the machine.
        name: of the job there.
        here: run folder here.

    Returns:
        The exit status of the run.
    """
    try:
        end = follow(line, name, here)
        files = fetch(line, name, here)
    except KeyboardInterrupt:
        log.warning("\nremote: %s goes on on %s; %s", name, line.remote.host, _come_back(name))
        sys.exit(130)
    note = read_note(here) | {"state": end["state"], "rc": end["rc"], "files": len(files)}
    record.write_json(here / NOTE, note)
    if end["state"] == "lost":
        raise ConfigError(
            f"remote: {name} ended on {line.remote.host} without saying how (a restart, or out of memory?); what "
            f"it had written is in {here}"
        )
    models = ", ".join(["", *(name for name in files if name.endswith(".onnx"))])
    log.info("remote: %s: %d files, each hash compared%s", here, len(files), models)
    return 130 if end["state"] == "cancelled" else int(end["rc"])


def _come_back(name: str) -> str:
    return f"remote.attach=true remote.job={name} follows it again, remote.cancel=true remote.job={name} stops it"


def attach(line: Line) -> int:
    """Follow a job that was started before, and fetch it."""
    state = line.patiently(lambda: line.ask("status", job=line.remote.job, latest=True))["jobs"][0]
    here = Path(state["about"].get("here") or f"outputs/{state['job']}")
    host = str(line.remote.host)
    refuse_foreign_folder(here, host=host, job=state["job"])
    if not read_note(here):
        note = {"host": host, "folder": line.remote.folder, "job": state["job"], "run_dir": state["run_dir"]}
        record.write_json(here / NOTE, note | {"arguments": state["arguments"]})
    log.info("remote: %s on %s: %s -> %s", state["job"], host, state["state"], here)
    return finish(line, state["job"], here)


def status(line: Line) -> int:
    """Say how the jobs there stand."""
    jobs: list[dict[str, Any]] = line.patiently(lambda: line.ask("status", job=line.remote.job))["jobs"]
    for job in jobs:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(job["started"]))
        rc = "" if job["rc"] is None else f" ({job['rc']})"
        task = job["about"].get("task", "?")
        log.info("%s  %s  %s  %s%s  %s", job["job"], task, when, job["state"], rc, job["last_line"][:100])
    if not jobs:
        log.info("remote: no job on %s in %s", line.remote.host, line.remote.folder)
    return 0


def cancel(line: Line) -> int:
    """Stop a job."""
    state = line.patiently(lambda: line.ask("cancel", job=line.remote.job, grace_s=GRACE_S))
    if state["left"]:
        raise ConfigError(f"remote.cancel: processes {state['left']} of {state['job']} do not end; look there")
    log.info("remote: %s: %s; nothing of it runs there any more", state["job"], state["state"])
    log.info("remote: what it had written comes with remote.attach=true remote.job=%s", state["job"])
    return 0
