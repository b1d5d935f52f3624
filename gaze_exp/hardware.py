"""The machine, as data: what is there, and how a task's global batch is split over it."""

import dataclasses
import logging
from dataclasses import dataclass

from gaze_exp.errors import ConfigError

log = logging.getLogger(__name__)


@dataclass
class Hardware:
    """One file of `conf/hardware`: facts of a machine, nothing of the science."""

    name: str = "auto"
    accelerator: str = "auto"
    """auto, cpu, gpu (CUDA) or mps (Apple)."""
    devices: int = 1
    """Devices in each node."""
    num_nodes: int = 1
    """Machines; several are started by torchrun, by srun, or by one command on each."""
    strategy: str = "auto"
    """How several devices work together: auto (ddp), ddp, fsdp for a model that outgrows one, or Lightning's name."""
    precision: str = "auto"
    """32-true, bf16-mixed, ...; auto: bf16-mixed on a GPU, else 32-true."""
    num_workers: int = 2
    """Threads a device that fill batches."""
    max_device_batch: int = 128
    """Largest batch a device takes at once."""
    channels_last: bool = True
    compile: bool = False
    tf32: bool = True
    """Multiply float32 matrices with 10 bits of mantissa, on a GPU that can."""
    sync_batchnorm: bool = True
    """Take batch norm's statistics over all devices; otherwise the number of devices changes what is learned."""

    @property
    def num_devices(self) -> int:
        """Devices in all nodes."""
        return self.devices * self.num_nodes

    @property
    def torch_device(self) -> str:
        """Torch's name of the device that a single process uses; `auto` must have been resolved."""
        return {"gpu": "cuda", "mps": "mps"}.get(self.accelerator, "cpu")


@dataclass(frozen=True)
class BatchSplit:
    """How the global batch of one optimiser step is spread."""

    device_batch: int
    accumulate: int
    num_devices: int

    def __str__(self) -> str:
        total = self.device_batch * self.accumulate * self.num_devices
        return f"{total} samples a step = {self.num_devices} x {self.device_batch} x {self.accumulate} accumulated"


