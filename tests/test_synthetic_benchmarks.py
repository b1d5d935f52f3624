"""The parts of the difficulty ladder, and that the rendering benchmark measures every size."""

from functools import partial

import numpy as np
import pytest
import torch

from gaze_exp.benchmarks.rendering import SIZES, measure
from gaze_exp.benchmarks.synthetic_ladder import (
    _grid_rows,
    calibrated_deg,
    chosen_affine,
    fit_affine,
    fit_offset,
    ridge,
)
from gaze_exp.data.synthetic.datamodule import SyntheticDataModule
from gaze_exp.geometry import angular_error
from gaze_exp.predictions import Predictions


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    module = SyntheticDataModule(
        tmp_path_factory.mktemp("ladder"),
        num_train_persons=4, num_val_persons=1, num_test_persons=2, frames_per_person=60, face_size=16, eye_size=32,
    )  # fmt: skip
    module.prepare_data()
    module.setup("test")
    return module


def answers(data, predicted):
    crops = data.test
    rows = torch.from_numpy(crops.usable)
    target = torch.from_numpy(crops.gaze)[rows]
    return Predictions(
        predicted=predicted(target),
        target=target,
        valid=torch.ones(len(rows), dtype=torch.bool),
        subject=torch.from_numpy(crops.subject)[rows].long(),
        row=rows,
        subjects=crops.subjects,
    )


def test_nine_points_remove_a_personal_offset(data):
    moved = answers(data, lambda target: target + torch.tensor([0.03, -0.05]))
    before = torch.rad2deg(angular_error(moved.predicted, moved.target)).mean()
    assert before > 2
    assert calibrated_deg(moved, data.test, fit=fit_offset) < 0.01
    assert calibrated_deg(moved, data.test, fit=partial(fit_affine, hold=0.1)) < 0.01


def test_an_affine_map_removes_what_an_offset_cannot(data):
    pressed = answers(data, lambda target: 0.6 * target)
    offset, affine = (
        calibrated_deg(pressed, data.test, fit=fit) for fit in (fit_offset, partial(fit_affine, hold=0.1))
    )
    assert affine < 0.3 * offset


def test_an_affine_map_is_held_as_its_persons_need_it(data):
    noise = torch.Generator().manual_seed(0)
    noisy, pressed = (
        answers(data, lambda target, s=s, n=n: s * target + n * torch.randn(target.shape, generator=noise))
        for s, n in ((1.0, 0.05), (0.6, 0.0))
    )
    chosen = [chosen_affine(model, data.test).keywords["hold"] for model in (noisy, pressed)]
    assert chosen[0] > 1.0 > chosen[1]


def test_calibration_does_not_help_where_errors_are_not_personal(data):
    noise = torch.Generator().manual_seed(0)
    noisy = answers(data, lambda target: target + 0.05 * torch.randn(target.shape, generator=noise))
    before = torch.rad2deg(angular_error(noisy.predicted, noisy.target)).mean()
    assert calibrated_deg(noisy, data.test, fit=fit_offset) > before


def test_calibration_points_are_different_rows_all_over_the_screen():
    random = np.random.default_rng(0)
    place = random.uniform(0, 1, (200, 2))
    rows = _grid_rows(place, 9, random)
    assert len(rows) == 9
    assert len({tuple(cell) for cell in (place[rows] * 3).astype(int)}) >= 7


def test_ridge_learns_more_than_the_constant_on_people_it_has_not_seen(data):
    target = torch.from_numpy(data.test.gaze[data.test.usable]).double()
    constant = angular_error(data.train_mean_gaze.double().expand_as(target), target).mean()
    learned = angular_error(ridge(data), target).mean()
    assert learned < 0.8 * constant


@pytest.mark.slow
def test_rendering_is_measured_at_every_size():
    rows = measure(torch.device("cpu"), seconds=0.1)
    assert len(rows) == len(SIZES) + 1
    assert all(row["frames/s"] > 0 for row in rows)
