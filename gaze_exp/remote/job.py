"""A whole round on another machine: look at it, send, start, follow, fetch."""

import logging
import os
import re
import secrets
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from gaze_exp import __version__, record
from gaze_exp.errors import ConfigError
from gaze_exp.remote import dry_run, snapshot
from gaze_exp.remote.content import Tree
from gaze_exp.remote.fetch import NOTE, refuse_foreign_folder
from gaze_exp.remote.inputs import Input, Plain, arguments_there, inputs_of, only_there, refuse_what_writes_elsewhere
from gaze_exp.remote.own_code import own_code
from gaze_exp.remote.settings import Remote
from gaze_exp.remote.ssh import Line
from gaze_exp.remote.there_checks import refuse_what_does_not_fit
from gaze_exp.remote.upload import mib, upload
from gaze_exp.remote.watch import attach, cancel, finish, status

log = logging.getLogger(__name__)


@dataclass
class Job:
    """A run as it shall be there."""

    remote: Remote
    name: str
    here: Path
    """Run folder here."""
    run_dir: str
    """Run folder there, seen from the folder in which runs begin."""
    inputs: list[Input]
    code: Tree
    arguments: list[str]
    there_already: dict[str, str]
    accelerator: str
    token: str = field(default_factory=lambda: secrets.token_hex(8))

    @property
    def trees(self) -> dict[str, Tree]:
        """Folder there -> its files."""
        return {f"code/{self.code.key}": self.code} | {i.folder: i.tree for i in self.inputs}


def plan(
    remote: Remote, config: Plain, overrides: list[str], *, config_dir: str | None, here: Path, scratch: Path
) -> Job:
    """Work out what a run needs there, without asking that machine.

    Args:
        remote: the machine.
        config: the run, resolved.
        overrides: as typed.
        config_dir: a folder of configs of one's own.
        here: run folder here.
        scratch: a folder for what is made on the way.

    Raises:
        ConfigError: something that cannot be done elsewhere.
    """
    refuse_what_writes_elsewhere(config["actions"])
    if config["resume"] and not str(config["resume"]).endswith(".ckpt"):
        raise ConfigError(
            "resume: a run folder cannot be taken to another machine; remote.attach=true follows a job there, and "
            "resume=RUN/checkpoints/last.ckpt goes on from a checkpoint"
        )
    inputs = inputs_of(config, there=remote.there, config_dir=config_dir)
    home = only_there(config, there=remote.there)
    code = snapshot.code_tree(scratch)
    code.entries += own_code(config)
    name = re.sub(r"[^A-Za-z0-9._-]", "_", here.name)
    run_dir = f"outputs/{re.sub(r'[^A-Za-z0-9._-]', '_', config['task_name'])}/{name}"
    arguments = arguments_there(overrides, inputs, run_dir=run_dir, config=config, home=home)
    accelerator = config["hardware"]["accelerator"]
    return Job(remote, name, here, run_dir, inputs, code, arguments, home, accelerator)


def start(line: Line, job: Job, *, scratch: Path) -> None:
    """Send what the run needs and begin it there.

    Raises:
        ConfigError: that machine cannot run it; nothing was started.
    """
    remote = job.remote
    environment = _environment_of(remote)
    refuse_foreign_folder(job.here, host=str(remote.host), job=job.name)
    paths = list(job.there_already.values())
    key = snapshot.environment_key()
    facts = line.patiently(lambda: line.ask("hello", environment=remote.environment, key=key, paths=paths))
    log.info(
        "remote: %s: %s, %s cores, %s, %s free at %s", remote.host, facts["machine"], facts["cores"],
        ", ".join(facts["gpus"]) or "no NVIDIA GPU", mib(facts["free"]), facts["root"],
    )  # fmt: skip
    refuse_what_does_not_fit(remote, facts, accelerator=job.accelerator, paths=job.there_already)
    for given in job.inputs:
        log.info("remote: %s: %s, %d files, %s", given.key, given.here, len(given.tree.entries), mib(given.tree.size))
    if not upload(line, job.trees, scratch=scratch):
        log.info("remote: nothing is to be sent, all of it is there")
    about = {"task": job.run_dir.split("/")[1], "here": str(job.here), "version": __version__}
    line.patiently(
        lambda: line.ask(
            "start", job=job.name, token=job.token, arguments=job.arguments, code=f"code/{job.code.key}",
            key=key, environment=remote.environment, run_dir=job.run_dir, env=environment, about=about,
        )
    )  # fmt: skip
    _write_note(job)
    log.info("remote: %s runs on %s; Ctrl-C leaves it running, remote.attach=true comes back", job.name, remote.host)


def _environment_of(remote: Remote) -> dict[str, str]:
    lacking = [name for name in remote.forward_env if name not in os.environ]
    if lacking:
        raise ConfigError(f"remote.forward_env: {lacking[0]} is not set here; export {lacking[0]}=... would be right")
    return {name: os.environ[name] for name in remote.forward_env}


def _write_note(job: Job) -> None:
    inputs = {i.key: {"here": str(i.here), "there": i.there, "files": len(i.tree.entries)} for i in job.inputs}
    note = {
        "host": job.remote.host, "folder": job.remote.folder, "job": job.name, "run_dir": job.run_dir,
        "command": record.command_line(), "arguments": job.arguments, "inputs": inputs,
    }  # fmt: skip
    record.write_json(job.here / NOTE, note)


def run_elsewhere(remote: Remote, config: Plain, overrides: list[str], *, config_dir: str | None, here: Path) -> int:
    """Do on another machine what a command line asks for, or say by which commands it would be done.

    Args:
        remote: the machine.
        config: the run, resolved.
        overrides: as typed.
        config_dir: a folder of configs of one's own.
        here: where the results shall lie.

    Returns:
        Exit status.

    Raises:
        ConfigError: that cannot be done, with the remedy.
        DataError: a file cannot be used.
    """
    with Line(remote) as line:
        for asked, answer in ((remote.attach, attach), (remote.status, status), (remote.cancel, cancel)):
            if asked and config["dry_run"]:
                log.info("%s", "\n".join(dry_run.one_request(line)))
                return 0
            if asked:
                return answer(line)
        with tempfile.TemporaryDirectory(prefix="gaze_exp_") as scratch:
            job = plan(remote, config, overrides, config_dir=config_dir, here=here, scratch=Path(scratch))
            if config["dry_run"]:
                log.info("%s", "\n".join(dry_run.commands(line, job)))
                return 0
            start(line, job, scratch=Path(scratch))
        return finish(line, job.name, job.here)
