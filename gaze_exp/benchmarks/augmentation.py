"""Our batched augmentation beside albumentations picture by picture, on the three crops of a sample."""

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from gaze_exp.augment import PhotometricAugment
from gaze_exp.benchmarks.training_step import CROPS, random_batch, time_in_turn
from gaze_exp.hardware import Hardware


def run(machine: Hardware) -> list[dict[str, Any]]:
    """Measure on the machine's accelerator; albumentations runs on the CPU whatever it is."""
    device = torch.device("cuda" if machine.accelerator in {"gpu", "cuda"} else "cpu")
    return measure(device, batch_size=64, num_rounds=5)


def measure(device: torch.device, *, batch_size: int, num_rounds: int) -> list[dict[str, Any]]:
    """Time both in turn with the same probabilities, crops of 224 and 112 px.

    Args:
        device: of the batched one.
        batch_size: samples a call.
        num_rounds: timed calls of each, after one to warm up; the median counts.

    Returns:
        A row for each, with samples a second.
    """
    steps = {"batched, all three crops": _batched(batch_size, device=device)}
    steps["albumentations, one picture at a time"] = _albumentations(batch_size)
    repeats = 1 if device.type == "cpu" else 3
    seconds = time_in_turn(steps, device=device, num_rounds=num_rounds, repeats=repeats)
    return [
        {
            "what": name,
            "device": "cpu" if "albumentations" in name else device.type,
            "threads": torch.get_num_threads(),
            "batch": batch_size,
            "samples/s": round(batch_size / seconds[name]),
        }
        for name in steps
    ]


def _batched(batch_size: int, *, device: torch.device) -> Callable[[], None]:
    batch = random_batch(batch_size, device=device)
    augment = PhotometricAugment().to(device)

    def step() -> None:
        augment(batch)

    return step


def _albumentations(batch_size: int) -> Callable[[], None]:
    """Colour jitter, grey, blur and noise as often and as strong as ours by default; float32 at the end."""
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it would ask the network for its newest version
    import albumentations as A

    batch = random_batch(batch_size, device=torch.device("cpu"))
    transform = A.Compose(
        [
            A.ColorJitter(brightness=(0.7, 1.3), contrast=(0.7, 1.3), saturation=(0.7, 1.3), hue=(-0.02, 0.02), p=1.0),
            A.ToGray(p=0.1),
            A.GaussianBlur(blur_limit=(3, 7), sigma_limit=(0.1, 1.34), p=0.2),
            A.GaussNoise(std_range=(0.0, 6 / 255), p=0.5),
        ]
    )
    crops = [batch[name].permute(0, 2, 3, 1).numpy() for name in CROPS]  # type: ignore[literal-required]

    def step() -> None:
        for images in crops:
            np.stack([transform(image=image)["image"] for image in images]).astype(np.float32)

    return step
