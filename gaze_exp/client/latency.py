"""How long onnxruntime needs for one crop: files timed in turn, so that a busy machine is unfair to none."""

import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from gaze_exp.client.custom_onnx import client_tensor
from gaze_exp.onnx_export import open_session


def time_in_turn(
    files: Mapping[str, Path], *, size_px: int, threads: Sequence[int] = (1, 2), num_rounds: int = 20
) -> list[dict[str, Any]]:
    """Time single crops on the CPU.

    Args:
        files: ONNX files that take the client's tensor, by the name that a row shall carry.
        size_px: side of the crop.
        threads: numbers of threads within one operator.
        num_rounds: runs of each file, after two to warm up.

    Returns:
        A row for each number of threads and file: `what`, `threads`, `rounds`, `min_ms`, `median_ms`.
    """
    crop = torch.randint(0, 256, (1, 3, size_px, size_px), generator=torch.Generator().manual_seed(0))
    feed = client_tensor(crop).numpy()
    rows = []
    for num_threads in threads:
        sessions = {name: open_session(path, num_threads=num_threads) for name, path in files.items()}
        times_ms: dict[str, list[float]] = {name: [] for name in files}
        for _ in range(num_rounds + 2):
            for name, session in sessions.items():
                start = time.perf_counter()
                session.run(None, {session.get_inputs()[0].name: feed})
                times_ms[name].append(1e3 * (time.perf_counter() - start))
        rows += [
            {
                "what": name,
                "threads": num_threads,
                "rounds": num_rounds,
                "min_ms": round(min(each[2:]), 2),
                "median_ms": round(statistics.median(each[2:]), 2),
            }
            for name, each in times_ms.items()
        ]
    return rows
