"""A whole training step of GazeTRLite beside its three timm encoders alone, on the same pictures."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import timm
import torch
from torch import Tensor, nn

from gaze_exp.batch import GazeBatch
from gaze_exp.hardware import Hardware
from gaze_exp.losses import AngularMSE
from gaze_exp.models.gazetr_lite import GazeTRLite

FACE_SIZE_PX, EYE_SIZE_PX = 224, 112
CROPS = ("face", "left_eye", "right_eye")


def run(machine: Hardware) -> list[dict[str, Any]]:
    """Measure on the machine's accelerator; a batch of 16 on a CPU, 64 on a GPU."""
    device = torch.device("cuda" if machine.accelerator in {"gpu", "cuda"} else "cpu")
    return measure(device, batch_size=16 if device.type == "cpu" else 64, num_rounds=5)


def measure(device: torch.device, *, batch_size: int, num_rounds: int) -> list[dict[str, Any]]:
    """Time both in turn, in bf16 autocast with channels-last weights and pictures.

    Args:
        device: where.
        batch_size: samples a step.
        num_rounds: timed steps of each, after one to warm up; the median counts.

    Returns:
        A row for each, with samples a second.
    """
    batch = random_batch(batch_size, device=device)
    steps = {
        "three ResNet-18 alone, forward and backward": encoders_step(batch, device=device),
        "GazeTRLite, normalisation to optimiser step": model_step(batch, device=device),
    }
    repeats = 1 if device.type == "cpu" else 10
    seconds = time_in_turn(steps, device=device, num_rounds=num_rounds, repeats=repeats)
    return [
        {
            "what": name,
            "device": device.type,
            "precision": "bf16 autocast",
            "threads": torch.get_num_threads(),
            "batch": batch_size,
            "samples/s": round(batch_size / seconds[name], 1),
        }
        for name in steps
    ]


def random_batch(batch_size: int, *, device: torch.device) -> GazeBatch:
    """Noise for pictures: uint8 (B, 3, H, W) over NHWC memory, as the loader gives them."""

    def images(size_px: int) -> Tensor:
        rows = torch.randint(0, 256, (batch_size, size_px, size_px, 3), dtype=torch.uint8, device=device)
        return rows.permute(0, 3, 1, 2)

    return {
        "face": images(FACE_SIZE_PX),
        "left_eye": images(EYE_SIZE_PX),
        "right_eye": images(EYE_SIZE_PX),
        "gaze": 0.3 * torch.randn(batch_size, 2, device=device),
        "valid": torch.ones(batch_size, dtype=torch.bool, device=device),
        "subject": torch.zeros(batch_size, dtype=torch.int64, device=device),
        "row": torch.arange(batch_size, device=device),
    }


def encoders_step(batch: GazeBatch, *, device: torch.device) -> Callable[[], None]:
    """Forward and backward of the encoders on pictures that are already normalised: nothing can be faster."""
    face_encoder, eye_encoder = (
        timm.create_model("resnet18", num_classes=0).to(device).to(memory_format=torch.channels_last) for _ in range(2)
    )
    images = {name: batch[name].float() / 255 for name in CROPS}  # type: ignore[literal-required]

    def step() -> None:
        with torch.autocast(device.type, dtype=torch.bfloat16):
            features = [face_encoder(images["face"]), eye_encoder(images["left_eye"]), eye_encoder(images["right_eye"])]
            total = torch.stack([f.float().sum() for f in features]).sum()
        total.backward()
        for encoder in (face_encoder, eye_encoder):
            encoder.zero_grad(set_to_none=True)

    return step


def model_step(batch: GazeBatch, *, device: torch.device) -> Callable[[], None]:
    """One training step as a run does it, from uint8 pictures to new weights."""
    model: nn.Module = GazeTRLite(pretrained=False).to(device).to(memory_format=torch.channels_last)
    loss = AngularMSE()
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=1e-4, fused=True)

    def step() -> None:
        with torch.autocast(device.type, dtype=torch.bfloat16):
            output = model(batch["face"], batch["left_eye"], batch["right_eye"])
            total = loss(output, batch)["total"]
        total.backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)

    return step


def time_in_turn(
    steps: dict[str, Callable[[], None]], *, device: torch.device, num_rounds: int, repeats: int
) -> dict[str, float]:
    """Median seconds of each step; in turn, so that a busy machine is unfair to none.

    Args:
        steps: what to time, by name.
        device: waited for around each measurement.
        num_rounds: measurements of each, after one that does not count.
        repeats: steps in one measurement.
    """
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(num_rounds + 1):
        for name, step in steps.items():
            _wait(device)
            start = time.perf_counter()
            for _ in range(repeats):
                step()
            _wait(device)
            seconds[name].append((time.perf_counter() - start) / repeats)
    return {name: statistics.median(values[1:]) for name, values in seconds.items()}


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
