"""Client degrees to pixels: the package's mapping against the simulated client."""

import client_simulator
import pytest
import torch

from gaze_exp.client.mapping import ClientMapping, drawn_at, grid_of, mapping_for, share_reached
from gaze_exp.errors import ConfigError
from gaze_exp.screen import ScreenGeometry

WINDOWS = {(1920, 1080): (-4.8, 0.9), (1440, 900): (7.2, 5.4), (1728, 1117): (0.0, -0.025), (640, 480): (27.2, 15.9)}


def geometry(window):
    return ScreenGeometry(window_width_px=window[0], window_height_px=window[1])


@pytest.mark.parametrize(("window", "offsets"), WINDOWS.items())
def test_screen_mapping_has_the_known_numbers(window, offsets):
    mapping = mapping_for("screen", geometry(window))
    assert (mapping.yaw_offset, mapping.pitch_offset) == pytest.approx(offsets, abs=1e-9)
    assert mapping.yaw_gain == mapping.pitch_gain == pytest.approx(1.62866, abs=1e-5)
    assert mapping.yaw_curve == mapping.pitch_curve == 0
    assert "-0.0" not in {str(number) for number in mapping.numbers().values()}


@pytest.mark.parametrize("window", WINDOWS)
def test_a_pixel_comes_back_to_its_place_through_the_client(window):
    screen = geometry(window)
    mapping = mapping_for("screen", screen)
    stream = torch.Generator().manual_seed(0)
    points = torch.rand(50, 2, generator=stream, dtype=torch.float64) * torch.tensor(window) * 1.4 - 100
    for point, angles in zip(points.tolist(), screen.to_degrees(points).tolist(), strict=True):
        assert client_simulator.to_screen(angles, mapping.numbers(), window_px=window) == pytest.approx(point, abs=0.01)
    assert torch.allclose(drawn_at(mapping, screen, points), points, atol=0.01)


def test_our_polynomials_are_the_clients():
    mapping = ClientMapping(
        yaw_gain=6.3585, yaw_offset=6.74, yaw_curve=-0.23525, pitch_gain=0.892, pitch_offset=-22.615, pitch_curve=0.383
    )
    for angles in [(0.0, 0.0), (10.0, -5.0), (-17.0, 12.0)]:
        ours = mapping.to_pixels(torch.tensor(angles, dtype=torch.float64), window_px=(1920, 1080)).tolist()
        assert ours == pytest.approx(
            client_simulator.to_screen(angles, mapping.numbers(), window_px=(1920, 1080)), abs=1e-9
        )


def test_native_reaches_61_percent_of_the_screen():
    screen = geometry((1728, 1117))
    assert share_reached(mapping_for("native", screen), screen) == pytest.approx(0.614)
    assert share_reached(mapping_for("screen", screen), screen) == pytest.approx(1.0, abs=1e-6)
    drawn = drawn_at(ClientMapping(), screen, torch.tensor([[0.0, 558.0], [1728.0, 558.0]], dtype=torch.float64))
    assert drawn[:, 0].tolist() == pytest.approx([864 - 864 * 0.614, 864 + 864 * 0.614])


def test_an_unknown_mapping_names_the_right_ones():
    with pytest.raises(ConfigError, match=r"mapping: 'linear' .*native .*screen"):
        mapping_for("linear", ScreenGeometry())


def test_the_grid_lies_inside_of_the_window():
    grid = grid_of(geometry((640, 480)))
    assert grid.shape == (9, 2)
    assert grid[0].tolist() == pytest.approx([32, 24])
    assert grid[-1].tolist() == pytest.approx([608, 456])
