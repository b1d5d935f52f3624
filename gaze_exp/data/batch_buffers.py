"""Memory for batches, used again as soon as nobody looks at it.

Fresh memory is what a batch costs most: every new page is faulted in before it is filled. A buffer is
free again when the tensors made from it are gone, whoever kept them and however long.
"""

import threading
import weakref

import numpy as np
import torch
from torch import Tensor


class BatchBuffers:
    """Byte buffers of one size; several threads may take and lend.

    Args:
        num_bytes: size of each.
        pin_memory: in page-locked memory, from which a GPU copies by itself.
        keep: how many unused ones to keep; more are made when all are lent.
    """

    def __init__(self, num_bytes: int, *, pin_memory: bool, keep: int) -> None:
        self.num_bytes = num_bytes
        self.pin_memory = pin_memory
        self.keep = keep
        self._lock = threading.Lock()
        # Loans are looked through, not reported: Ctrl-C is lost when it falls into a finalizer.
        self._loans: list[tuple[weakref.ref[np.ndarray], np.ndarray]] = []
        self._free: list[np.ndarray] = []

    def take(self) -> np.ndarray:
        """A (num_bytes,) uint8 buffer with anything in it."""
        with self._lock:
            self._free += [buffer for loan, buffer in self._loans if loan() is None]
            self._loans = [each for each in self._loans if each[0]() is not None]
            del self._free[self.keep :]
            if self._free:
                return self._free.pop()
        if self.pin_memory:
            return torch.empty(self.num_bytes, dtype=torch.uint8, pin_memory=True).numpy()
        return np.empty(self.num_bytes, np.uint8)

    def lend(self, buffer: np.ndarray) -> Tensor:
        """A tensor over the buffer, which is free again when the tensor and all its views are gone.

        Args:
            buffer: from `take`, filled.

        Returns:
            (num_bytes,) uint8.
        """
        lent = buffer.view()
        with self._lock:
            self._loans.append((weakref.ref(lent), buffer))
        return torch.from_numpy(lent)
