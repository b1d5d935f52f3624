"""What a sweep adds to each of its jobs, beside the command that a person would type."""

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from gaze_exp.data.crops import CropWriter
from gaze_exp.hardware import Hardware

_JOB = ("actions=[repack]", "data=eve_crops", "repack.to=${run_dir}/crops")
"""The quickest action; what is left of it is interpreter, imports and configuration, which both sides have."""


def run(machine: Hardware) -> list[dict[str, Any]]:
    """Measure on the CPU, whatever the machine has, three times in turn."""
    del machine
    with tempfile.TemporaryDirectory(prefix="sweep_overhead_") as folder:
        return measure(Path(folder), num_jobs=4, num_rounds=3)


def measure(folder: Path, *, num_jobs: int, num_rounds: int) -> list[dict[str, Any]]:
    """Time plain commands and a sweep of the same jobs, and a sweep of one, whose start is taken off.

    Args:
        folder: to work in.
        num_jobs: of the longer sweep, 2 or more.
        num_rounds: of each; the fastest counts, since other programs only ever add time.

    Returns:
        A row for each, and the difference.
    """
    _write_crops(folder / "crops" / "train01" / "participant_p1" / "frames_basler.h5")
    data = [f"data.root={folder / 'crops'}"]
    ways = {
        "plain": [*_JOB, *data, "seed=0"],
        "one": ["-m", *_JOB, *data, "seed=0"],
        "many": ["-m", *_JOB, *data, f"seed=range(0,{num_jobs})"],
    }
    best: dict[str, tuple[float, float]] = {}
    for number in range(num_rounds):
        for name, arguments in ways.items():
            took = _timed(arguments, cwd=folder / f"{name}_{number}")
            best[name] = min(best.get(name, took)[0], took[0]), min(best.get(name, took)[1], took[1])
    of_a_job = [(many - one) / (num_jobs - 1) for one, many in zip(best["one"], best["many"], strict=True)]
    rows = {
        "plain command": best["plain"],
        "job of a sweep": (of_a_job[0], of_a_job[1]),
        "added to a job by the sweep": (of_a_job[0] - best["plain"][0], of_a_job[1] - best["plain"][1]),
        "added to a sweep by its start and summary": (best["one"][0] - of_a_job[0], best["one"][1] - of_a_job[1]),
    }
    return [
        {"what": what, "s": round(seconds, 2), "processor s": round(processor, 2)}
        for what, (seconds, processor) in rows.items()
    ]


def _timed(arguments: list[str], *, cwd: Path) -> tuple[float, float]:
    """Seconds by the clock and by the processor, children included."""
    cwd.mkdir()
    command = [sys.executable, "-m", "gaze_exp", *arguments]
    package = str(Path(__file__).resolve().parents[2])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([package, os.environ.get("PYTHONPATH", "")])}
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, cwd=cwd, env=environment, check=True, capture_output=True)
    seconds, after = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def _write_crops(path: Path) -> None:
    random = np.random.default_rng(0)
    with CropWriter(path, num_rows=8, face_size=32, eye_size=16) as writer:
        eyes = {name: random.integers(0, 255, (8, 16, 16, 3), np.uint8) for name in ("leye", "reye")}
        face = random.integers(0, 255, (8, 32, 32, 3), np.uint8)
        writer.append({"face": face, **eyes, "gaze": random.uniform(-0.5, 0.5, (8, 2)).astype(np.float32)})
