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
    strategy: str = "auto"
    """Lightning's name of how several devices work together."""
    precision: str = "auto"
    """32-true, bf16-mixed, ...; auto: bf16-mixed on a GPU, else 32-true."""
    num_workers: int = 2
    """Threads a device that fill batches."""
    max_device_batch: int = 128
    """Largest batch a device takes at once."""
    channels_last: bool = True
    compile: bool = False
    tf32: bool = True

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
    num_devices = hardware.devices * hardware.num_nodes
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

    num_gpus = torch.cuda.device_count()
    has_mps = torch.backends.mps.is_available()
    there = [f"{num_gpus} CUDA GPU(s)"] if num_gpus else []
    there += ["an Apple GPU (MPS)"] * has_mps + ["a CPU"]
    accelerator = hardware.accelerator
    if accelerator == "auto":
        accelerator = "gpu" if num_gpus else "mps" if has_mps else "cpu"
    known = {"cpu", "gpu", "mps"}
    if accelerator not in known:
        raise ConfigError(f"hardware.accelerator: {accelerator!r} is not known; auto, cpu, gpu or mps is")
    fits = "hardware=gpu hardware.devices=" + str(num_gpus) if num_gpus else "hardware=auto"
    if (accelerator == "gpu" and num_gpus < hardware.devices) or (accelerator == "mps" and not has_mps):
        raise ConfigError(
            f"hardware: {hardware.name} asks for {hardware.devices} {accelerator} device(s), "
            f"here is {' and '.join(there)}; {fits} fits"
        )
    precision = hardware.precision
    if precision == "auto":
        precision = "bf16-mixed" if accelerator == "gpu" else "32-true"
    return dataclasses.replace(hardware, accelerator=accelerator, precision=precision)
