"""What a round on another machine would run, as commands, without running them."""

import shlex
from collections.abc import Iterator
from typing import TYPE_CHECKING

from gaze_exp.remote import snapshot
from gaze_exp.remote.ssh import Line
from gaze_exp.remote.there.environment import SYNC
from gaze_exp.remote.upload import mib

if TYPE_CHECKING:
    from gaze_exp.remote.job import Job


def commands(line: Line, job: "Job") -> Iterator[str]:
    """Every command of a whole round.

    Args:
        line: not connected.
        job: as it would be there.
    """
    remote = job.remote
    code = f"{remote.folder}/code/{job.code.key}"
    yield from _the_line(line)
    yield "hello: its processor, GPUs, free space, environment"
    yield f"missing, put, lay_out: zips of what is not there yet, checked by hash, into {remote.folder}"
    for given in job.inputs:
        yield f"    {given.key}: {given.here} -> {given.there}, {len(given.tree.entries)} files, {mib(given.tree.size)}"
    for key, path in job.there_already.items():
        yield f"    {key}: {path}, which is not sent: the run is refused where it is not there"
    yield f"    code: {len(job.code.entries)} files, {mib(job.code.size)} -> {code}"
    yield f"start: apart from the connection, in {remote.folder}/work:"
    python = remote.environment
    if not python:
        environment = f"{remote.folder}/env/{snapshot.environment_key()}/venv"
        python = f"{environment}/bin/python"
        yield f"    UV_PROJECT_ENVIRONMENT={environment} uv {' '.join(SYNC)} --project {code}   # where it is missing"
    yield f"    PYTHONPATH={code} {python} -m gaze_exp {shlex.join(job.arguments)}"
    yield f"follow: {remote.folder}/jobs/{job.name}/log"
    yield f"results, get: {remote.folder}/work/{job.run_dir} -> {job.here}, each hash compared"


def one_request(line: Line) -> Iterator[str]:
    """What attach, status or cancel would run."""
    remote = line.remote
    job = remote.job or "the latest job"
    yield from _the_line(line)
    if remote.status:
        yield f"status: of {remote.job or 'every job'} in {remote.folder}/jobs"
    elif remote.cancel:
        yield f"cancel: {job} in {remote.folder}/jobs"
    else:
        yield f"follow, results, get: {job} in {remote.folder}/jobs"


def _the_line(line: Line) -> Iterator[str]:
    yield f"$ {shlex.join(line.command())}"
    yield "and to its standard input, gaze_exp/remote/there/*.py with one request each:"
