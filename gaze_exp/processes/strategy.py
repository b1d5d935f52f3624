"""How several devices work together: what a machine's `strategy` means, and what it does to the model."""

import logging
import os
from typing import TYPE_CHECKING, Any

import torch
from torch import distributed, nn

from gaze_exp.errors import ConfigError
from gaze_exp.hardware import Hardware
from gaze_exp.processes import ranks

if TYPE_CHECKING:
    from lightning.pytorch.strategies import Strategy

log = logging.getLogger(__name__)

SMALLEST_SHARD = 1_000_000
"""Parameters of a part that is worth gathering by itself."""


def strategy_of(machine: Hardware) -> "Strategy | str":
    """What Lightning's Trainer takes as its strategy.

    Args:
        machine: resolved.

    Returns:
        `ddp` for several devices where nothing is chosen; for `fsdp` one that shares the weights out; else the name.

    Raises:
        ConfigError: `fsdp` with a precision that it has not.
    """
    if machine.strategy == "auto":
        return "ddp" if machine.num_devices > 1 else "auto"
    if machine.strategy != "fsdp":
        return machine.strategy
    from lightning.pytorch.strategies import ModelParallelStrategy

    known = ("32-true", "bf16-mixed", "bf16-true")
    if machine.precision not in known:
        raise ConfigError(
            f"hardware.precision: fsdp does not know {machine.precision}; {' or '.join(known)} would be right"
        )
    # FSDP2: it runs on the CPU too, where the tests try it. The checkpoint is one file, as without it.
    return ModelParallelStrategy(
        data_parallel_size=machine.num_devices, tensor_parallel_size=1, save_distributed_checkpoint=False
    )


def meet_after_restart(machine: Hardware) -> None:
    """Let the ranks that torchrun has started again meet at a place of their own.

    Its agent keeps one store over all restarts, where torch finds the addresses of processes that are gone.

    Args:
        machine: resolved.
    """
    launch = ranks.found()
    if launch.launcher != "torchrun" or not launch.restarts or distributed.is_initialized():
        return
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":  # then rank 0 has a store of its own, a new one
        return
    store = distributed.TCPStore(launch.address, launch.port, wait_for_workers=False)  # type: ignore[attr-defined]
    distributed.init_process_group(
        "nccl" if machine.accelerator == "gpu" else "gloo",
        store=distributed.PrefixStore(f"restart{launch.restarts}", store),  # type: ignore[attr-defined]
        rank=launch.rank,
        world_size=launch.world_size,
    )


def share_out(parts: list[nn.Module], *, strategy: Any) -> None:
    """Keep a part of the weights on each device, where the strategy is FSDP; else do nothing.

    Args:
        parts: modules whose `forward` is called by itself; changed in place.
        strategy: of the Trainer, with its processes running.
    """
    from lightning.pytorch.strategies import ModelParallelStrategy

    if not isinstance(strategy, ModelParallelStrategy):
        return
    from torch.distributed.fsdp import FSDPModule, fully_shard

    mesh = strategy.device_mesh["data_parallel"]
    for part in parts:
        if isinstance(part, FSDPModule) or not list(part.parameters()):
            continue
        part.to(memory_format=torch.contiguous_format)  # FSDP cuts rows, which channels-last weights have not
        for block in _blocks(part):
            fully_shard(block, mesh=mesh)
        fully_shard(part, mesh=mesh)


def _blocks(part: nn.Module) -> list[nn.Module]:
    """The large children, each of which is gathered when its turn comes; not theirs, whose weights they may read."""
    found: list[nn.Module] = []
    for child in part.children():
        if isinstance(child, nn.ModuleList | nn.ModuleDict):  # has no forward of its own
            found += _blocks(child)
        elif sum(parameter.numel() for parameter in child.parameters()) >= SMALLEST_SHARD:
            found.append(child)
    return found
