"""A step of fine-tuning L2CS-Net at 448 px, beside a plain step of the same ResNet-50 with all of it trained."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gaze_exp.benchmarks.training_step import time_in_turn
from gaze_exp.hardware import Hardware
from gaze_exp.models.l2cs import L2CS
from gaze_exp.personal.adapters import HeadOnly, Layer4AndHead, LowRank
from gaze_exp.personal.feature_bank import Device, FrozenViews, repeatable
from gaze_exp.personal.fit import Loop, Recipe
from gaze_exp.personal.model import PersonalModel
from gaze_exp.personal.photo_augment import PhotoAugment


def run(machine: Hardware) -> list[dict[str, Any]]:
    """Measure on the machine's accelerator in its own precision; batches of 8 on a CPU, 32 on a GPU."""
    device = Device.of(machine)
    return measure(device, batch_size=8 if device.name == "cpu" else 32, num_rounds=5)


def measure(
    device: Device, *, batch_size: int, num_rounds: int, arch: str = "resnet50", size_px: int = 448
) -> list[dict[str, Any]]:
    """Time all in turn, from pictures on the device (or a bank) to new weights; nobody's augmentation counts.

    Args:
        device: where, and in which precision.
        batch_size: samples a step.
        num_rounds: timed steps of each, after one to warm up; the median counts.
        arch: of the net.
        size_px: side of the pictures.

    Returns:
        A row for each, with samples a second and how often that is the plain step's.
    """
    photos = torch.randint(0, 256, (batch_size, 3, size_px, size_px), dtype=torch.uint8)
    labels_deg = 10 * torch.randn(batch_size, 2, dtype=torch.float64)
    net = L2CS(arch=arch, pretrained="none", image_size=None).eval().requires_grad_(requires_grad=False)  # type: ignore[arg-type]
    net = net.to(device.name).to(memory_format=torch.channels_last)
    plain = "all of the net trained, batch norm too: the plain step"
    with repeatable(), tempfile.TemporaryDirectory() as folder:
        steps = {
            plain: plain_step(photos, labels_deg, device=device, arch=arch),
            "layer4 and head, frozen part under no_grad": tuned_step(net, photos, labels_deg, Layer4AndHead(), device),
        }
        for name, adapter in (("layer4 and head", Layer4AndHead()), ("low rank", LowRank()), ("head", HeadOnly())):
            bank = FrozenViews(
                net, photos, augment=PhotoAugment(), pooled=not adapter.trains_late, device=device, seed=0
            )
            bank.fill(1, folder=Path(folder), on_views=lambda _: None)
            steps[f"{name}, bank of fp16 features"] = banked_step(net, bank, labels_deg, adapter)
        where = torch.device(device.name)
        seconds = time_in_turn(steps, device=where, num_rounds=num_rounds, repeats=1 if where.type == "cpu" else 10)
    return [
        {
            "what is trained": name,
            "device": device.name,
            "precision": "bf16 autocast" if device.autocast else "float32",
            "threads": torch.get_num_threads(),
            "batch": batch_size,
            "samples/s": round(batch_size / seconds[name], 1),
            "times the plain step": round(seconds[plain] / seconds[name], 2),
        }
        for name in steps
    ]


def plain_step(photos: Tensor, labels_deg: Tensor, *, device: Device, arch: str) -> Callable[[], None]:
    """Forward, backward and Adam over every weight, with batch norm in training."""
    net = L2CS(arch=arch, pretrained="none", image_size=None, head="linear")  # type: ignore[arg-type]
    net = net.to(device.name).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-4)
    images, labels = photos.to(device.name), labels_deg.to(device.name, torch.float32)

    def step() -> None:
        with device.precision():
            normalised = net.normalise(images).contiguous(memory_format=torch.channels_last)
            answer = net.angles_deg(net.late(net.early(normalised)))
        optimizer.zero_grad(set_to_none=True)
        nn.functional.mse_loss(answer, labels).backward()
        optimizer.step()

    return step


def tuned_step(
    net: L2CS, photos: Tensor, labels_deg: Tensor, adapter: Layer4AndHead, device: Device
) -> Callable[[], None]:
    """A step as a run does it without a bank, but for drawing the views."""
    loop = _loop(net, adapter, device)
    images = photos.to(device.name)

    def step() -> None:
        with torch.no_grad(), device.precision():
            maps = net.early(net.normalise(images).contiguous(memory_format=torch.channels_last)).float()
        loop.step(maps, labels_deg)

    return step


def banked_step(
    net: L2CS, bank: FrozenViews, labels_deg: Tensor, adapter: Layer4AndHead | LowRank | HeadOnly
) -> Callable[[], None]:
    """A step as a run does it."""
    loop = _loop(net, adapter, bank.device)
    photo = torch.arange(len(labels_deg))

    def step() -> None:
        loop.step(bank.take(photo, torch.zeros_like(photo)), labels_deg)

    return step


def _loop(net: L2CS, adapter: Layer4AndHead | LowRank | HeadOnly, device: Device) -> Loop:
    model = PersonalModel(net.with_linear_head(), mirrored=True).to(device.name)
    return Loop(model, adapter=adapter, recipe=Recipe(), device=device)
