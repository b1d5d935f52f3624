import pytest
import torch

from gaze_exp.benchmarks import augmentation, finetune, training_step
from gaze_exp.personal.feature_bank import Device


@pytest.mark.slow
@pytest.mark.parametrize("benchmark", [training_step, augmentation], ids=["training_step", "augmentation"])
def test_a_benchmark_measures_ours_and_its_rival_in_one_run(benchmark):
    rows = benchmark.measure(torch.device("cpu"), batch_size=2, num_rounds=1)
    assert len(rows) == 2
    assert rows[0].keys() == rows[1].keys()
    assert all(row["samples/s"] > 0 for row in rows)


def test_both_see_pictures_as_the_loader_gives_them():
    batch = training_step.random_batch(2, device=torch.device("cpu"))
    assert batch["face"].dtype == torch.uint8
    assert batch["face"].is_contiguous(memory_format=torch.channels_last)
    assert batch["left_eye"].shape == batch["right_eye"].shape == (2, 3, 112, 112)


@pytest.mark.slow
def test_fine_tuning_is_timed_beside_the_plain_step():
    rows = finetune.measure(
        Device("cpu", autocast=False, num_threads=1, channels_last=True),
        batch_size=2,
        num_rounds=1,
        arch="resnet18",
        size_px=64,
    )
    assert len(rows) == 5
    assert rows[0]["times the plain step"] == 1.0
    assert all(row["samples/s"] > 0 for row in rows)
