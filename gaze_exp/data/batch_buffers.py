"""Memory for batches, used again as soon as nobody looks at it.

Fresh memory is what a batch costs most: every new page is faulted in before it is filled. A buffer comes
back when the tensors made from it are gone, whoever kept them and however long.
"""

import weakref
from collections import deque

import numpy as np
import torch
from torch import Tensor


class BatchBuffers:
    """Byte buffers of one size.

    Args:
        num_bytes: size of each.
        pin_memory: in page-locked memory, from which a GPU copies by itself.
        keep: how many unused ones to keep; more are made when all are lent.
    """

    def __init__(self, num_bytes: int, *, pin_memory: bool, keep: int) -> None:
        self.num_bytes = num_bytes
        self.pin_memory = pin_memory
        self._free: deque[np.ndarray] = deque(maxlen=keep)

    def take(self) -> np.ndarray:
        """A (num_bytes,) uint8 buffer with anything in it."""
        try:
            return self._free.pop()
        except IndexError:
            if self.pin_memory:
                return torch.empty(self.num_bytes, dtype=torch.uint8, pin_memory=True).numpy()
            return np.empty(self.num_bytes, np.uint8)

    def lend(self, buffer: np.ndarray) -> Tensor:
        """A tensor over the buffer, which comes back when the tensor and all its views are gone.

        Args:
            buffer: from `take`, filled.

        Returns:
            (num_bytes,) uint8.
        """
        lent = buffer.view()
        weakref.finalize(lent, self._free.append, buffer).atexit = False
        return torch.from_numpy(lent)