def split(hardware: Hardware, global_batch: int) -> BatchSplit:
    """Spread a task's global batch over the devices, in as few pieces as fit.

    Args:
        hardware: the machine.
        global_batch: samples of one optimiser step.

    Returns:
        Batch a device and number of accumulated pieces, whose product is exactly the global batch.

    Raises:
        ConfigError: it does not divide.

    Example:
        >>> print(split(Hardware(devices=8, max_device_batch=32), 512))
        512 samples a step = 8 x 32 x 2 accumulated
    """
    num_devices = hardware.num_devices
    share, rest = divmod(global_batch, num_devices)
    if rest or share < 1:
        below = max(global_batch // num_devices, 1) * num_devices
        raise ConfigError(
            f"global_batch: {global_batch} does not divide over {num_devices} devices; "
            f"{below} and {below + num_devices} do"
        )
    accumulate = next(k for k in range(1, share + 1) if share % k == 0 and share // k <= hardware.max_device_batch)
    if share // accumulate * 2 <= hardware.max_device_batch and accumulate > 1:
        near = round(share / hardware.max_device_batch) or 1
        raise ConfigError(
            f"global_batch: a share of {share} a device has no even pieces near hardware.max_device_batch="
            f"{hardware.max_device_batch}; global_batch={near * hardware.max_device_batch * num_devices} has"
        )
    return BatchSplit(device_batch=share // accumulate, accumulate=accumulate, num_devices=num_devices)


def steps_per_epoch(batches: BatchSplit, *, num_batches: int | None, limit: float = 1.0) -> int | None:
    """Optimiser steps of an epoch.

    Args:
        batches: how the global batch is spread.
        num_batches: batches of a device in an epoch; None where that is not known beforehand.
        limit: the Trainer's `limit_train_batches`: a number of batches, or a fraction below or equal 1.0.

    Returns:
        The number; None where that of the batches is not known.

    Example:
        >>> steps_per_epoch(BatchSplit(device_batch=8, accumulate=2, num_devices=1), num_batches=12)
        6
    """
    if num_batches is None:
        return None
    taken = min(num_batches, limit) if isinstance(limit, int) else int(num_batches * limit)
    return -(-taken // batches.accumulate)


def resolve(hardware: Hardware) -> Hardware:
    """Fill in what `auto` leaves open, and refuse what is not there.

    Args:
        hardware: as configured.

    Returns:
        The same with a concrete accelerator and precision.

    Raises:
        ConfigError: a device is asked for that this machine lacks.
    """
    import torch

    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    has_mps = torch.backends.mps.is_available()
    accelerator = hardware.accelerator
    if accelerator == "auto":
        accelerator = "gpu" if gpus else "mps" if has_mps else "cpu"
    known = {"cpu", "gpu", "mps"}
    if accelerator not in known:
        raise ConfigError(f"hardware.accelerator: {accelerator!r} is not known; auto, cpu, gpu or mps is")
    there = {"gpu": len(gpus), "mps": int(has_mps), "cpu": hardware.devices}[accelerator]
    if there < hardware.devices:
        fits = f"hardware=gpu hardware.devices={len(gpus)}" if gpus else "hardware=mac" if has_mps else "hardware=auto"
        raise ConfigError(
            f"hardware: {hardware.name} asks for {hardware.devices} {accelerator} device(s), "
            f"here is {_what_is_here(gpus, has_mps=has_mps)}; {fits} fits"
        )
    precision = hardware.precision
    if precision == "auto":
        precision = "bf16-mixed" if accelerator == "gpu" else "32-true"
    return dataclasses.replace(hardware, accelerator=accelerator, precision=precision)


def _what_is_here(gpus: list[str], *, has_mps: bool) -> str:
    there = [f"{len(gpus)} CUDA GPU(s) ({', '.join(sorted(set(gpus)))})"] if gpus else []
    there += ["an Apple GPU (MPS)"] * has_mps + ["a CPU"]
    return " and ".join(there)


def say_what_was_chosen(asked: Hardware, chosen: Hardware) -> str:
    """One line about what `hardware=auto` came to, and how more of the machine would be used.

    Args:
        asked: as configured.
        chosen: the same, resolved.
    """
    import torch

    num_gpus = torch.cuda.device_count()
    here = {
        "gpu": f"CUDA GPU {torch.cuda.get_device_name(0)}" if num_gpus else "",
        "mps": "no CUDA GPU, but Apple's (MPS)",
        "cpu": "no GPU here, so the CPU",
    }[chosen.accelerator]
    more = f"; hardware=gpu hardware.devices={num_gpus} uses all {num_gpus}" if num_gpus > chosen.num_devices else ""
    return f"hardware={asked.name}: {here}, {chosen.num_devices} device(s), {chosen.precision}{more}"


def launched(hardware: Hardware, *, launcher: str, per_node: int, num_nodes: int) -> Hardware:
    """Agree with the launcher about the number of processes: it has started them already.

    Args:
        hardware: as configured; one device in one node leaves the numbers to the launcher.
        launcher: its name.
        per_node: processes it started on each node; 0 where it leaves that to us.
        num_nodes: nodes it uses; 0 where it does not know.

    Returns:
        The same with the launcher's numbers.

    Raises:
        ConfigError: other numbers were asked for, or several nodes without a launcher that spans them.
    """
    asked = (hardware.devices, hardware.num_nodes)
    if not per_node:
        if hardware.num_nodes > 1 and not num_nodes:
            raise ConfigError(
                f"hardware.num_nodes: {hardware.num_nodes}, but this was started on one; torchrun "
                f"--nnodes={hardware.num_nodes} or srun --nodes={hardware.num_nodes} starts all, or NODE_RANK, "
                "MASTER_ADDR and MASTER_PORT on each say which it is"
            )
        return hardware
    if asked not in {(1, 1), (per_node, num_nodes)}:
        raise ConfigError(
            f"hardware.devices: {asked[0]} in {asked[1]} node(s) were asked for, and {launcher} started {per_node} "
            f"in {num_nodes}; hardware.devices={per_node} hardware.num_nodes={num_nodes} would be right"
        )
    return dataclasses.replace(hardware, devices=per_node, num_nodes=num_nodes)
