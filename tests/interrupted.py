"""Training that is interrupted at a known place: an augmentation that sends its own process a signal."""

import os

from torch import Tensor

from gaze_exp.augment import PhotometricAugment


class Interrupted(PhotometricAugment):
    """The real augmentation; `INTERRUPT=9@11` in the environment sends signal 9 at the process's 11th batch."""

    num_batches = 0

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        self.num_batches += 1
        signal, _, number = os.environ.get("INTERRUPT", "0@0").partition("@")
        if self.num_batches == int(number):
            os.kill(os.getpid(), int(signal))
        return super().forward(batch)
