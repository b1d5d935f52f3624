import pytest
import torch

from gaze_exp.benchmarks import augmentation, training_step


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
