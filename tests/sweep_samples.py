"""Jobs for sweeps: quick ones without a net, and training that sends its sweep a signal at a known batch."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from conftest import TINY
from torch import Tensor

from gaze_exp.augment import PhotometricAugment

TESTS = Path(__file__).parent
ROOT = TESTS.parent
REPACK = ("actions=[repack]", "data=eve_crops", "repack.to=${run_dir}/crops")
"""The quickest job there is: it copies crop files, in two seconds; `data.root` says which."""
FREE_RATE = tuple(each for each in TINY if not each.startswith("optim.lr="))
"""What Optuna finds typed with one value, it takes out of its search."""
TRAIN = (*TINY, "trainer.max_epochs=2", "actions=[train]")


class Signals(PhotometricAugment):
    """The real augmentation; `SWEEP_SIGNAL=9@8` kills the sweep in the 8th batch of the job with `in_job=1`."""

    num_batches = 0

    def __init__(self, *, in_job: int, **settings: Any) -> None:
        super().__init__(**settings)
        self.in_job = in_job

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        self.num_batches += 1
        signal, _, number = os.environ.get("SWEEP_SIGNAL", "0@0").partition("@")
        if self.num_batches == int(number) and self.in_job == 1:
            os.kill(os.getppid(), int(signal))
        return super().forward(batch)


def sweep(*arguments, cwd, **environment):
    """Type a sweep, as a person does."""
    kept = {name: value for name, value in os.environ.items() if name != "HYDRA_FULL_ERROR"}
    path = os.pathsep.join([str(TESTS), str(ROOT)])
    return subprocess.run(
        [sys.executable, "-m", "gaze_exp", "-m", *arguments],
        cwd=cwd, env={**kept, "PYTHONPATH": path, **environment}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def folder_of(cwd) -> Path:
    """The one sweep below a folder."""
    (found,) = (path.parent for path in Path(cwd).glob("outputs/sweeps/*/sweep.json"))
    return found
