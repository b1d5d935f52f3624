"""Which launcher started this process, which rank it is, and the run folder that all ranks share.

`python -m gaze_exp` alone, Lightning's own launcher, `torchrun`, `srun` and one command a node (NODE_RANK,
MASTER_ADDR, MASTER_PORT) differ in what they put into the environment; `found` reads it. Every process that was
started from outside would give its run a folder named by its own clock, so `joined` lets rank 0 say which it is,
over the store at which the ranks meet for training anyway.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from gaze_exp.command_line import quoted
from gaze_exp.errors import ConfigError
from gaze_exp.processes import folder_lock

if TYPE_CHECKING:
    from torch.distributed import Store  # type: ignore[attr-defined]

WAIT = timedelta(minutes=10)
"""How long ranks wait for rank 0, which may be on a machine that starts later."""

_added: set[str] = set()


@dataclass(frozen=True)
class Launch:
    """What the environment says of the launch."""

    launcher: str = "alone"
    """alone, lightning (its child), torchrun, slurm or nodes (one command a node)."""
    rank: int = 0
    """Of this process; with `nodes`, of this node, whose other processes Lightning starts."""
    world_size: int = 1
    """Processes in all; with `nodes` it is not known yet, and 2 stands for several."""
    address: str = ""
    """Where rank 0 is met."""
    port: int = 0
    identity: str = ""
    """The same in every rank and in every restart, and in no other launch; empty where a restart has no name."""
    restarts: int = 0
    """How often the launcher has started this again."""
    per_node: int = 0
    """Processes that the launcher started on each node; 0 where it leaves that to us."""
    num_nodes: int = 0
    """Nodes that it uses; 0 where it does not know."""

    @property
    def is_first(self) -> bool:
        """Whether this process speaks for all: it makes the folder, logs, writes checkpoints and evaluates."""
        return self.rank == 0


def found(environment: Mapping[str, str] | None = None) -> Launch:
    """Read the launch from the environment.

    Args:
        environment: default this process's.
    """
    env = os.environ if environment is None else environment
    if "TORCHELASTIC_RUN_ID" in env:
        return Launch(
            launcher="torchrun",
            rank=int(env["RANK"]),
            world_size=int(env["WORLD_SIZE"]),
            address=env["MASTER_ADDR"],
            port=int(env["MASTER_PORT"]),
            identity=f"torchrun {env['TORCHELASTIC_RUN_ID']}",
            restarts=int(env.get("TORCHELASTIC_RESTART_COUNT", "0")),
            per_node=int(env["LOCAL_WORLD_SIZE"]),
            num_nodes=int(env["GROUP_WORLD_SIZE"]),
        )
    if _in_slurm(env):
        return _of_slurm(env)
    if env.get("LOCAL_RANK", "0") != "0":
        return Launch(launcher="lightning", rank=int(env["LOCAL_RANK"]), world_size=int(env.get("WORLD_SIZE", "2")))
    # With LOCAL_RANK=0 beside them they are Lightning's own, left by a training that this process has done.
    if {"NODE_RANK", "MASTER_ADDR", "MASTER_PORT"} <= set(env) and "LOCAL_RANK" not in env:
        address, port = env["MASTER_ADDR"], int(env["MASTER_PORT"])
        rank = int(env["NODE_RANK"])
        return Launch(launcher="nodes", rank=rank, world_size=2, address=address, port=port, num_nodes=2)
    return Launch()


def _in_slurm(env: Mapping[str, str]) -> bool:
    """Whether SLURM started this: a step of `srun`, or a batch script; not a shell that waits for a person."""
    is_started = "SLURM_STEP_ID" in env or env.get("ENVIRONMENT") == "BATCH"
    is_shell = env.get("SLURM_JOB_NAME") in {"bash", "interactive"}  # Lightning's rule
    return "SLURM_JOB_ID" in env and "SLURM_PROCID" in env and is_started and not is_shell


def _of_slurm(env: Mapping[str, str]) -> Launch:
    """As Lightning's SLURMEnvironment has it, since its ranks meet there."""
    first = re.sub(r"\[(.*?)[,-].*\]|\[(.*?)\]", r"\1\2", env.get("SLURM_NODELIST", "127.0.0.1"))
    job = env["SLURM_JOB_ID"]
    world_size = int(env.get("SLURM_STEP_NUM_TASKS", env.get("SLURM_NTASKS", "1")))
    num_nodes = int(env.get("SLURM_STEP_NUM_NODES", env.get("SLURM_NNODES", "1")))
    return Launch(
        launcher="slurm",
        rank=int(env["SLURM_PROCID"]),
        world_size=world_size,
        address=env.get("MASTER_ADDR", first.split(" ")[0].split(",")[0]),
        port=int(env.get("MASTER_PORT", int(job[-4:]) + 15000)),
        identity=f"slurm {job}",
        restarts=int(env.get("SLURM_RESTART_COUNT", "0")),
        per_node=world_size // num_nodes,
        num_nodes=num_nodes,
    )


@dataclass(frozen=True)
class Planned:
    """What is about to run, as far as its folder is concerned."""

    folder: str
    """That a process alone would choose."""
    trains: bool
    resumes: bool


