"""Batches of crops, filled ahead by threads, in an order that a resumed run can take up again."""

import logging
import math
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import cast

import numpy as np
import torch
from torch import distributed

from gaze_exp.batch import GazeBatch
from gaze_exp.data.batch_buffers import BatchBuffers
from gaze_exp.data.crop_dataset import CropDataset

log = logging.getLogger(__name__)


class BatchLoader:
    """An iterable of `GazeBatch`.

    Reading leaves the interpreter (`preadv`), so threads do what worker processes would, without sending
    anything. In training (`shuffle`) every rank gets equally many full batches; otherwise every row comes
    once over all ranks, in batches that differ by a row at most.

    Args:
        crops: the rows.
        batch_size: rows, or windows, a batch on this device, at most.
        shuffle: a new order each epoch, from (seed, epoch); the rest that fills no batch is left out.
        num_workers: threads that fill batches ahead; 0 reads in the caller's thread.
        seed: of the order.
        pin_memory: fill page-locked memory.
        rows: (K,) the rows to go through; default all that carry a label. (K, T) windows of rows, negative
            where a window is not full, give batches (B, T, ...), whose padding repeats the first frame, is
            not valid and keeps a negative `row`.
    """

    # Lightning looks here, and in `sampler`, for a torch sampler; there is none to replace.
    batch_sampler = None

    def __init__(
        self,
        crops: CropDataset,
        *,
        batch_size: int,
        shuffle: bool = False,
        num_workers: int = 2,
        seed: int = 0,
        pin_memory: bool = False,
        rows: np.ndarray | None = None,
    ) -> None:
        self.crops = crops
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.num_workers = num_workers
        self.seed = seed
        self.epoch = 0
        self._rows = crops.usable if rows is None else rows
        self._given = 0
        self._resume: dict[str, int] | None = None
        row_bytes = sum(int(np.prod(shape)) for shape in crops.image_shapes.values())
        keep = 2 * max(num_workers, 1) + 2
        num_rows = batch_size * int(np.prod(self._rows.shape[1:]))
        self._buffers = BatchBuffers(num_rows * row_bytes, pin_memory=pin_memory, keep=keep)

    @property
    def sampler(self) -> "BatchLoader":
        """Lightning calls `loader.sampler.set_epoch` before each epoch."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the next pass."""
        if epoch != self.epoch:
            self.epoch, self._given = epoch, 0

    def __len__(self) -> int:
        _, world_size = _rank()
        batches = len(self._rows) / (self.batch_size * world_size)
        return math.floor(batches) if self.shuffle else math.ceil(batches)

    def state_dict(self) -> dict[str, int]:
        """Where the pass stands: what a checkpoint needs to go on behind the last batch given."""
        return {"epoch": self.epoch, "batches": self._given} | self._identity()

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Start the next pass, if it is over the same epoch, behind the batches already given."""
        self._resume = dict(state)
        self.epoch, self._given = state["epoch"], state["batches"]

    def _identity(self) -> dict[str, int]:
        """What must be equal for the order of an epoch to be equal."""
        _, world_size = _rank()
        rows = len(self._rows)
        return {"seed": self.seed, "rows": rows, "global_batch": self.batch_size * world_size}

    def _first_batch(self) -> int:
        resume, self._resume = self._resume, None
        # A checkpoint of a finished epoch is resumed in the next one.
        if resume is None or resume["epoch"] != self.epoch:
            return 0
        changed = [name for name, value in self._identity().items() if resume[name] != value]
        if changed:
            log.warning("resumed with another %s: the rest of this epoch is in another order", changed)
        return resume["batches"]

    def _batches(self) -> Iterator[np.ndarray]:
        """Rows of each of this rank's batches."""
        rank, world_size = _rank()
        if not self.shuffle:
            part = np.array_split(self._rows, world_size)[rank]
            return (rows for rows in np.array_split(part, max(len(self), 1)) if len(rows))
        order = np.random.default_rng([self.seed, self.epoch]).permutation(self._rows)
        starts = range(rank * self.batch_size, len(self) * world_size * self.batch_size, world_size * self.batch_size)
        return (order[start : start + self.batch_size] for start in starts)

    def __iter__(self) -> Iterator[GazeBatch]:
        # A generator: nothing is decided before the first batch is asked for, because Lightning makes the
        # iterator before it sets the epoch.
        self._given = self._first_batch()
        batches = islice(self._batches(), self._given, None)
        if self.num_workers == 0:
            for rows in batches:
                yield self._count(self._fill(rows))
            return
        workers = ThreadPoolExecutor(self.num_workers, thread_name_prefix="crops")
        try:
            ahead = islice(batches, 2 * self.num_workers)
            pending: deque[Future[GazeBatch]] = deque(workers.submit(self._fill, rows) for rows in ahead)
            while pending:
                filled = pending.popleft().result()
                pending.extend(workers.submit(self._fill, rows) for rows in islice(batches, 1))
                yield self._count(filled)
                del filled  # else its buffer could not be used before the next batch is there
        finally:
            workers.shutdown(cancel_futures=True)

    def _count(self, batch: GazeBatch) -> GazeBatch:
        self._given += 1
        return batch

    def _fill(self, rows: np.ndarray) -> GazeBatch:
        is_row = rows >= 0
        read = rows if is_row.all() else np.where(is_row, rows, rows[:, :1])
        batch = self._images(read)
        batch["gaze"] = torch.from_numpy(self.crops.gaze[read])
        batch["valid"] = torch.from_numpy(self.crops.valid[read] & is_row)
        batch["subject"] = torch.from_numpy(self.crops.subject[read].astype(np.int64))
        batch["row"] = torch.from_numpy(rows.astype(np.int64))
        if self.crops.head is not None:
            batch["head"] = torch.from_numpy(self.crops.head[read])
        batch |= {name: torch.from_numpy(values[read]) for name, values in self.crops.eyes.items()}
        batch |= {name: torch.from_numpy(values) for name, values in self.crops.masks(rows).items()}
        return cast(GazeBatch, batch)

    def _images(self, rows: np.ndarray) -> dict[str, torch.Tensor]:
        buffer = self._buffers.take()
        places, end = {}, 0
        for key, shape in self.crops.image_shapes.items():
            begin, end = end, end + rows.size * int(np.prod(shape))
            places[key] = (slice(begin, end), shape)
        views = {key: buffer[place].reshape(rows.size, *shape) for key, (place, shape) in places.items()}
        self.crops.read(rows.ravel(), views)
        images = self._buffers.lend(buffer)
        # NCHW by strides: the memory is channels-last, as the convolutions want it.
        return {key: images[place].view(*rows.shape, *shape).movedim(-1, -3) for key, (place, shape) in places.items()}


def _rank() -> tuple[int, int]:
    """This process's number, and how many there are."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1
