import math

import pytest
import torch

from gaze_exp.errors import ConfigError, DataError
from gaze_exp.gaze_bins import Bins
from gaze_exp.losses import L2CSBins

GAZE360, MPII = Bins.of(90), Bins.of(28)


def one_hot(index, num_bins=90):
    return 50.0 * torch.nn.functional.one_hot(torch.tensor(index), num_bins).float()


@pytest.mark.parametrize(("index", "angle"), [(45, 0.0), (0, -180.0), (89, 176.0)])
def test_a_certain_bin_of_gaze360_decodes_to_its_left_edge(index, angle):
    assert GAZE360.expectation(one_hot(index)).item() == pytest.approx(angle, abs=1e-3)


@pytest.mark.parametrize(("index", "angle"), [(14, 0.0), (0, -42.0), (27, 39.0)])
def test_a_certain_bin_of_mpiigaze_decodes_to_its_left_edge(index, angle):
    assert MPII.expectation(one_hot(index, 28)).item() == pytest.approx(angle, abs=1e-3)


def test_logits_that_know_nothing_decode_to_half_a_bin_below_the_middle():
    assert GAZE360.expectation(torch.zeros(90)).item() == pytest.approx(-2.0, abs=1e-4)
    assert MPII.expectation(torch.zeros(28)).item() == pytest.approx(-1.5, abs=1e-4)


@pytest.mark.parametrize(("angle", "index"), [(0.0, 45), (3.99, 45), (4.0, 46), (-0.01, 44), (-180.0, 0), (179.99, 89)])
def test_an_angle_belongs_to_the_bin_whose_left_edge_is_next_below(angle, index):
    assert GAZE360.index(torch.tensor([angle])).tolist() == [index]


@pytest.mark.parametrize(("bins", "end", "last"), [(GAZE360, 180.0, 89), (MPII, 42.0, 27)])
def test_the_very_end_counts_as_inside_with_a_warning(bins, end, last):
    with pytest.warns(UserWarning, match="the end of the last bin"):
        assert bins.index(torch.tensor([end])).tolist() == [last]


@pytest.mark.parametrize(("bins", "angle"), [(GAZE360, -180.1), (MPII, 42.5), (MPII, -42.1), (GAZE360, math.nan)])
def test_an_angle_outside_all_bins_is_an_error_and_never_a_class(bins, angle):
    with pytest.raises(DataError, match=r"outside of the bins .* 90 of 4 degrees|outside of the bins"):
        bins.index(torch.tensor([0.0, angle]))


def test_half_a_turn_in_float32_radians_is_still_inside():
    assert GAZE360.index(torch.tensor([-math.pi]).rad2deg().double()).tolist() == [0]


def test_bins_of_an_unknown_number_need_their_geometry():
    with pytest.raises(ConfigError, match=r"45 bins.*model\.bin_width_deg.*model\.first_bin_deg"):
        Bins.of(45)
    assert Bins.of(45, width_deg=8, first_deg=-180).last_deg == 180


def outputs(pitch_deg, yaw_deg, *, pitch_bin, yaw_bin, num_bins=90):
    return {
        "gaze": torch.tensor([[pitch_deg, yaw_deg]]).deg2rad().requires_grad_(),
        "pitch_logits": one_hot(pitch_bin, num_bins)[None],
        "yaw_logits": one_hot(yaw_bin, num_bins)[None],
    }


def batch_of(pitch_deg, yaw_deg):
    return {"gaze": torch.tensor([[pitch_deg, yaw_deg]]).deg2rad(), "valid": torch.tensor([True])}


def test_the_loss_is_cross_entropy_plus_squared_degrees_of_both_angles():
    """Right bins and expectations 3 and 4 degrees off: 0 + 9 + 16."""
    losses = L2CSBins()(outputs(7.0, -6.0, pitch_bin=47, yaw_bin=42), batch_of(10.0, -10.0))
    assert losses["cross_entropy"].item() == pytest.approx(0.0, abs=1e-5)
    assert losses["mse_deg2"].item() == pytest.approx(25.0, abs=1e-3)
    assert losses["total"].item() == pytest.approx(25.0, abs=1e-3)
    halved = L2CSBins(mse_weight=0.5)(outputs(7.0, -6.0, pitch_bin=47, yaw_bin=42), batch_of(10.0, -10.0))
    assert halved["total"].item() == pytest.approx(12.5, abs=1e-3)


def test_swapped_logits_cost_cross_entropy():
    losses = L2CSBins()(outputs(10.0, -10.0, pitch_bin=42, yaw_bin=47), batch_of(10.0, -10.0))
    assert losses["cross_entropy"].item() == pytest.approx(100.0, abs=0.1)


def test_the_loss_knows_the_bins_of_mpiigaze_and_refuses_what_they_do_not_reach():
    losses = L2CSBins()(outputs(0.0, 41.0, pitch_bin=14, yaw_bin=27, num_bins=28), batch_of(0.0, 41.0))
    assert losses["total"].item() == pytest.approx(0.0, abs=1e-3)
    with pytest.raises(DataError, match=r"50\.00 degrees lies outside of the bins"):
        L2CSBins()(outputs(0.0, 41.0, pitch_bin=14, yaw_bin=27, num_bins=28), batch_of(0.0, 50.0))


def test_a_label_of_an_invalid_row_is_not_put_into_a_bin():
    output = {key: value.repeat(2, 1) for key, value in outputs(0.0, 0.0, pitch_bin=45, yaw_bin=45).items()}
    batch = {"gaze": torch.tensor([[0.0, 0.0], [math.nan, 99.0]]), "valid": torch.tensor([True, False])}
    assert L2CSBins()(output, batch)["total"].item() == pytest.approx(0.0, abs=1e-5)


def test_a_model_without_bins_is_told_which_has_them():
    with pytest.raises(ConfigError, match=r"model=l2cs"):
        L2CSBins()({"gaze": torch.zeros(1, 2)}, batch_of(0.0, 0.0))
