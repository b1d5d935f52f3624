"""Finding faces: the detectors that users have, told apart, decoded, and refused when they are something else."""

from itertools import pairwise

import cv2
import numpy as np
import onnxruntime
import pytest
from client_simulator import client_anchors, detect_face, open_model
from detectors import ULTRAFACE, YUNET, detector_file
from face_graphs import write_model, write_ultraface
from onnx import helper
from PIL import Image

from gaze_exp.errors import ConfigError, DataError
from gaze_exp.faces.detector import open_detector
from gaze_exp.faces.face import faces_of, overlap
from gaze_exp.faces.finder import open_finder
from gaze_exp.faces.shrink import shrunk
from gaze_exp.faces.ultraface import anchors, decode

RAW = "version-RFB-320_without_postprocessing.onnx"
SLIM = "version-slim-320.onnx"
ALL = (ULTRAFACE, RAW, SLIM, YUNET)
ONE_FACE = ("astronaut.png", "image00.jpg", "image01.jpg", "selfies/self_center.jpg", "selfies/self_top_top.jpg")


def photo(name):
    path = detector_file(ULTRAFACE).parents[1] / "photos" / name
    if not path.is_file():
        pytest.skip(f"needs $GAZE_TEST_DATA/photos/{name}")
    return Image.open(path).convert("RGB")


def edges(face):
    return np.array([face.left, face.top, face.right, face.bottom])


@pytest.mark.parametrize("name", ALL)
def test_every_detector_finds_the_astronaut_where_she_is(name):
    (face,) = open_detector(detector_file(name)).faces(photo("astronaut.png"))
    assert overlap(edges(face), (179, 63, 269, 173)) > 0.85
    assert face.confidence > 0.9


@pytest.mark.parametrize("name", ALL)
def test_every_detector_counts_the_people_in_a_group(name):
    faces = open_detector(detector_file(name)).faces(photo("image02.jpg"))
    assert len(faces) == 4
    assert all(a.confidence >= b.confidence for a, b in pairwise(faces))


@pytest.mark.parametrize(("name", "decoded"), [(ULTRAFACE, True), (SLIM, True), (RAW, False)])
def test_decoded_and_raw_boxes_are_told_apart(name, decoded):
    assert open_detector(detector_file(name)).decoded is decoded


@pytest.mark.parametrize("name", ONE_FACE)
def test_raw_boxes_on_our_anchors_are_the_decoded_ones(name):
    small = shrunk(photo(name), width_px=320, height_px=240)
    pixels = ((small.astype(np.float32) - 127) / 128).transpose(2, 0, 1)[None]
    (decoded,), (raw,) = (open_model(detector_file(n)).run(["boxes"], {"input": pixels})[0] for n in (ULTRAFACE, RAW))
    assert np.abs(decode(raw, anchors(320, 240)) - decoded).max() < 1e-5


def test_the_clients_anchors_are_wrong_in_the_last_two_maps():
    ours, theirs = anchors(320, 240), anchors(320, 240, clipped=False)
    assert np.abs(theirs - client_anchors()).max() < 1e-6
    assert (np.abs(ours - theirs).max(-1) > 1e-6).sum() == 220


@pytest.mark.parametrize("file", [ULTRAFACE, RAW])
@pytest.mark.parametrize("name", ONE_FACE)
def test_with_its_quirk_the_box_is_the_one_that_the_client_decodes(file, name):
    picture = photo(name)
    (face,) = open_detector(detector_file(file), client_quirk=True).faces(picture)
    expected = detect_face(open_model(detector_file(file)), np.asarray(picture))
    assert np.abs(edges(face) - expected).max() < 0.01 * (face.right - face.left)


def test_decoding_twice_moves_the_box():
    picture = photo("selfies/self_right_right.jpg")
    right, moved = (open_detector(detector_file(ULTRAFACE), client_quirk=quirk).faces(picture)[0] for quirk in (0, 1))
    assert overlap(edges(right), edges(moved)) < 0.75


@pytest.mark.parametrize("name", ONE_FACE)
def test_yunet_through_onnxruntime_sees_what_opencv_sees(name):
    picture = Image.fromarray(shrunk(photo(name), width_px=320, height_px=320))
    (face,) = open_detector(detector_file(YUNET)).faces(picture)
    theirs = cv2.FaceDetectorYN.create(str(detector_file(YUNET)), "", (320, 320), 0.7)
    _, (found,) = theirs.detect(np.ascontiguousarray(np.asarray(picture)[..., ::-1]))
    assert np.abs(edges(face) - [found[0], found[1], found[0] + found[2], found[1] + found[3]]).max() < 0.05
    assert face.confidence == pytest.approx(found[-1], abs=1e-4)


