"""Offset and affine maps, and the table's intervals and words."""

import numpy as np
import pytest
import torch

from gaze_exp.personal.baselines import apply, constant, offset, ridge_affine
from gaze_exp.personal.comparison import as_text, gain, interval, sentence, table
from gaze_exp.personal.correction import correction

TARGETS = torch.cartesian_prod(torch.tensor([-20.0, 0.0, 20.0]), torch.tensor([-12.0, 0.0, 12.0])).double()


def test_an_affine_distortion_is_undone():
    wrong = torch.tensor([[0.4, 0.1, 9.0], [-0.05, -0.6, 3.0]]).double()
    base = apply(wrong, TARGETS)
    mapping = ridge_affine(base, TARGETS, target=torch.arange(9))
    assert (apply(mapping, base) - TARGETS).abs().max() < 0.2


def test_a_base_of_noise_is_drawn_to_the_constant():
    noise = torch.randn(72, 2, generator=torch.Generator().manual_seed(0)).double()
    mapping = ridge_affine(noise, TARGETS.repeat(8, 1), target=torch.arange(9).repeat(8))
    held_out = apply(mapping, 3 * torch.randn(500, 2, generator=torch.Generator().manual_seed(1)).double())
    assert held_out.std(dim=0).max() < 12


def test_two_targets_give_an_offset_and_flat_axes_keep_their_slope():
    base = torch.tensor([[0.0, 0.0], [10.0, 1.0], [20.0, 2.0], [30.0, 4.0]]).double()
    labels = torch.tensor([[5.0, 3.0], [10.0, 3.0], [15.0, 3.0], [20.0, 3.0]]).double()
    assert torch.equal(ridge_affine(base[:2], labels[:2], target=torch.arange(2)), offset(base[:2], labels[:2]))
    mapping = ridge_affine(base, labels, target=torch.arange(4))
    assert mapping[1].tolist() == [0.0, 1.0, pytest.approx(1.25)]
    assert mapping[0, 0] == pytest.approx(0.5, abs=0.1)


def test_constant_and_offset_have_no_mean_residual():
    base = TARGETS * 0.3 + 7
    for mapping in (constant(TARGETS), offset(base, TARGETS)):
        assert (apply(mapping, base) - TARGETS).mean(dim=0).abs().max() < 1e-12


def test_a_correction_of_good_answers_is_small_and_of_shifted_ones_the_shift():
    noise = 0.01 * torch.randn(9, 2, generator=torch.Generator().manual_seed(0)).double()
    assert (apply(correction(TARGETS + noise, TARGETS, target=torch.arange(9)), TARGETS) - TARGETS).abs().max() < 0.1
    shifted = correction(TARGETS + 5 + noise, TARGETS, target=torch.arange(9))
    assert (apply(shifted, TARGETS + 5) - TARGETS).abs().max() < 0.1


def test_one_target_has_no_interval_and_more_have_one_around_the_mean():
    values = np.arange(12.0)
    assert interval(values, group=torch.zeros(12), seed=0) is None
    low, high = interval(values, group=torch.arange(12) % 4, seed=0)
    assert 0 < low < values.mean() < high < 11


def test_photos_of_one_target_count_as_one_draw():
    few = np.repeat([1.0, 2.0, 3.0], 100)
    low, high = interval(few, group=torch.arange(3).repeat_interleave(100), seed=0)
    assert (low, high) == (1.0, 3.0)


def difference(shift, noise, *, num=12):
    labels = torch.zeros(num, 2).double()
    random = torch.Generator().manual_seed(0)
    far = torch.zeros(num, 2).double()
    far[:, 0] = 5 + noise * torch.randn(num, generator=random).double()
    near = torch.zeros(num, 2).double()
    near[:, 0] = 5 - shift
    both = {"fine-tuned": near, "base + affine": far}
    return gain(both, of="fine-tuned", over="base + affine", labels_deg=labels, group=torch.arange(num), seed=0)


def test_better_is_said_only_when_the_interval_excludes_zero():
    clear, unclear, worse = difference(2.0, 0.5), difference(0.1, 2.0), difference(-2.0, 0.5)
    assert clear["better"]
    assert " is better than base + affine by " in sentence(clear)
    assert not unclear["better"]
    assert "better" not in sentence(unclear)
    assert worse["worse"]
    assert " is worse than " in sentence(worse)


def test_pixels_are_degrees_through_the_screen():
    rows = table(
        {"constant": TARGETS + torch.tensor([3.07, 0.0])}, labels_deg=TARGETS, group=torch.arange(9),
        deg_per_pixel=0.0307, seed=0,
    )  # fmt: skip
    assert rows[0]["mean_deg"] == pytest.approx(3.07)
    assert rows[0]["mean_px"] == pytest.approx(100)
    assert rows[0]["bias_yaw_deg"] == pytest.approx(3.07)
    assert "100 px" in as_text(rows)[1]