@contextmanager
def joined(arguments: list[str], *, planned: Planned | None) -> Iterator[list[str]]:
    """Agree with the other ranks on the run folder, and keep other runs out of it.

    Args:
        arguments: of this process, as `command_line.rewrite` leaves them.
        planned: what a process alone would do; None where it makes no folder, or one for each job of a sweep.

    Yields:
        The arguments with which this rank takes part.

    Raises:
        ConfigError: another run has the folder, or had it; rank 0 did not answer; or every rank would sweep.
    """
    launch = found()
    _added.clear()
    if planned is None:
        if launch.world_size > 1 and {"-m", "--multirun"} & set(arguments):
            raise ConfigError(f"-m: each rank of {launch.launcher} would start the sweep; start it plainly")
        yield arguments
    elif launch.launcher == "lightning":
        yield _silenced(arguments, launch.rank)
    elif not launch.is_first:
        said = json.loads(_hear(launch, "run", patience=WAIT))
        folder, goes_on = said["folder"], said["goes_on"]
        yield _silenced(_with(arguments, folder, goes_on=goes_on), launch.rank)
    elif launch.launcher == "alone" and not _is_named(arguments) and not Path(planned.folder).exists():
        yield arguments  # a new folder, named by the clock: nobody else can want it
    else:
        folder, goes_on = _chosen(launch, arguments, planned.folder)
        with folder_lock.hold(folder, launch=launch.identity):
            if planned.trains and not planned.resumes and not goes_on:
                _refuse_to_overwrite(folder)
            arguments = _with(arguments, folder, goes_on=goes_on)
            if launch.world_size > 1:
                _store(launch).set("run", json.dumps({"folder": folder, "goes_on": goes_on}))
            yield arguments


@contextmanager
def first_goes_first(what: str) -> Iterator[None]:
    """Let rank 0 do something that the others then find done, such as rendering the data.

    Lightning starts its children only after that.

    Args:
        what: its name, used once.

    Raises:
        ConfigError: rank 0 ended before it was done.
    """
    launch = found()
    if launch.world_size == 1 or launch.launcher == "lightning":
        yield
        return
    if not launch.is_first:
        _hear(launch, what, patience=timedelta(days=7))
    yield
    if launch.is_first:
        _store(launch).set(what, "done")


def takes_part(action: str) -> bool:
    """Whether this process has a share in an action: all ranks train, and rank 0 does everything else.

    Args:
        action: its name.
    """
    return action == "train" or found().is_first


def as_typed(arguments: Iterable[str]) -> list[str]:
    """The arguments without those that `joined` put there."""
    return [argument for argument in arguments if argument not in _added]


def _refuse_to_overwrite(folder: str) -> None:
    """Nothing is lost because a name was used twice."""
    if Path(folder, "checkpoints", "last.ckpt").is_file():
        raise ConfigError(
            f"run_dir: {folder} holds a run already; resume={folder} to go on with it, or "
            "hydra.run.dir=ANOTHER_FOLDER, would be right"
        )


def _is_named(arguments: list[str]) -> bool:
    """Whether the command line itself names the folder."""
    return any(a.startswith("hydra.run.dir=") and "${" not in a for a in arguments)


def _chosen(launch: Launch, arguments: list[str], folder: str) -> tuple[str, bool]:
    """The folder, and whether the run that lies there is gone on with."""
    configured = Path(folder)
    if launch.launcher == "slurm" and not _is_named(arguments):
        # A job that is requeued keeps its number; two commands of one job differ in what they say.
        digest = hashlib.sha256("\0".join(arguments).encode()).hexdigest()[:8]
        configured = configured.with_name(f"slurm{launch.identity.split()[-1]}_{digest}")
    if not launch.restarts:
        return str(configured), False
    siblings = sorted(configured.parent.glob(f"*/{folder_lock.LOCK}"), reverse=True)
    before = [lock.parent for lock in siblings if folder_lock.holder(lock.parent).get("launch") == launch.identity]
    chosen = configured if configured in before else next(iter(before), configured)
    return str(chosen), (chosen / "checkpoints" / "last.ckpt").is_file()


def _with(arguments: list[str], folder: str, *, goes_on: bool) -> list[str]:
    more = [f"hydra.run.dir={quoted(folder)}"] * (not _is_named(arguments))
    if goes_on and not any(a.startswith("resume=") for a in arguments):
        more.append(f"resume={quoted(folder)}")
    _added.update(more)
    return [*arguments, *more]


def _silenced(arguments: list[str], rank: int) -> list[str]:
    """A rank that is not the first: it writes no config, and says only what went wrong, in the log of all."""
    kept = [a for a in arguments if not a.startswith(("hydra.job.name=train_ddp_process", "hydra.output_subdir="))]
    logging = "hydra.job_logging"
    return [
        *kept,
        "hydra.output_subdir=null",
        f"{logging}.root.level=WARNING",
        f'{logging}.formatters.plain.format="rank {rank}: %(message)s"',
        f'{logging}.formatters.file.format="%(asctime)s %(levelname)s rank {rank} %(name)s: %(message)s"',
    ]


def _hear(launch: Launch, what: str, *, patience: timedelta) -> str:
    """Wait for what rank 0 has to say."""
    try:
        store = _store(launch)
        store.wait([what], patience)
        return store.get(what).decode()
    except RuntimeError as error:  # torch's errors of a store are
        raise ConfigError(
            f"rank {launch.rank} of {launch.launcher}: no word from rank 0 at {launch.address}:{launch.port}; its own "
            "message says why, or it was never started, or MASTER_ADDR and MASTER_PORT are not where it is"
        ) from error


_stores: dict[Launch, "Store"] = {}


def _store(launch: Launch) -> "Store":
    """The store at which the ranks meet: rank 0's, unless the launcher has one there. It stays for the training."""
    from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]

    is_served = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    if launch not in _stores:
        store = TCPStore(
            launch.address,
            launch.port,
            is_master=launch.is_first and not is_served,
            timeout=WAIT,
            wait_for_workers=False,
            multi_tenant=True,
        )
        _stores[launch] = PrefixStore(f"gaze_exp {launch.identity} {launch.restarts}", store)
    return _stores[launch]
