import math

import numpy as np
import pytest
import torch

from gaze_exp.draw import (
    PREDICTED_COLOUR,
    TARGET_COLOUR,
    gaze_arrow,
    grid,
    png_bytes,
    rgb_image,
    validation_picture,
)

GREY = np.full((224, 224, 3), 127, np.uint8)


def centre_of(picture, colour):
    """Mean (right, down) of the pixels of a colour, from the image centre."""
    rows, columns = np.nonzero((picture == colour).all(axis=2))
    assert len(rows)
    return columns.mean() - picture.shape[1] / 2, rows.mean() - picture.shape[0] / 2


@pytest.mark.parametrize(
    ("pitch_deg", "yaw_deg", "right", "down"),
    [
        (0, 25, -1, 0),  # yaw > 0: to the left of the image
        (0, -25, 1, 0),
        (25, 0, 0, -1),  # pitch > 0: up
        (-25, 0, 0, 1),
        (20, 20, -1, -1),
    ],
)
def test_arrow_points_where_the_gaze_goes(pitch_deg, yaw_deg, right, down):
    picture = gaze_arrow(GREY, (math.radians(pitch_deg), math.radians(yaw_deg)), colour=(255, 0, 0))
    x, y = centre_of(picture, (255, 0, 0))
    for measured, direction in ((x, right), (y, down)):
        assert abs(measured) < 2 if direction == 0 else measured * direction > 10


def test_arrow_leaves_its_input_alone():
    before = GREY.copy()
    gaze_arrow(GREY, torch.tensor([0.2, 0.2]), colour=(255, 0, 0))
    assert (before == GREY).all()


def test_looking_into_the_camera_is_a_dot_in_the_middle():
    picture = gaze_arrow(GREY, (0.0, 0.0), colour=(255, 0, 0))
    assert np.abs(centre_of(picture, (255, 0, 0))).max() < 2


@pytest.mark.parametrize("size", [64, 224, 300])
def test_small_faces_are_enlarged_until_lines_are_legible(size):
    picture = validation_picture(np.full((size, size, 3), 127, np.uint8), [0.1, 0.3], [0.1, -0.3])
    assert picture.shape[0] >= 224
    assert picture.shape[1] % size == 0
    assert centre_of(picture, PREDICTED_COLOUR)[0] < 0 < centre_of(picture, TARGET_COLOUR)[0]
    strip = picture[-picture.shape[0] // 10 :]
    assert (strip.min(axis=2) > 200).sum() > 30  # white letters


def test_written_error_depends_on_the_error():
    a, b = (validation_picture(GREY, [0.0, 0.0], [0.0, math.radians(x)]) for x in (2, 9))
    assert (a[-24:] != b[-24:]).any()


def test_without_a_label_only_the_prediction_is_drawn():
    for target in (None, torch.full((2,), torch.nan)):
        picture = validation_picture(GREY, [0.1, 0.3], target)
        assert not (picture == TARGET_COLOUR).all(axis=2).any()
        assert (picture == PREDICTED_COLOUR).all(axis=2).any()


def test_grid_keeps_every_picture_in_reading_order():
    tiles = [np.full((10, 20, 3), value, np.uint8) for value in (10, 20, 30, 40, 50)]
    picture = grid(tiles, num_columns=3, gap_px=2)
    assert picture.shape == (22, 64, 3)
    assert [picture[5, 5, 0], picture[5, 27, 0], picture[5, 50, 0], picture[17, 5, 0], picture[17, 27, 0]] == [
        10,
        20,
        30,
        40,
        50,
    ]
    assert (picture[17, 50] == 255).all()


def test_batch_image_becomes_a_picture_in_the_same_colours():
    face = torch.zeros(3, 4, 5, dtype=torch.uint8)
    face[0] = 200
    assert (rgb_image(face) == (200, 0, 0)).all()
    assert rgb_image(face).shape == (4, 5, 3)
    assert (rgb_image(face.float() + torch.tensor([80.0, -9, 0.6])[:, None, None]) == (255, 0, 1)).all()


def test_png_keeps_every_pixel_and_its_colour_order():
    import io

    from matplotlib.image import imread

    image = np.random.default_rng(0).integers(0, 256, (9, 7, 3)).astype(np.uint8)
    assert (np.round(imread(io.BytesIO(png_bytes(image)), format="png") * 255) == image).all()
