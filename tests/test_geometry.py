"""Golden numbers: the rig has 0.288 mm per px, camera above the screen; the eye is at (0, 100, 600) mm."""

import pytest
import torch

from gaze_exp.camera import normalising_rotation
from gaze_exp.geometry import (
    angle_between,
    angular_error,
    gaze_to_screen,
    pitch_yaw_to_vector,
    screen_to_gaze,
    vector_to_pitch_yaw,
)

ORIGIN_MM = torch.tensor([0.0, 100.0, 600.0], dtype=torch.float64)
MM_PER_PX = torch.full((2,), 0.288, dtype=torch.float64)
SCREEN_TO_CAMERA = torch.tensor([[-1.0, 0, 0, 276.48], [0, 1, 0, 10], [0, 0, -1, 0], [0, 0, 0, 1]], dtype=torch.float64)
STRAIGHT = torch.eye(3, dtype=torch.float64)
NORMALISED = normalising_rotation(ORIGIN_MM, torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64))

TARGETS = [
    (STRAIGHT, (960, 540), (-0.108769, 0.0)),
    (STRAIGHT, (0, 540), (-0.098854, -0.431799)),
    (STRAIGHT, (1920, 540), (-0.098854, 0.431799)),
    (NORMALISED, (960, 540), (-0.273918, 0.0)),
    (NORMALISED, (0, 540), (-0.248480, -0.444114)),
    (NORMALISED, (960, 0), (-0.016259, 0.0)),
    (NORMALISED, (0, 0), (-0.014795, -0.427635)),
]


def rig(rotation):
    return {
        "origin_mm": ORIGIN_MM,
        "rotation": rotation,
        "screen_to_camera": SCREEN_TO_CAMERA,
        "mm_per_px": MM_PER_PX,
    }


def gaze_at(x_px, y_px, rotation=NORMALISED):
    return screen_to_gaze(torch.tensor([x_px, y_px], dtype=torch.float64), **rig(rotation))


def degrees_between(a_deg, b_deg):
    a, b = (torch.tensor(gaze, dtype=torch.float64).deg2rad() for gaze in (a_deg, b_deg))
    return float(angular_error(a, b).rad2deg())


@pytest.mark.parametrize(
    ("gaze", "vector"), [((0.0, 0.0), (0.0, 0.0, -1.0)), ((0.2, 0.4), (-0.381656, -0.198669, -0.902701))]
)
def test_a_gaze_is_the_vector_from_the_eye_to_the_target(gaze, vector):
    assert pitch_yaw_to_vector(torch.tensor(gaze)).tolist() == pytest.approx(vector, abs=1e-6)


def test_angles_and_vectors_are_each_others_inverse():
    gaze = torch.rand(10_000, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2 - 1
    gaze = gaze * torch.tensor([1.5, 3.14])
    assert (vector_to_pitch_yaw(3.0 * pitch_yaw_to_vector(gaze)) - gaze).abs().max() < 1e-6


@pytest.mark.parametrize(("rotation", "target_px", "gaze"), TARGETS)
def test_screen_points_become_the_published_angles(rotation, target_px, gaze):
    assert gaze_at(*target_px, rotation).tolist() == pytest.approx(gaze, abs=1e-6)


@pytest.mark.parametrize(("rotation", "target_px", "gaze"), TARGETS)
def test_angles_lead_back_to_the_screen_point(rotation, target_px, gaze):
    point_px = gaze_to_screen(torch.tensor(gaze, dtype=torch.float64), **rig(rotation))
    assert point_px.tolist() == pytest.approx(target_px, abs=0.01)


def test_the_viewers_left_edge_is_negative_yaw_and_the_top_edge_larger_pitch():
    assert gaze_at(0.0, 540.0)[1] < 0 < gaze_at(1920.0, 540.0)[1]
    assert gaze_at(960.0, 0.0)[0] > gaze_at(960.0, 1080.0)[0]


def test_a_point_beside_the_screen_stays_there():
    point_px = gaze_to_screen(gaze_at(-500.0, 540.0), **rig(NORMALISED))
    assert point_px.tolist() == pytest.approx((-500.0, 540.0), abs=0.01)
    assert (point_px * MM_PER_PX).tolist() == pytest.approx((-144.0, 155.52), abs=0.003)


@pytest.mark.parametrize(
    ("a_deg", "b_deg", "error_deg"),
    [
        ((0, 0), (0, 10), 10),
        ((0, 0), (10, 0), 10),
        ((30, 0), (30, 10), 8.6575),
        ((0, 170), (0, -170), 20),
        ((3, 0), (0, 4), 4.9985),
    ],
)
def test_angular_error_is_the_angle_in_space_and_symmetric(a_deg, b_deg, error_deg):
    assert degrees_between(a_deg, b_deg) == pytest.approx(error_deg, abs=1e-4)
    assert degrees_between(b_deg, a_deg) == pytest.approx(error_deg, abs=1e-4)


def test_a_perfect_prediction_has_no_error_and_a_finite_gradient():
    gaze = torch.randn(1000, 2, generator=torch.Generator().manual_seed(0)).mul(0.4).requires_grad_()
    error = angular_error(gaze, gaze.detach())
    error.sum().backward()
    assert error.rad2deg().max() < 0.01
    assert gaze.grad.isfinite().all()


def test_angular_error_of_half_precision_is_that_of_its_values():
    a, b = torch.tensor([0.05, 0.1]).bfloat16(), torch.tensor([0.09, 0.12]).bfloat16()
    assert angular_error(a, b) == angular_error(a.float(), b.float())


def test_turning_both_vectors_leaves_their_angle():
    generator = torch.Generator().manual_seed(0)
    a, b, c = (torch.randn(100, 3, generator=generator, dtype=torch.float64) for _ in range(3))
    turn = normalising_rotation(c, b)
    turned = angle_between((turn @ a[..., None])[..., 0], (turn @ b[..., None])[..., 0])
    assert (turned - angle_between(a, b)).rad2deg().abs().max() < 1e-5
