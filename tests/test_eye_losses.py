"""EVE's loss, and what it does where something is missing."""

import math

import pytest
import torch

from gaze_exp.eye_losses import EveEyes


def batch_of(**changes):
    deg = math.pi / 180
    return {
        "gaze": torch.zeros(2, 2),
        "valid": torch.tensor([True, True]),
        "gaze_left": torch.tensor([[0.0, 3.0], [4.0, 0.0]]) * deg,
        "gaze_right": torch.tensor([[0.0, 1.0], [1.0, 0.0]]) * deg,
        "pupil_left_mm": torch.tensor([3.0, 5.0]),
        "pupil_right_mm": torch.tensor([4.0, 4.0]),
    } | changes


def output_of(**changes):
    zeros = {name: torch.zeros(2, 2, requires_grad=True) for name in ("gaze", "gaze_left", "gaze_right")}
    pupils = {f"pupil_{side}_mm": torch.full((2,), 4.0, requires_grad=True) for side in ("left", "right")}
    return zeros | pupils | changes


def test_eyes_count_in_degrees_and_pupils_in_millimetres():
    losses = EveEyes()(output_of(), batch_of())
    assert losses["eyes"].item() == pytest.approx(3.5 + 1.0, abs=1e-4)
    assert losses["pupils"].item() == pytest.approx(1.0 + 0.0)
    assert losses["total"].item() == pytest.approx(5.5, abs=1e-4)
    assert "face" not in losses
    weighted = EveEyes(gaze_weight=2.0, pupil_weight=0.0)(output_of(), batch_of())
    assert weighted["total"].item() == pytest.approx(9.0, abs=1e-4)


def test_a_row_that_does_not_know_an_eye_leaves_the_other_rows_mean_alone():
    batch = batch_of(gaze_left=torch.tensor([[0.0, math.radians(3.0)], [math.nan, math.nan]]))
    batch["pupil_left_mm"] = torch.tensor([math.nan, 5.0])
    output = output_of()
    losses = EveEyes()(output, batch)
    losses["total"].backward()
    assert losses["eyes"].item() == pytest.approx(3.0 + 1.0, abs=1e-4)
    assert losses["pupils"].item() == pytest.approx(1.0)
    assert output["gaze_left"].grad.isfinite().all()
    assert not output["gaze_left"].grad[1].any()


def test_without_a_valid_row_the_loss_is_zero_and_so_is_its_gradient():
    nan = torch.full((2, 2), math.nan)
    batch = batch_of(valid=torch.tensor([False, False]), gaze=nan, gaze_left=nan)
    output = output_of()
    total = EveEyes(face_weight=1.0)(output, batch)["total"]
    total.backward()
    assert total.item() == 0
    assert not any(values.grad.any() for values in output.values())


def test_the_face_takes_the_eyes_place_where_a_file_knows_no_eye():
    batch = {name: batch_of()[name] for name in ("valid",)} | {"gaze": torch.tensor([[0.0, 0.1], [0.0, 0.3]])}
    losses = EveEyes()(output_of(), batch)
    assert set(losses) == {"total", "face"}
    assert losses["total"].item() == pytest.approx(math.degrees(0.2), abs=1e-3)


def test_the_face_can_count_beside_the_eyes():
    batch = batch_of(gaze=torch.tensor([[0.0, 0.1], [0.0, 0.3]]))
    losses = EveEyes(face_weight=0.5, pupil_weight=0.0)(output_of(), batch)
    assert losses["total"].item() == pytest.approx(4.5 + 0.5 * math.degrees(0.2), abs=1e-3)


def test_windows_count_frame_by_frame():
    flat = EveEyes()(output_of(), batch_of())["total"]
    windows = [{name: values.detach()[None] for name, values in each.items()} for each in (output_of(), batch_of())]
    assert EveEyes()(*windows)["total"].item() == pytest.approx(flat.item())
