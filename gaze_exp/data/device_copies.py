"""Copies of batches to a GPU that nobody waits for."""

from collections import deque
from typing import Any

import torch

from gaze_exp.batch import GazeBatch

_MAX_UNFINISHED = 8


class DeviceCopies:
    """Starts copies and keeps their sources until they are done.

    torch would let a recycled buffer be filled again while the GPU still reads it, because it guards only
    memory of its own allocator.
    """

    def __init__(self) -> None:
        self._unfinished: deque[tuple[GazeBatch, Any]] = deque()

    def copy(self, batch: GazeBatch, device: torch.device) -> GazeBatch:
        """Start to copy every tensor of a batch.

        Args:
            batch: on the host, pinned where it is to be fast.
            device: a GPU.

        Returns:
            The batch on the device; work queued behind it on the current stream sees it complete.
        """
        moved: Any = {key: values.to(device, non_blocking=True) for key, values in batch.items()}  # type: ignore[attr-defined]
        done: Any = torch.cuda.current_stream(device).record_event()
        self._unfinished.append((batch, done))
        # A host far ahead of its GPU would otherwise lend one buffer after the other.
        if len(self._unfinished) > _MAX_UNFINISHED:
            self._unfinished[0][1].synchronize()
        while self._unfinished and self._unfinished[0][1].query():
            self._unfinished.popleft()
        return moved
