"""Training with two processes beside one on the same cores: what keeping them together costs."""

import statistics
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from torch import distributed, multiprocessing, nn

from gaze_exp.benchmarks.training_step import random_batch
from gaze_exp.hardware import Hardware
from gaze_exp.losses import AngularMSE
from gaze_exp.models.gazetr_lite import GazeTRLite
from gaze_exp.processes.cores import num_cores
from gaze_exp.processes.synced_norm import sync_batch_norm

WORLD_SIZES = (1, 2)
GLOBAL_BATCHES = (32, 128)
"""A small one, and the one of 64 a process that `hardware=cpu` takes at most."""
NUM_ROUNDS = 5


def run(machine: Hardware) -> list[dict[str, Any]]:
    """Measure on this machine's cores; what its accelerator does is measured by `training_step`."""
    del machine
    return [row for batch in GLOBAL_BATCHES for row in measure(global_batch=batch, num_rounds=NUM_ROUNDS)]


def measure(
    *, global_batch: int, num_rounds: int, model: Callable[[], nn.Module] | None = None
) -> list[dict[str, Any]]:
    """Time a training step of one process and of two in turn, each time on all cores.

    Args:
        global_batch: samples a step over all processes.
        num_rounds: timed steps of each, after one to warm up. The median counts, and of the ratio that of the rounds,
            since a shared machine is faster in one minute than in the next.
        model: makes the net; default GazeTRLite with the encoders of the baseline.

    Returns:
        A row for each, with samples a second and processor time a sample.
    """
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        teams = {size: _start(context, size, global_batch, Path(folder), model) for size in WORLD_SIZES}
        seconds = {size: [_step(team)] for size, team in teams.items()}
        for _ in range(num_rounds):
            for size, team in teams.items():
                seconds[size].append(_step(team))
        for team in teams.values():
            for process, pipe in team:
                pipe.send("end")
                process.join()
    return [
        _row(size, measured[1:], one=seconds[1][1:], global_batch=global_batch) for size, measured in seconds.items()
    ]


def _row(
    size: int, measured: list[tuple[float, float]], *, one: list[tuple[float, float]], global_batch: int
) -> dict[str, Any]:
    """One team's rounds, (wall seconds, processor seconds) each, beside those of one process."""
    wall, processor = (statistics.median(values) for values in zip(*measured, strict=True))
    ratios = [alone / together for (alone, _), (together, _) in zip(one, measured, strict=True)]
    return {
        "what": f"{size} processes, gloo" if size > 1 else "1 process",
        "threads each": max(1, num_cores() // size),
        "batch": global_batch,
        "samples/s": round(global_batch / wall, 2),
        "processor ms a sample": round(1e3 * processor / global_batch, 1),
        "times one process": f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
    }


def _start(
    context: Any, world_size: int, global_batch: int, folder: Path, model: Callable[[], nn.Module] | None
) -> list[tuple[Any, Connection]]:
    team = []
    for rank in range(world_size):
        ours, theirs = context.Pipe()
        arguments = ((rank, world_size), global_batch // world_size, folder, model or _baseline, theirs)
        process = context.Process(target=_work, args=arguments, daemon=True)
        process.start()
        team.append((process, ours))
    return team


def _step(team: list[tuple[Any, Connection]]) -> tuple[float, float]:
    """Wall and processor seconds of one step of all."""
    begin = time.perf_counter()
    for _, pipe in team:
        pipe.send("step")
    processor = sum(pipe.recv() for _, pipe in team)
    return time.perf_counter() - begin, processor


def _baseline() -> nn.Module:
    return GazeTRLite(pretrained=False)


def _work(
    place: tuple[int, int], batch_size: int, folder: Path, model: Callable[[], nn.Module], pipe: Connection
) -> None:
    """A process of a team: a step for each word, as a run does it under DDP."""
    rank, world_size = place
    torch.set_num_threads(max(1, num_cores() // world_size))
    torch.manual_seed(0)
    net = model().to(memory_format=torch.channels_last)
    trained = net
    if world_size > 1:
        distributed.init_process_group(
            "gloo", init_method=f"file://{folder}/meet{world_size}", rank=rank, world_size=world_size
        )
        sync_batch_norm(net, on_gpu=False)
        trained = nn.parallel.DistributedDataParallel(net)
    batch = random_batch(batch_size, device=torch.device("cpu"))
    loss = AngularMSE()
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-4, weight_decay=1e-4, fused=True)
    while pipe.recv() == "step":
        begin = time.process_time()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            output = trained(batch["face"], batch["left_eye"], batch["right_eye"])
            total = loss(output, batch)["total"]
        total.backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        pipe.send(time.process_time() - begin)
    if world_size > 1:
        distributed.destroy_process_group()
