"""A real SLURM cluster of one node, for as long as the tests that use it.

Everything of it lies in one temporary folder and listens on ports of its own: a SLURM that is already here, running or
not, keeps its configuration, its key and its jobs. Debian's packages are installed where they are missing, and
purged again.
"""

import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest

Answer = TypeVar("Answer")

PACKAGES = ("slurm-wlm", "munge")
PROGRAMS = ("munged", "slurmctld", "slurmd", "srun", "sbatch", "scontrol", "scancel", "squeue")
SYSTEM_FOLDERS = "/usr/sbin:/sbin"  # of the daemons, beyond what a user's PATH holds

# Two partitions, of which one takes the other's node away; two tasks fit, however many cores there are.
# `cred_expire` is also how long SLURM waits before it starts a requeued job again: two minutes if not said otherwise,
# five seconds at the least.
CONFIG = """\
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
FirstJobId={first_job}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CredType=cred/munge
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
ReturnToService=2
KillWait=10
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SchedulerParameters=sched_interval=2
SlurmdParameters=config_overrides
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmdSpoolDir={folder}/spool
StateSaveLocation={folder}/state
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=all Nodes={host} Default=YES PriorityTier=1 MaxTime=INFINITE State=UP
PartitionName=urgent Nodes={host} PriorityTier=2 PreemptMode=OFF MaxTime=INFINITE State=UP
"""


@dataclass(frozen=True)
class Cluster:
    """A running cluster."""

    environment: Mapping[str, str]
    """In which its commands, and programs that call them, find it."""

    def __call__(self, *command: str | Path, cwd: Path | None = None, check: bool = True) -> str:
        """Run a command, and return what it wrote."""
        done = subprocess.run(
            [str(word) for word in command], env=self.environment, cwd=cwd, capture_output=True, text=True, check=False
        )
        if check and done.returncode:
            raise AssertionError(f"{command}: {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def submit(self, script: str, *, cwd: Path) -> str:
        """Hand in a batch script; its number."""
        path = cwd / "job.sh"
        path.write_text(script)
        return self("sbatch", "--parsable", path, cwd=cwd).strip()

    def job(self, number: str) -> dict[str, str]:
        """What `scontrol` says about a job."""
        words = self("scontrol", "show", "job", number, "--oneliner").split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def wait(self, number: str, *, states: tuple[str, ...] = ("COMPLETED",), seconds: float = 900) -> dict[str, str]:
        """Wait until a job is in one of some states; a failed one is an error."""

        def arrived() -> dict[str, str] | None:
            found = self.job(number)
            ended = {"FAILED", "TIMEOUT", "CANCELLED", "NODE_FAIL", "OUT_OF_MEMORY"} - set(states)
            assert found["JobState"] not in ended, found
            return found if found["JobState"] in states else None

        return wait_for(arrived, seconds=seconds, what=f"job {number} in {states}")


def wait_for(question: Callable[[], Answer | None], *, seconds: float, what: str) -> Answer:
    """Ask until there is an answer."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if answer := question():
            return answer
        time.sleep(0.2)
    raise AssertionError(f"{what}: not within {seconds:.0f} s")


@pytest.fixture(scope="module")
def slurm() -> Iterator[Cluster]:
    """The cluster; tests are skipped where it cannot be had."""
    with ExitStack() as stack:
        try:
            stack.enter_context(_installed())
            folder = stack.enter_context(_folder())
            cluster = stack.enter_context(_running(folder))
        except _CannotBeHad as reason:
            pytest.skip(f"no SLURM here: {reason}")
        yield cluster


class _CannotBeHad(Exception):
    pass


def _missing() -> list[str]:
    path = f"{os.environ['PATH']}:{SYSTEM_FOLDERS}"
    return [name for name in PROGRAMS if not shutil.which(name, path=path)]


@contextmanager
def _installed() -> Iterator[None]:
    """SLURM's packages, which are gone again afterwards if they were not here before."""
    if os.geteuid() != 0:
        raise _CannotBeHad("its daemons run as root only")
    if not _missing():
        yield
        return
    if not shutil.which("apt-get"):
        raise _CannotBeHad(f"{', '.join(_missing())} missing, and no apt-get to install slurm-wlm and munge with")
    before = _packages()
    _apt("update")
    try:
        _apt("install", "--no-install-recommends", *PACKAGES)
        if _missing():
            raise _CannotBeHad(f"the packages {PACKAGES} hold no {', '.join(_missing())}")
        yield
    finally:
        if added := sorted(_packages() - before):
            _apt("purge", *added)


def _packages() -> set[str]:
    listed = subprocess.run(["dpkg-query", "-f", "${Package}\\n", "-W"], capture_output=True, text=True, check=True)
    return set(listed.stdout.split())


def _apt(*arguments: str) -> None:
    # Runlevel 1: no package starts a service of its own.
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    command = ["apt-get", "-qq", "-y", "-o", "DPkg::Lock::Timeout=120", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise _CannotBeHad(f"apt-get {' '.join(arguments)}: {done.stderr.strip()[-300:]}")


@contextmanager
def _folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))  # short: a socket's path may have 107 letters
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _running(folder: Path) -> Iterator[Cluster]:
    host = socket.gethostname().partition(".")[0]
    config = folder / "slurm.conf"
    numbers = {"controller_port": _free_port(), "node_port": _free_port()}
    first_job = random.randrange(1, 10_000)  # by its number a job chooses the port where its ranks meet
    config.write_text(CONFIG.format(folder=folder, host=host, first_job=first_job, **numbers))
    for name in ("spool", "state"):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    found = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "SBATCH_", "SRUN_"))}
    cluster = Cluster({**found, "PATH": f"{found['PATH']}:{SYSTEM_FOLDERS}", "SLURM_CONF": str(config)})
    munge = [f"--{name}={folder}/munge.{name.removesuffix('-file')}" for name in ("key-file", "pid-file", "log-file")]
    with ExitStack() as daemons:
        daemons.callback(cluster, "scancel", "--user=root", "--signal=KILL", "--full", check=False)
        daemons.enter_context(
            _daemon(cluster, "munged", "--foreground", "--force", f"--socket={folder}/munge.socket",
                    f"--seed-file={folder}/munge.seed", *munge, log=folder / "munged.out")
        )  # fmt: skip
        _until((folder / "munge.socket").exists, folder)
        daemons.enter_context(_daemon(cluster, "slurmctld", "-D", "-f", str(config), log=folder / "slurmctld.out"))
        daemons.enter_context(_daemon(cluster, "slurmd", "-D", "-f", str(config), log=folder / "slurmd.out"))
        _until(lambda: "idle" in cluster("sinfo", "--noheader", "--format=%T", check=False), folder)
        yield cluster
        cluster("scancel", "--user=root", check=False)
        wait_for(lambda: not cluster("squeue", "--noheader", check=False).strip(), seconds=20, what="an empty queue")


@contextmanager
def _daemon(cluster: Cluster, *command: str, log: Path) -> Iterator[None]:
    with log.open("wb") as file:
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig=TERM", *command],  # it ends with the tests, however these end
            env=cluster.environment, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _until(question: Callable[[], bool], folder: Path) -> None:
    """Wait for a daemon; say what the daemons said where it does not come."""
    try:
        wait_for(question, seconds=30, what="its daemons")
    except AssertionError as error:
        said = "\n".join(path.read_text(errors="replace")[-500:] for path in sorted(folder.glob("*.out")))
        raise _CannotBeHad(f"{error}: {said}") from None


def _free_port() -> int:
    with socket.socket() as there:
        there.bind(("127.0.0.1", 0))
        return there.getsockname()[1]
