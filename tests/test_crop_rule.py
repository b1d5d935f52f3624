"""The crop is the client's to the pixel, and its resize to one grey level."""

import cv2
import numpy as np
import pytest
from client_simulator import face_picture, gaze_crop, triangle_resize
from PIL import Image

from gaze_exp.errors import DataError
from gaze_exp.faces.crop_rule import Window, cut, window_of
from gaze_exp.faces.face import Face
from gaze_exp.faces.shrink import shrunk

FULL_HD = {"width_px": 1920, "height_px": 1080}


def noise(width, height, seed=0):
    """A photo with detail at every scale."""
    random = np.random.default_rng(seed)
    coarse = cv2.resize(random.integers(0, 256, (height // 16 + 1, width // 16 + 1, 3), np.uint8), (width, height))
    return (0.5 * coarse + 0.5 * random.integers(0, 256, (height, width, 3))).astype(np.uint8)


@pytest.mark.parametrize(
    ("box", "window"),
    [
        ((860, 300, 1100, 640), (725, 215, 510, 510)),
        ((20, 300, 260, 640), (0, 215, 510, 510)),
        ((1700, 300, 1900, 640), (1545, 215, 375, 510)),
        ((860, 760, 1100, 1075), (743, 681, 472, 398)),
    ],
)
def test_windows_of_known_boxes(box, window):
    assert window_of(Face(*box, 1.0), **FULL_HD) == Window(*window)


def test_windows_are_the_clients_wherever_the_face_is():
    random = np.random.default_rng(1)
    at_an_edge = 0
    for _ in range(500):
        width, height = random.integers(40, 1600, 2) / 4
        left, top = random.integers(-200, 7600) / 4, random.integers(-200, 4300) / 4
        box = (left, top, left + width, top + height)
        expected = gaze_crop(box, frame_width=1920, frame_height=1080)
        if min(expected[2:]) < 10:
            with pytest.raises(DataError):
                window_of(Face(*box, 1.0), **FULL_HD)
            continue
        assert window_of(Face(*box, 1.0), **FULL_HD) == Window(*expected)
        at_an_edge += expected[2] != expected[3] or 0 in expected[:2]
    assert at_an_edge > 100


def test_padding_keeps_the_square_and_blackens_what_is_beyond():
    window = window_of(Face(20, 300, 260, 640, 1.0), **FULL_HD, rule="pad")
    assert window == Window(-115, 215, 510, 510)
    crop = np.asarray(cut(Image.new("RGB", (1920, 1080), (200, 100, 50)), window, size_px=102))
    assert (crop[:, :22] == 0).all()
    assert (crop[:, 24:] == (200, 100, 50)).all()


@pytest.mark.parametrize("box", [(1930, 500, 1972, 540), (100, 100, 106, 104), (100, 1090, 140, 1130)])
def test_next_to_nothing_is_refused(box):
    with pytest.raises(DataError, match="crop would be"):
        window_of(Face(*box, 1.0), **FULL_HD)


def test_the_resize_is_the_clients_triangle_filter_and_opencvs_is_not():
    photo = noise(810, 810)
    expected = triangle_resize(photo, 448, 448).astype(int)
    ours = np.asarray(cut(Image.fromarray(photo), Window(0, 0, 810, 810), size_px=448)).astype(int)
    assert np.abs(ours - expected).max() <= 1
    theirs = cv2.resize(photo, (448, 448), interpolation=cv2.INTER_LINEAR).astype(int)
    assert np.abs(theirs - expected).max() > 10


@pytest.mark.parametrize("size", [(1920, 1080), (640, 480), (200, 150)])
def test_what_a_detector_sees_is_the_clients_to_one_grey_level(size):
    photo = noise(*size)
    expected = triangle_resize(photo, 320, 240).astype(int)
    assert np.abs(shrunk(Image.fromarray(photo), width_px=320, height_px=240).astype(int) - expected).max() <= 1


@pytest.mark.parametrize("box", [(300, 150, 420, 330), (-20, 100, 150, 320), (520, 250, 660, 470)])
def test_crops_are_what_the_client_shows_its_net(box):
    photo = noise(640, 480, seed=4)
    expected = face_picture(photo, box).astype(int)
    window = window_of(Face(*box, 1.0), width_px=640, height_px=480)
    assert np.abs(np.asarray(cut(Image.fromarray(photo), window, size_px=448)) - expected).max() <= 1


def test_nothing_from_beyond_the_window_comes_in():
    photo = np.zeros((100, 100, 3), np.uint8)
    photo[30:60, 30:60] = 255
    assert (np.asarray(cut(Image.fromarray(photo), Window(30, 30, 30, 30), size_px=64)) == 255).all()
