"""Our crop reader beside a plain h5py `Dataset` in a torch `DataLoader`; and what many files cost in memory."""

import os
import statistics
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from gaze_exp.data.batch_loader import BatchLoader
from gaze_exp.data.crop_dataset import CropDataset
from gaze_exp.data.crops import IMAGES, CropWriter
from gaze_exp.hardware import Hardware

_FACE_SIZE, _EYE_SIZE = 224, 112


def run(machine: Hardware) -> list[dict[str, Any]]:
    """Measure on 0.9 GB in one file, then on 0.5 GB in 400, in a temporary folder."""
    del machine  # reading concerns the CPU and the disk alone
    with tempfile.TemporaryDirectory(prefix="crop_reader_") as folder:
        path = write_random(Path(folder) / "one" / "frames.h5", num_rows=4000)
        rows = measure_speed(path, batch_size=64, num_workers=2, num_rounds=3)
        many = [write_random(Path(folder) / f"{number}" / "frames.h5", num_rows=5) for number in range(400)]
        return rows + measure_memory(many, batch_size=64, num_workers=2)


def write_random(path: Path, *, num_rows: int) -> Path:
    """Write a crop file of noise; it reads like any other."""
    random = np.random.default_rng(0)
    with CropWriter(path, num_rows=num_rows, face_size=_FACE_SIZE, eye_size=_EYE_SIZE) as writer:
        for start in range(0, num_rows, 100):
            num = min(100, num_rows - start)
            sizes = {"face": _FACE_SIZE, "leye": _EYE_SIZE, "reye": _EYE_SIZE}
            rows = {name: random.integers(0, 256, (num, size, size, 3), np.uint8) for name, size in sizes.items()}
            writer.append(rows | {"gaze": random.uniform(-0.5, 0.5, (num, 2)).astype(np.float32)})
    return path


class PlainDataset(Dataset[dict[str, Tensor]]):
    """What one writes first: an item a row, scaled to float32 0..1 as it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with h5py.File(path) as file:
            self.num_rows = len(file["gaze"])
        self.file: h5py.File | None = None

    def __len__(self) -> int:
        return self.num_rows

    def __getitem__(self, row: int) -> dict[str, Tensor]:
        if self.file is None:
            self.file = h5py.File(self.path)
        item = {name: torch.from_numpy(self.file[name][row]).permute(2, 0, 1).float() / 255 for name in IMAGES}
        return item | {"gaze": torch.from_numpy(self.file["gaze"][row])}


def measure_speed(path: Path, *, batch_size: int, num_workers: int, num_rounds: int) -> list[dict[str, Any]]:
    """Time both in turn on the same file, rows in random order, page cache warm.

    Args:
        path: a crop file.
        batch_size: rows a batch.
        num_workers: threads of ours, processes of the other.
        num_rounds: timed passes of each; the median counts.

    Returns:
        A row for each, with samples a second, and how many times faster ours is.
    """
    crops = CropDataset([path])
    ours = BatchLoader(crops, batch_size=batch_size, shuffle=True, num_workers=num_workers)
    plain = DataLoader(PlainDataset(path), batch_size=batch_size, shuffle=True, num_workers=num_workers, drop_last=True)
    _samples_per_second(ours)  # warms the page cache
    rates: dict[str, list[float]] = {"ours": [], "plain": []}
    for number in range(num_rounds):
        rates["plain"].append(_samples_per_second(plain))
        ours.set_epoch(number)
        rates["ours"].append(statistics.median(_samples_per_second(ours) for _ in range(5)))
    median = {name: statistics.median(values) for name, values in rates.items()}
    names = {"ours": "BatchLoader, uint8", "plain": "h5py Dataset, float32, default collate"}
    return [
        {
            "what": names[name],
            "workers": num_workers,
            "batch": batch_size,
            "samples/s": round(rate),
            "times plain": round(rate / median["plain"], 1),
        }
        for name, rate in median.items()
    ]


def _samples_per_second(loader: Iterable[Any]) -> float:
    """Rate from the second batch on: starting processes is not what is compared."""
    num_samples, begin = 0, 0.0
    for batch in loader:
        if begin:
            num_samples += len(batch["gaze"])
        else:
            begin = time.perf_counter()
        del batch
    return num_samples / (time.perf_counter() - begin)


def measure_memory(paths: Sequence[Path], *, batch_size: int, num_workers: int) -> list[dict[str, Any]]:
    """Resident memory of this process after reading every row of a few and of all files.

    Args:
        paths: crop files; the first hundredth of them are the few.
        batch_size: rows a batch.
        num_workers: threads.

    Returns:
        A row for each, with megabytes.
    """
    rows = []
    for num_files in (max(1, len(paths) // 100), len(paths)):
        # As many rows each time, so that only the number of files differs.
        crops = CropDataset(paths[:num_files])
        order = np.random.default_rng(0).permutation(np.resize(crops.usable, 5 * len(paths)))
        loader = BatchLoader(crops, batch_size=batch_size, num_workers=num_workers, rows=order)
        for batch in loader:
            del batch
        rows.append({"what": "resident memory", "files": num_files, "MB": round(_resident_bytes() / 1e6)})
    return rows


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
