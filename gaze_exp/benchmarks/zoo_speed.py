"""How fast each model of a set trains and answers, measured in turn so that a busy machine is unfair to none.

No benchmark of its own: `actions=[leaderboard]` calls it with the models it has trained.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from gaze_exp.batch import GazeBatch, model_inputs
from gaze_exp.benchmarks.training_step import time_in_turn
from gaze_exp.leaderboard import Speed
from gaze_exp.onnx_export import latency
from gaze_exp.onnx_streaming import streaming_inputs


@dataclass(frozen=True)
class Trained:
    """What of one model is needed to time it."""

    model: nn.Module
    loss: nn.Module
    augment: nn.Module
    optimizer: torch.optim.Optimizer
    batch: GazeBatch
    """One training batch of its own data."""
    asked: GazeBatch
    """One validation batch: what its ONNX file is asked."""
    onnx: Path


def measure(models: Mapping[str, Trained], *, device: torch.device, num_rounds: int = 5) -> dict[str, Speed]:
    """Time a training step (augmentation to new weights) and a frame, alone or of a window, through ONNX.

    Args:
        models: by name; trained on from where they are.
        device: of the training step.
        num_rounds: timed rounds of each; the median counts for training, the least for latency.

    Returns:
        Name -> speed.
    """
    steps = {name: _step(each, device=device) for name, each in models.items()}
    seconds = time_in_turn(steps, device=device, num_rounds=num_rounds, repeats=1 if device.type == "cpu" else 10)
    latencies_ms = _latencies_ms(models, num_rounds=num_rounds)
    return {
        name: Speed(
            training_samples_per_s=each.batch["valid"].numel() / seconds[name], latency_ms=min(latencies_ms[name])
        )
        for name, each in models.items()
    }


def _step(trained: Trained, *, device: torch.device) -> Callable[[], None]:
    """One training step as a run does it."""
    model, augment = trained.model.to(device).train(), trained.augment.to(device).train()
    batch: GazeBatch = {key: values.to(device) for key, values in trained.batch.items()}  # type: ignore[assignment, attr-defined]

    def step() -> None:
        augmented = augment(batch)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda"):
            output = model(**model_inputs(model, augmented))
        trained.loss(output, augmented)["total"].backward()
        trained.optimizer.step()
        trained.optimizer.zero_grad(set_to_none=True)

    return step


def _latencies_ms(models: Mapping[str, Trained], *, num_rounds: int) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(num_rounds):
        for name, each in models.items():
            one_frame = streaming_inputs if hasattr(each.model, "go_on") else model_inputs
            inputs = {key: values.float() for key, values in one_frame(each.model, each.asked).items()}
            (row,) = latency(each.onnx, inputs, threads=(1,), num_runs=10, max_seconds=2.0)
            windows = [values for values in inputs.values() if values.ndim == 5]
            found[name].append(row["median_ms"] / (windows[0].shape[1] if windows else 1))
    return found
