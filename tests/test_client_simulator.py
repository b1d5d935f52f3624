"""The simulated client against the numbers that were read off the real one."""

import json

import client_simulator
import numpy as np
import pytest
from client_folder import LEFT_OVER
from client_simulator import Client, client_anchors, decode_outputs, gaze_crop, mesh_crop, tensor_of, to_screen
from detectors import ULTRAFACE, detector_file, overlap
from PIL import Image

NEUTRAL = {name: float(name.endswith("gain")) for name in client_simulator.NUMBERS}


@pytest.mark.parametrize(
    ("box", "crop"),
    [
        ((860, 300, 1100, 640), (725, 215, 510, 510)),
        ((20, 300, 260, 640), (0, 215, 510, 510)),
        ((1700, 300, 1900, 640), (1545, 215, 375, 510)),
        ((860, 760, 1100, 1075), (743, 681, 472, 398)),
    ],
)
def test_the_crop_slides_in_at_the_left_and_is_cut_at_the_right(box, crop):
    assert gaze_crop(box, frame_width=1920, frame_height=1080) == crop


def test_the_mesh_crop_is_a_quarter_larger_and_stays_in_the_frame():
    assert mesh_crop((100, 100, 300, 340), frame_width=640, frame_height=480) == (75, 70, 250, 300)
    assert mesh_crop((4, 400, 204, 480), frame_width=640, frame_height=480) == (0, 390, 250, 90)


@pytest.mark.parametrize(("size", "new"), [((810, 700), (448, 448)), ((60, 90), (448, 320)), ((448, 448), (448, 448))])
def test_the_triangle_filter_is_pils_bilinear_within_one_level(size, new):
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    ours = client_simulator.triangle_resize(image, *new).astype(int)
    pils = np.asarray(Image.fromarray(image).resize(new, Image.Resampling.BILINEAR)).astype(int)
    assert np.abs(ours - pils).max() <= 1


def test_white_and_red_are_normalised_as_imagenet():
    assert tensor_of(np.full((4, 4, 3), 255, np.uint8))[0, :, 0, 0] == pytest.approx([2.2489, 2.4286, 2.6400], abs=1e-4)
    red = np.zeros((4, 4, 3), np.uint8)
    red[..., 0] = 255
    assert tensor_of(red)[0, 0, 0, 0] == pytest.approx(2.2489, abs=1e-4)


def test_its_anchors_differ_from_the_makers_in_220_rows():
    anchors = client_anchors()
    assert anchors.shape == (4420, 4)
    maker = anchors.copy()
    for start, lines, columns, sides, stride in ((4200, 8, 10, 2, 30), (4360, 4, 5, 3, 60)):
        line = np.repeat(np.arange(lines), columns * sides)
        maker[start : start + len(line), 1] = (line + 0.5) * stride / 240
    maker = np.clip(maker, 0, 1)
    assert (np.abs(maker - anchors).max(1) > 1e-6).sum() == 220
    assert np.abs(maker - anchors)[:, 1].max() == pytest.approx(0.0625)
    assert anchors[:, 3].max() == pytest.approx(1.0667, abs=1e-4)


def test_decoding_decoded_boxes_again_spoils_them():
    session = client_simulator.open_model(detector_file(ULTRAFACE))
    photos = detector_file(ULTRAFACE).parents[1] / "photos"
    shares = []
    for name in ("astronaut.png", "image02.jpg", "selfies/self_roll_left.jpg", "selfies/self_top_top.jpg"):
        with Image.open(photos / name) as photo:
            frame = np.asarray(photo.convert("RGB"))
        right = client_simulator.detect_face(session, frame, decode=False)
        if name == "astronaut.png":
            assert right == pytest.approx([179, 63, 269, 173], abs=2)
        shares.append(overlap(client_simulator.detect_face(session, frame), right))
    assert min(shares) > 0.3
    assert 0.5 < np.mean(shares) < 0.7


def test_logits_and_degrees_are_decoded_as_the_client_does():
    one_hot = np.full((1, 90), -50, np.float32)
    one_hot[0, 45] = 50
    zeros = np.zeros((1, 90), np.float32)
    assert decode_outputs([one_hot, zeros]) == pytest.approx((0, -2), abs=1e-3)
    assert decode_outputs([np.array([[3.5, -2.5]], np.float32)]) == (3.5, -2.5)
    assert decode_outputs([np.zeros((1, 3), np.float32)]) is None
    assert decode_outputs([np.zeros((1, 2))]) is None
    # Radians of the shape (1,) are taken for a single bin: always -180.
    assert decode_outputs([np.array([0.3], np.float32)] * 2) == (-180, -180)


def test_a_pixel_is_twenty_a_degree_from_the_windows_middle():
    assert to_screen((10, -5), NEUTRAL, window_px=(1920, 1080)) == (1160, 440)
    screen = NEUTRAL | {"yaw_gain": 1.62866, "pitch_gain": 1.62866, "yaw_offset": -4.8, "pitch_offset": 0.9}
    assert to_screen((10, -5), screen, window_px=(1920, 1080)) == pytest.approx((1189.73, 395.13), abs=0.01)


def test_a_calibration_left_over_draws_where_the_real_client_drew():
    draw = {angles: to_screen(angles, LEFT_OVER, window_px=(1920, 1080)) for angles in [(0, 0), (10, -5)]}
    assert draw[0, 0] == pytest.approx((1094.80, 87.70), abs=0.01)
    assert draw[10, -5] == pytest.approx((1896, 190), abs=0.5)
    only_gain = LEFT_OVER | {"yaw_gain": 1, "yaw_offset": 0, "pitch_gain": 1, "pitch_offset": 0}
    assert to_screen((20, 10), only_gain, window_px=(1920, 1080)) == pytest.approx((-522, 1506), abs=0.5)


def test_a_calibration_without_offsets_is_not_accepted(tmp_path):
    content = {"calibration": {"models": {"l2cs": {"yaw_gain": 1.0, "pitch_gain": 1.0}}}}
    (tmp_path / "config.json").write_text(json.dumps(content))
    with pytest.raises(KeyError, match="yaw_offset"):
        Client(tmp_path, window_px=(1728, 1117))
