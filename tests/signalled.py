"""Training that brings its own end about, at a known batch of a known start of a SLURM job."""

import os
import subprocess
import time

from torch import Tensor

from gaze_exp.augment import PhotometricAugment
from gaze_exp.processes import requeue

SECONDS = 120


class Signalled(PhotometricAugment):
    """The real augmentation, on whose way rank 0 runs a shell command.

    `SIGNAL_0=9 COMMAND` in the environment is for the ninth batch of a job's first start, `SIGNAL_1` for one of its
    second, `SIGNAL_ARRAY_0_0` for the first start of the first job of an array. The signal has come before the batch
    goes on. `SIGNAL_0=9 hang COMMAND` has no way beyond the step after: the job hangs there until it is ended.
    """

    num_batches = 0

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        self.num_batches += 1
        place = f"ARRAY_{os.environ['SLURM_ARRAY_TASK_ID']}_" if "SLURM_ARRAY_TASK_ID" in os.environ else ""
        told = os.environ.get(f"SIGNAL_{place}{os.environ.get('SLURM_RESTART_COUNT', '0')}")
        if told and os.environ.get("SLURM_PROCID") == "0":
            at, _, command = told.partition(" ")
            hangs, command = command.startswith("hang "), command.removeprefix("hang ")
            if self.num_batches == int(at):
                subprocess.run(command, shell=True, check=True)
                _wait_for_it()
            if hangs and self.num_batches == int(at) + 3:
                time.sleep(SECONDS)
        return super().forward(batch)


def _wait_for_it() -> None:
    until = time.monotonic() + SECONDS
    while time.monotonic() < until and not (requeue.notice.must_end or requeue.notice.must_save):
        time.sleep(0.01)
