"""How many cores this process may use, and how torch shares them with our own threads."""

import os
from collections.abc import Iterator
from contextlib import contextmanager


def num_cores() -> int:
    """Cores that this process may run on: fewer than the machine's under taskset or in a cluster job."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1  # macOS binds no process to cores


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Let torch run on one thread while there is a thread of ours for each core."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
