import warnings

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import spawn

from gaze_exp.metrics import AngularError


def numpy_error_deg(predicted, target):
    """Independent of the package: arccos of the dot product in float64."""

    def vectors(gaze):
        pitch, yaw = np.asarray(gaze, dtype=np.float64).T
        return np.stack((np.cos(pitch) * np.sin(yaw), np.sin(pitch), np.cos(pitch) * np.cos(yaw)))

    dot = (vectors(predicted) * vectors(target)).sum(axis=0)
    return np.degrees(np.arccos(np.clip(dot, -1, 1)))


def random_gazes(num, seed):
    limits = torch.tensor([1.4, 3.0])
    return (torch.rand(num, 2, generator=torch.Generator().manual_seed(seed)) * 2 - 1) * limits


def at_error_deg(*errors_deg):
    """Predictions that are this many degrees of yaw beside a target of zero."""
    yaw = torch.deg2rad(torch.tensor(errors_deg, dtype=torch.float32))
    return torch.stack((torch.zeros_like(yaw), yaw), dim=1)


def measured(predicted, target, valid=None):
    metric = AngularError()
    metric.update(predicted, target, torch.ones(len(predicted), dtype=torch.bool) if valid is None else valid)
    return float(metric.compute())


@pytest.mark.parametrize(
    ("a_deg", "b_deg", "error_deg"),
    [
        ((0, 0), (0, 10), 10.0),
        ((0, 0), (10, 0), 10.0),
        ((30, 0), (30, 10), 8.6575),
        ((0, 170), (0, -170), 20.0),
        ((3, 0), (0, 4), 4.9985),
        ((12, -7), (12, -7), 0.0),
    ],
)
def test_known_pairs_have_their_known_angle_both_ways(a_deg, b_deg, error_deg):
    a, b = (torch.deg2rad(torch.tensor([x], dtype=torch.float32)) for x in (a_deg, b_deg))
    assert measured(a, b) == pytest.approx(error_deg, abs=2e-4)
    assert measured(b, a) == pytest.approx(error_deg, abs=2e-4)


def test_mean_over_batches_equals_numpy_arccos():
    predicted, target = random_gazes(1000, 0), random_gazes(1000, 1)
    metric = AngularError()
    for part in torch.arange(1000).split(300):
        metric.update(predicted[part], target[part], torch.ones(len(part), dtype=torch.bool))
    assert float(metric.compute()) == pytest.approx(numpy_error_deg(predicted, target).mean(), rel=1e-5)


def test_nan_and_infinite_labels_in_invalid_rows_change_nothing():
    predicted = at_error_deg(4, 5, 6, 7)
    target = torch.tensor([[0.0, 0.0], [torch.nan, torch.nan], [torch.inf, 0.0], [0.0, 0.0]])
    valid = torch.tensor([True, False, False, True])
    assert measured(predicted, target, valid) == pytest.approx(5.5, abs=1e-4)


def test_an_all_invalid_sequence_does_not_dilute_the_mean():
    metric = AngularError()
    metric.update(at_error_deg(*[4] * 30), torch.zeros(30, 2), torch.ones(30, dtype=torch.bool))
    metric.update(at_error_deg(*[0] * 30), torch.zeros(30, 2), torch.zeros(30, dtype=torch.bool))
    assert float(metric.compute()) == pytest.approx(4.0, abs=1e-4)


def test_nothing_valid_gives_nan_and_one_warning():
    metric = AngularError()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(2):
            metric.update(at_error_deg(3), torch.full((1, 2), torch.nan), torch.zeros(1, dtype=torch.bool))
            assert torch.isnan(metric.compute())
            metric.reset()
    assert sum("no sample had a valid label" in str(w.message) for w in caught) == 1


def test_a_nan_prediction_for_a_valid_label_is_not_hidden():
    assert np.isnan(measured(torch.full((1, 2), torch.nan), torch.zeros(1, 2)))


def test_bf16_predictions_cost_only_their_own_rounding():
    predicted, target = random_gazes(500, 2).mul(0.3), random_gazes(500, 3).mul(0.3)
    rounded = predicted.bfloat16()
    expected = numpy_error_deg(rounded.float(), target).mean()
    assert measured(rounded, target) == pytest.approx(expected, rel=1e-5)


def test_a_metric_inside_a_model_cast_to_bf16_still_sums_exactly():
    module = torch.nn.Module()
    module.error = AngularError()
    module.to(torch.bfloat16)
    for _ in range(400):
        module.error.update(at_error_deg(10.3), torch.zeros(1, 2), torch.ones(1, dtype=torch.bool))
    assert float(module.error.compute()) == pytest.approx(10.3, abs=1e-4)


def mixed_samples():
    generator = torch.Generator().manual_seed(6)
    valid = torch.rand(101, generator=generator) > 0.3
    target = torch.where(valid[:, None], random_gazes(101, 8), torch.nan)
    return random_gazes(101, 7), target, valid


def _measure_one_share(rank, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    predicted, target, valid = mixed_samples()
    share = torch.arange(101)[:30] if rank == 0 else torch.arange(101)[30:]  # unequal on purpose
    error = AngularError()
    error.update(predicted[share], target[share], valid[share])
    torch.save(error.compute(), f"{folder}/rank{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_processes_with_unequal_shares_agree_with_one(tmp_path):
    spawn(_measure_one_share, args=(str(tmp_path),), nprocs=2)
    predicted, target, valid = mixed_samples()
    for rank in range(2):
        error = torch.load(tmp_path / f"rank{rank}.pt", weights_only=True)
        assert float(error) == pytest.approx(measured(predicted, target, valid), rel=1e-6)
