"""The box of the mesh's points, as the client computes it at run time."""

import numpy as np
import pytest
from face_graphs import write_mesh, write_ultraface
from PIL import Image

from gaze_exp.errors import ConfigError, DataError
from gaze_exp.faces.face import Face
from gaze_exp.faces.finder import open_finder
from gaze_exp.faces.mesh import FaceMesh

COLOUR = (200, 90, 30)
PHOTO = Image.new("RGB", (640, 480), COLOUR)
TOLERANCE_PX = 0.02
"""onnxruntime adds 36864 numbers up in float32."""
SEEN = np.array(COLOUR, np.float32) / 127.5 - 1


@pytest.mark.parametrize(
    ("box", "looked_at"),
    [
        ((200, 100, 301, 230), (187.375, 83.75, 126.25, 162.5)),  # an eighth more on each side, not rounded
        ((4, 100, 104, 230), (0, 83.75, 125, 162.5)),  # slides in at the left as wide as it was
        ((600, 400, 680, 500), (590, 387.5, 50, 92.5)),  # cut off at the right and below
    ],
)
def test_points_are_scaled_back_by_what_the_client_looked_at(tmp_path, box, looked_at):
    path, points = write_mesh(tmp_path / "mesh.onnx")
    x, y, width, height = looked_at
    expected = np.array([x, y]) + points(SEEN)[:, :2] * np.array([width, height]) / 192
    found = FaceMesh(path).points(PHOTO, Face(*box, 1.0))
    assert found.shape == (468, 2)
    assert np.abs(found - expected).max() < TOLERANCE_PX


def test_the_mesh_sees_only_its_part_of_the_photo_in_rgb(tmp_path):
    path, points = write_mesh(tmp_path / "mesh.onnx")
    photo = Image.new("RGB", (640, 480), (0, 0, 255))
    photo.paste(Image.new("RGB", (130, 130), COLOUR), (190, 90))
    found = FaceMesh(path).points(photo, Face(204, 104, 300, 200, 1.0))
    assert np.abs((found - [192, 92]) * 192 / 120 - points(SEEN)[:, :2]).max() < TOLERANCE_PX


def test_the_box_is_that_of_all_points_and_keeps_the_confidence(tmp_path):
    path, _ = write_mesh(tmp_path / "mesh.onnx")
    mesh, face = FaceMesh(path), Face(200, 100, 300, 230, 0.83)
    box, points = mesh.box(PHOTO, face), mesh.points(PHOTO, face)
    assert (box.left, box.top) == pytest.approx(points.min(0))
    assert (box.right, box.bottom) == pytest.approx(points.max(0))
    assert box.confidence == 0.83


def test_iris_points_beyond_the_468_do_not_count(tmp_path):
    path, points = write_mesh(tmp_path / "mesh.onnx", num_points=478)
    found = FaceMesh(path).points(PHOTO, Face(200, 100, 300, 200, 1.0))
    assert np.abs((found - [187.5, 87.5]) * 192 / 125 - points(SEEN)[:468, :2]).max() < TOLERANCE_PX


def test_a_mesh_with_too_few_points_is_refused(tmp_path):
    path, _ = write_mesh(tmp_path / "mesh.onnx", num_points=400)
    with pytest.raises(ConfigError, match=r"^faces\.mesh: gives 1200 numbers"):
        FaceMesh(path).points(PHOTO, Face(200, 100, 300, 200, 1.0))


def test_a_model_with_another_input_is_refused(tmp_path):
    path, _ = write_mesh(tmp_path / "mesh.onnx", shape=(1, 256, 256, 3))
    with pytest.raises(ConfigError, match=r"^faces\.mesh: .*takes \[1, 256, 256, 3\]"):
        FaceMesh(path)


def test_points_that_are_no_numbers_are_no_face(tmp_path):
    path, _ = write_mesh(tmp_path / "mesh.onnx", nan=True)
    with pytest.raises(DataError, match="no points"):
        FaceMesh(path).points(PHOTO, Face(200, 100, 300, 200, 1.0))


def test_a_face_outside_of_the_photo_is_refused(tmp_path):
    path, _ = write_mesh(tmp_path / "mesh.onnx")
    with pytest.raises(DataError, match="outside"):
        FaceMesh(path).points(PHOTO, Face(700, 100, 800, 200, 1.0))


def test_with_a_mesh_boxes_are_decoded_as_the_client_does_unless_told_otherwise(tmp_path):
    detector, (mesh, _) = write_ultraface(tmp_path / "det.onnx"), write_mesh(tmp_path / "mesh.onnx")
    facts = open_finder(detector, mesh=mesh).facts
    assert (facts["client_quirk"], facts["box_of"]) == (True, "mesh")
    assert open_finder(detector, mesh=mesh, client_quirk=False).facts["client_quirk"] is False
    assert open_finder(detector).facts["client_quirk"] is False
