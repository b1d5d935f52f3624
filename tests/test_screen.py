"""Pixels of a window and degrees of a client."""

import pytest
import torch

from gaze_exp.errors import ConfigError
from gaze_exp.screen import ScreenGeometry, measured_screen


@pytest.mark.parametrize(
    ("point_px", "angles_deg"),
    [
        ((864.0, 558.0), (0.0, 0.0)),
        ((1728.0, 1117.0), (26.5248, 17.1613)),
        ((0.0, 0.0), (-26.5248, -17.1306)),
        ((850.855, -71.0), (-0.4035515, -19.3103)),
    ],
)
def test_labels_of_known_points(point_px, angles_deg):
    angles = ScreenGeometry().to_degrees(torch.tensor(point_px, dtype=torch.float64))
    assert torch.allclose(angles, torch.tensor(angles_deg, dtype=torch.float64), atol=1e-9)


def test_to_pixels_undoes_to_degrees_also_outside_the_window():
    points = 4000 * torch.rand(50, 2, dtype=torch.float64) - 1000
    geometry = ScreenGeometry(center_x=700, center_y=400, deg_per_pixel=0.041)
    assert torch.allclose(geometry.to_pixels(geometry.to_degrees(points)), points, atol=1e-9)


def test_measured_screen_has_the_angle_of_a_pixel_at_its_centre():
    geometry = measured_screen(2000, 1000, width_mm=1000.0, height_mm=500.0, distance_mm=500.0)
    assert geometry.deg_per_pixel == pytest.approx(0.0572958, abs=1e-6)
    assert (geometry.center_x, geometry.center_y) == (1000.0, 500.0)


@pytest.mark.parametrize(
    "wrong", [{"distance_mm": 0.0}, {"width_mm": -1.0}, {"height_mm": 300.0}], ids=lambda wrong: next(iter(wrong))
)
def test_a_screen_that_cannot_be_is_refused(wrong):
    lengths = {"width_mm": 1000.0, "height_mm": 500.0, "distance_mm": 500.0} | wrong
    with pytest.raises(ConfigError, match=f"screen.{next(iter(wrong))}"):
        measured_screen(2000, 1000, **lengths)


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan")])
def test_a_scale_without_an_inverse_is_refused(scale):
    with pytest.raises(ConfigError):
        ScreenGeometry(deg_per_pixel=scale)