def test_yunet_keeps_the_proportions_of_a_wide_photo():
    tall = photo("image00.jpg")
    wide = Image.new("RGB", (2 * tall.height, tall.height))
    wide.paste(tall, (700, 0))
    detector = open_detector(detector_file(YUNET))
    alone, (beside,) = detector.faces(tall)[0], detector.faces(wide)
    assert overlap(edges(alone) + np.array([700, 0, 700, 0]), edges(beside)) > 0.8


@pytest.mark.parametrize("decodes", [True, False])
def test_a_graph_that_its_data_contradict_is_refused(tmp_path, decodes):
    path = write_ultraface(tmp_path / "odd.onnx", decodes=decodes, in_order=not decodes)
    with pytest.raises(ConfigError, match=r"faces\.detector: .*odd\.onnx contradicts itself"):
        open_detector(path)


def test_small_graphs_are_classified_like_the_real_ones(tmp_path):
    assert open_detector(write_ultraface(tmp_path / "a.onnx")).decoded
    assert not open_detector(write_ultraface(tmp_path / "b.onnx", decodes=False, in_order=False)).decoded


def test_no_detector_says_where_the_client_keeps_its_own():
    with pytest.raises(ConfigError, match=r"^faces\.detector: nothing given; .*models/face_detection\.onnx"):
        open_detector(None)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "git lfs pull"),
        (b"\x00\x01nonsense", "damaged"),
    ],
)
def test_a_file_that_is_no_model_says_what_it_is(tmp_path, content, told):
    path = tmp_path / "face_detection.onnx"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=rf"^faces\.detector: .*face_detection\.onnx.*{told}"):
        open_detector(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    for path in (tmp_path, tmp_path / "none.onnx"):
        with pytest.raises(ConfigError, match=r"^faces\.detector: "):
            open_detector(path)


def test_another_model_is_refused_by_its_outputs(tmp_path):
    node = helper.make_node("Identity", ["x"], ["gaze"])
    path = write_model(tmp_path / "gaze.onnx", [node], inputs={"x": [1, 2]}, outputs={"gaze": [1, 2]}, weights={})
    with pytest.raises(ConfigError, match=r"no UltraFace and no YuNet \(its outputs: gaze\)"):
        open_detector(path)


def test_the_client_cannot_run_a_yunet_so_neither_as_the_client():
    with pytest.raises(ConfigError, match=r"^faces\.client_quirk: "):
        open_detector(detector_file(YUNET), client_quirk=True)


@pytest.mark.parametrize("least", [-0.1, 1.0, float("nan")])
def test_a_confidence_that_nothing_can_have_is_refused(tmp_path, least):
    with pytest.raises(ConfigError, match=r"^faces\.min_confidence: "):
        open_detector(write_ultraface(tmp_path / "a.onnx"), min_confidence=least)


def test_two_boxes_of_one_face_are_one_and_the_surer():
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [30, 30, 50, 50], [0, 0, 10, 10]], np.float32)
    faces = faces_of(boxes, np.array([0.8, 0.9, 0.75, 0.5], np.float32), min_confidence=0.7)
    assert [(face.left, face.confidence) for face in faces] == [(1.0, pytest.approx(0.9)), (30.0, 0.75)]


def test_the_largest_face_is_taken_and_the_others_are_counted():
    finder = open_finder(detector_file(ULTRAFACE))
    face, num_faces = finder.find(photo("image02.jpg"))
    assert num_faces == 4
    assert face.area == max(one.area for one in finder.detector.faces(photo("image02.jpg")))


def test_an_unsure_face_is_none(tmp_path):
    finder = open_finder(write_ultraface(tmp_path / "a.onnx", confidence=0.65))
    with pytest.raises(DataError, match=r"no face above a confidence of 0\.7"):
        finder.find(Image.new("RGB", (64, 48)))


def test_what_a_manifest_says_of_the_detector(tmp_path):
    facts = open_finder(write_ultraface(tmp_path / "a.onnx"), min_confidence=0.5).facts
    assert facts["detector"]["kind"] == "ultraface"
    assert len(facts["detector"]["sha256"]) == 64
    assert (facts["mesh"], facts["client_quirk"], facts["box_of"]) == (None, False, "detector")


def test_onnxruntime_never_spreads_one_photo_over_the_cores(tmp_path):
    session = open_detector(write_ultraface(tmp_path / "a.onnx")).session
    assert session.get_session_options().intra_op_num_threads == 1
    assert session.get_providers() == ["CPUExecutionProvider"]
    assert isinstance(session, onnxruntime.InferenceSession)
