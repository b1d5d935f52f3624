import math

import pytest
import torch

from gaze_exp.losses import L1, MSE, Angular, AngularMSE

LOSSES = [Angular(), MSE(), L1(), AngularMSE()]
by_name = pytest.mark.parametrize("loss", LOSSES, ids=[type(loss).__name__ for loss in LOSSES])


def batch_of(gaze, valid=None):
    gaze = torch.as_tensor(gaze, dtype=torch.float32)
    return {"gaze": gaze, "valid": torch.ones(len(gaze), dtype=torch.bool) if valid is None else torch.tensor(valid)}


def predict(*rows):
    return torch.tensor(rows, dtype=torch.float32, requires_grad=True)


def test_golden_numbers():
    """30 degrees up and 10 to the side is 8.6575 degrees by spherical trigonometry (eve.md, test case 8)."""
    predicted, batch = predict((math.radians(30), 0.0)), batch_of([(math.radians(30), math.radians(10))])
    angle, side = math.radians(8.6575), math.radians(10)
    expected = {Angular: angle, MSE: side**2 / 2, L1: side / 2, AngularMSE: angle + 0.1 * side**2 / 2}
    for loss in LOSSES:
        total = loss({"gaze": predicted}, batch)["total"]
        assert total.item() == pytest.approx(expected[type(loss)], abs=1e-5), type(loss)


def test_angular_mse_says_its_parts_and_weighs_the_square():
    losses = AngularMSE(mse_weight=0.5)({"gaze": predict((0.1, 0.2))}, batch_of([(0.3, -0.1)]))
    assert set(losses) == {"total", "angular", "mse"}
    assert losses["mse"].item() == pytest.approx((0.04 + 0.09) / 2)
    assert losses["total"].item() == pytest.approx(losses["angular"].item() + 0.5 * losses["mse"].item())
    assert losses["total"].requires_grad
    assert not losses["angular"].requires_grad


@by_name
@pytest.mark.parametrize("label", [math.nan, math.inf, 1e30])
def test_a_label_of_an_invalid_row_changes_neither_loss_nor_gradient(loss, label):
    kept = predict((0.1, 0.2), (0.3, -0.2))
    alone = loss({"gaze": kept}, batch_of([(0.0, 0.1), (0.2, 0.2)]))["total"]
    alone.backward()
    mixed = predict((0.1, 0.2), (0.5, 0.5), (0.3, -0.2))
    total = loss({"gaze": mixed}, batch_of([(0.0, 0.1), (label, label), (0.2, 0.2)], [True, False, True]))["total"]
    total.backward()
    assert total.item() == pytest.approx(alone.item(), abs=1e-7)
    assert torch.equal(mixed.grad[1], torch.zeros(2))
    assert torch.allclose(mixed.grad[[0, 2]], kept.grad)


@by_name
def test_a_batch_with_nothing_valid_gives_zero_loss_and_zero_gradient(loss):
    predicted = predict((0.1, 0.2), (0.3, 0.1))
    losses = loss({"gaze": predicted}, batch_of([(math.nan, 0.0), (0.3, 0.1)], [False, False]))
    losses["total"].backward()
    assert all(value.item() == 0.0 for value in losses.values())
    assert torch.equal(predicted.grad, torch.zeros(2, 2))


@by_name
def test_a_perfect_prediction_has_zero_loss_and_a_finite_gradient(loss):
    gaze = (torch.rand(500, 2, generator=torch.Generator().manual_seed(0)) - 0.5) * 2
    predicted = gaze.clone().requires_grad_()
    total = loss({"gaze": predicted}, batch_of(gaze))["total"]
    total.backward()
    assert total.item() == pytest.approx(0.0, abs=1e-6)
    assert predicted.grad.isfinite().all()


@by_name
def test_a_step_against_the_gradient_lowers_the_loss(loss):
    predicted, batch = predict((0.1, 0.2), (-0.3, 0.4)), batch_of([(0.2, -0.1), (0.1, 0.0)])
    before = loss({"gaze": predicted}, batch)["total"]
    before.backward()
    after = loss({"gaze": (predicted - 0.05 * predicted.grad).detach()}, batch)["total"]
    assert after < before


@by_name
def test_autocast_and_half_precision_outputs_are_computed_in_float32(loss):
    gaze = (torch.rand(64, 2, generator=torch.Generator().manual_seed(0)) - 0.5).bfloat16()
    batch = batch_of(gaze.float() + 0.02)
    expected = loss({"gaze": gaze.float()}, batch)["total"]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        total = loss({"gaze": gaze}, batch)["total"]
    assert total.dtype == torch.float32
    assert total.item() == pytest.approx(expected.item(), rel=1e-6)


@by_name
def test_the_mean_counts_valid_rows_alone(loss):
    predicted, target = [(0.1, 0.0)], [(0.0, 0.0)]
    alone = loss({"gaze": predict(*predicted)}, batch_of(target))["total"]
    among_many = loss({"gaze": predict(*predicted * 10)}, batch_of(target * 10, [True] + 9 * [False]))["total"]
    assert among_many.item() == pytest.approx(alone.item())
