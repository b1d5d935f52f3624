"""A round to another machine with nothing to send and nothing to do: what the way there and back costs.

The machine is the one that `GAZE_REMOTE_HOST` names, with `GAZE_REMOTE_SSH_CONFIG` for `ssh -F` where it is set; for
the loopback, `python tests/ssh_server.py` starts a server and says both. The interpreter there is the one here.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from gaze_exp.errors import ConfigError
from gaze_exp.hardware import Hardware

ROUNDS = 5


def run(machine: Hardware) -> list[dict[str, Any]]:
    """Time whole commands: the second and later ones send nothing.

    Args:
        machine: of the runs there.

    Returns:
        One row for the first round and one for the others.
    """
    host = os.environ.get("GAZE_REMOTE_HOST")
    if not host:
        raise ConfigError("benchmark.names: remote_round needs GAZE_REMOTE_HOST=NAME, a machine that ssh reaches")
    config = os.environ.get("GAZE_REMOTE_SSH_CONFIG")
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable, "-m", "gaze_exp", "remote=ssh", f"remote.folder={folder}/there",
            f"remote.environment={sys.executable}", f"hardware={machine.name}", "actions=[benchmark]",
            "benchmark.names=[]",
            *([f"remote.ssh_options=[-F,{config}]"] if config else []),
        ]  # fmt: skip
        seconds = [_seconds(command, cwd=Path(folder)) for _ in range(ROUNDS + 1)]
        plain = [_seconds([w for w in command if not w.startswith("remote")], cwd=Path(folder)) for _ in range(ROUNDS)]
    return [
        {"round": "first, sends the code", "s (least)": f"{seconds[0]:.1f}", "s (most)": f"{seconds[0]:.1f}"},
        {"round": "nothing to send", "s (least)": f"{min(seconds[1:]):.1f}", "s (most)": f"{max(seconds[1:]):.1f}"},
        {"round": "the same run here", "s (least)": f"{min(plain):.1f}", "s (most)": f"{max(plain):.1f}"},
    ]


def _seconds(command: list[str], *, cwd: Path) -> float:
    begin = time.perf_counter()
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ConfigError(f"benchmark: {done.stderr.strip()}")
    return time.perf_counter() - begin
