"""What the frozen part of a net makes of the photos and of their augmented views, computed once.

The frozen part never changes, so its answer to a view is the same in every epoch and every fold. With the answers
kept in fp16, an epoch costs layer4 and the head only; without a bank, every view is drawn and run anew.

Shapes: N photos, V views of each, B batch; `...` is (C, h, w) before layer4, (F,) behind it.
"""

import logging
import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gaze_exp.errors import DataError
from gaze_exp.hardware import Hardware
from gaze_exp.models.l2cs import L2CS
from gaze_exp.personal.photo_augment import PhotoAugment

GIB = 2**30
CHUNK = 16
MEMORY_SHARE = 0.5
"""Of what is free, for a bank; the rest is for the net, its gradients and others."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Device:
    """Where a net runs, and in which precision."""

    name: str
    autocast: bool
    num_threads: int
    channels_last: bool

    @classmethod
    def of(cls, machine: Hardware) -> "Device":
        """One device of a resolved machine."""
        return cls(
            machine.torch_device,
            machine.precision.startswith("bf16"),
            max(1, machine.num_workers),
            machine.channels_last,
        )

    def precision(self) -> torch.autocast:
        """The context in which the net runs."""
        return torch.autocast(self.name, dtype=torch.bfloat16, enabled=self.autocast)


class FrozenViews:
    """Frozen features of photos and views, from a bank or made when they are asked for.

    Args:
        net: on its device, frozen; the part up to layer4, or all of the trunk, is run.
        photos: (N, 3, S, S) uint8 RGB on the CPU.
        augment: draws a view.
        pooled: keep what comes behind layer4, because that is not trained either.
        device: where the net is.
        seed: of the views.
    """

    def __init__(
        self, net: L2CS, photos: Tensor, *, augment: PhotoAugment, pooled: bool, device: Device, seed: int
    ) -> None:
        self.net = net
        self.photos = photos
        self.augment = augment
        self.pooled = pooled
        self.device = device
        self.seed = seed
        self.bank: Tensor | None = None
        self.pool = ThreadPoolExecutor(device.num_threads)
        full = Device(device.name, autocast=False, num_threads=1, channels_last=device.channels_last)
        parts = [self._frozen(part, device=full) for part in photos.split(CHUNK)]
        self.clean = torch.cat(parts)
        """(N, ...) float32 of the photos themselves, on the device; never rounded, for predictions."""

    def fill(self, num_views: int, *, folder: Path, on_views: Callable[[int], None]) -> None:
        """Compute views 0 to V of every photo and keep them in fp16: on the device, in memory or in a file.

        Args:
            num_views: V.
            folder: where a file goes that memory cannot hold; it is removed with the bank.
            on_views: told how many more are done.

        Raises:
            DataError: an answer is beyond what fp16 can hold.
        """
        bank = allocate((len(self.photos), num_views, *self.clean.shape[1:]), device=self.device, folder=folder)
        for photo in range(len(self.photos)):
            for views in torch.arange(num_views).split(CHUNK):
                made = self._fresh(torch.full_like(views, photo), views).half()
                if not bool(torch.isfinite(made).all()):
                    raise DataError("finetune.bank_views: the features are too large for fp16; 0 does without a bank")
                bank[photo, views[0] : views[-1] + 1] = made.to(bank.device)
                on_views(len(views))
        self.bank = bank

    def take(self, photo: Tensor, view: Tensor) -> Tensor:
        """Frozen features of views.

        Args:
            photo: (B,) int64 which photos.
            view: (B,) int64 which view of each; a bank begins again with its first behind its last.

        Returns:
            (B, ...) float32 on the device.
        """
        if self.bank is None:
            return self._fresh(photo, view)
        where = self.bank.device
        taken = self.bank[photo.to(where), (view % self.bank.shape[1]).to(where)]
        return taken.to(self.device.name).float()

    def _fresh(self, photo: Tensor, view: Tensor) -> Tensor:
        """Draw views and run them."""

        def draw(pair: tuple[int, int]) -> Tensor:
            number = pair[0] + len(self.photos) * pair[1]
            return self.augment.view(self.photos[pair[0]], number=number, seed=self.seed)

        drawn = list(self.pool.map(draw, zip(photo.tolist(), view.tolist(), strict=True)))
        return self._frozen(torch.stack(drawn), device=self.device)

    @torch.no_grad()
    def _frozen(self, photos: Tensor, *, device: Device) -> Tensor:
        layout = torch.channels_last if device.channels_last else torch.contiguous_format
        images = photos.to(device.name)
        with device.precision():
            maps = self.net.early(self.net.normalise(images).contiguous(memory_format=layout))
            return (self.net.late(maps) if self.pooled else maps).float().contiguous()


def views_that_fit(num_views: int, *, bytes_a_view: int, num_photos: int, most_gib: float) -> int:
    """How many views of each photo a bank may hold.

    Args:
        num_views: wanted.
        bytes_a_view: of one.
        num_photos: N.
        most_gib: largest bank.

    Returns:
        As many as fit; 0 where not even one does.

    >>> views_that_fit(50, bytes_a_view=2 * 1024 * 28 * 28, num_photos=100, most_gib=4.0)
    26
    """
    return min(num_views, int(most_gib * GIB) // (bytes_a_view * num_photos))


def allocate(shape: tuple[int, ...], *, device: Device, folder: Path) -> Tensor:
    """An empty fp16 tensor where there is room: on the device, in memory, or memory-mapped from a file.

    Args:
        shape: of the tensor.
        device: preferred.
        folder: of the file.

    Raises:
        DataError: the disk has no room either.
    """
    num_bytes = 2 * int(np.prod(shape))
    if device.name == "cuda" and num_bytes < MEMORY_SHARE * torch.cuda.mem_get_info()[0]:
        return torch.empty(shape, dtype=torch.float16, device="cuda")
    if num_bytes < MEMORY_SHARE * free_memory_bytes():
        return torch.empty(shape, dtype=torch.float16)
    free = shutil.disk_usage(folder).free
    if num_bytes > 0.9 * free:
        raise DataError(
            f"{folder}: has {free / GIB:.1f} GiB free, the bank of features takes {num_bytes / GIB:.1f}; "
            "finetune.bank_gib=1 makes it smaller, finetune.bank_views=0 does without"
        )
    log.info("finetune: the bank of features is a file of %.1f GiB in %s while this runs", num_bytes / GIB, folder)
    with tempfile.TemporaryFile(dir=folder) as file:  # without a name: it goes with the last one who reads it
        return torch.from_numpy(np.memmap(file, dtype=np.float16, mode="w+", shape=shape))


def free_memory_bytes() -> int:
    """What can be taken without swapping."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 4 * GIB
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable")), 4 * GIB)


@contextmanager
def repeatable() -> Iterator[None]:
    """Make a GPU choose the same kernels every time: the same seed gives the same numbers."""
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=True):
        yield
