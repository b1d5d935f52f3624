"""The small training that one process and several have to agree about."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

from conftest import TINY, Ended

TESTS = Path(__file__).parent

ALIKE = (
    *TINY, "model.dropout=0.0", "augment=none", "augment._target_=rank_events.RankEvents", "optim.lr=1e-4",
    "trainer.max_epochs=2", "data.eval_batch_size=7",
)  # fmt: skip
"""6 steps an epoch of 16 rows; no draw differs between ranks, and no validation batch is as large as another."""

TORCHRUN = [sys.executable, "-m", "torch.distributed.run"]


def environment(events: Path, **more: str) -> dict[str, str]:
    """For processes that write down their rows."""
    events.mkdir(exist_ok=True)
    path = os.pathsep.join([str(TESTS), str(TESTS.parent)])
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("HYDRA_", "SLURM_"))}
    return {**kept, "OMP_NUM_THREADS": "1", "PYTHONPATH": path, "RANK_EVENTS": str(events)} | more


def start(*command: str, cwd: Path, **more: str) -> subprocess.Popen[str]:
    """Start processes that end with this one's group."""
    return subprocess.Popen(
        command, cwd=cwd, env=environment(cwd / "events", **more), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, start_new_session=True,
    )  # fmt: skip


def ended(process: subprocess.Popen[str], *, cwd: Path) -> Ended:
    """Wait; whatever happens, nothing of it is left running."""
    try:
        out, err = process.communicate(timeout=900)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    return Ended(process.returncode, out, err, cwd)


def run(*command: str, cwd: Path, **more: str) -> Ended:
    """Run to the end."""
    return ended(start(*command, cwd=cwd, **more), cwd=cwd)


def gaze_exp(*arguments: str, cwd: Path, **more: str) -> Ended:
    """Run the program as a person does."""
    return run(sys.executable, "-m", "gaze_exp", *arguments, cwd=cwd, **more)
