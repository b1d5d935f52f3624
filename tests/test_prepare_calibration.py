"""task=l2cs_prepare from end to end: on rendered people with real detectors, on bad photos, and whole or not at all."""

import contextlib
import csv
import hashlib
import io
import json
import re

import numpy as np
import pytest
from client_simulator import face_picture
from conftest import program
from detectors import ULTRAFACE, YUNET, detector_file
from face_graphs import write_mesh, write_ultraface
from PIL import Image

from gaze_exp.actions import prepare_calibration
from gaze_exp.calibration_crops import Cutting
from gaze_exp.calibration_prepare import prepare
from gaze_exp.config import compose
from gaze_exp.data.calibration_set import read_calibration_set
from gaze_exp.data.sources.calibration import CalibrationSource, read_calibration_folder
from gaze_exp.data.synthetic.layouts import write_set
from gaze_exp.data.synthetic.set_plan import SetPlan
from gaze_exp.errors import ConfigError, DataError
from gaze_exp.faces.finder import open_finder
from gaze_exp.screen import ScreenGeometry

START_MS = 1_766_068_421_832
SIZE = (200, 150)
TASK = ("task=l2cs_prepare", "faces.size_px=64")
POINTS = [(x, y) for y in (60.0, 558.0, 1050.0) for x in (80.0, 864.0, 1650.0)]


def colours(seed=0, size=SIZE):
    random = np.random.default_rng(seed)
    small = random.integers(0, 256, (6, 8, 3), np.uint8)
    return Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)


def jpeg(picture, **options):
    data = io.BytesIO()
    picture.save(data, "JPEG", quality=95, **options)
    return data.getvalue()


def write_photo(folder, number, *, content=None, point=(100.0, 200.0)):
    folder.mkdir(exist_ok=True)
    stem = folder / f"img_{START_MS + 2000 * number}"
    stem.with_suffix(".jpg").write_bytes(content if content is not None else jpeg(colours(number)))
    label = {"timestamp": START_MS + 2000 * number, "screen_x": point[0], "screen_y": point[1]}
    stem.with_suffix(".json").write_text(json.dumps(label, indent=2))
    return stem.name


@pytest.fixture
def photos(tmp_path):
    """Nine photos of nine targets."""
    for number, point in enumerate(POINTS):
        write_photo(tmp_path / "calibration_data", number, point=point)
    return tmp_path / "calibration_data"


@pytest.fixture
def detector(tmp_path):
    """Sees a face in the middle of every photo."""
    return write_ultraface(tmp_path / "face_detection.onnx")


def hashes(folder):
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.rglob("*") if p.is_file()}


def rows_of(folder):
    with (folder / "labels.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def manifest_of(folder):
    return json.loads((folder / "manifest.json").read_text())


def test_a_folder_of_photos_becomes_a_set(photos, detector, tmp_path):
    before = hashes(photos)
    done = program(*TASK, f"faces.detector={detector}", cwd=tmp_path)
    assert done.code == 0, done.err
    assert hashes(photos) == before
    folder = tmp_path / "dataset_clean"
    rows = rows_of(folder)
    assert list(rows[0])[:3] == ["filename", "yaw", "pitch"]
    assert {p.name for p in folder.iterdir()} == {
        "labels.csv", "manifest.json", "contact_sheet.png", *(row["filename"] for row in rows)
    }  # fmt: skip
    assert [row["source"] for row in rows] == sorted(p.name for p in photos.glob("*.jpg"))
    assert [(float(row["target_x_px"]), float(row["target_y_px"])) for row in rows] == POINTS
    assert [int(row["target"]) for row in rows] == list(range(9))
    assert "9 photos of 9 targets in 1 session ->" in done.out
    assert "no fine-tune: 9 of the 20 photos" in done.out
    assert "that allows offset, affine" in done.out


def test_labels_are_client_degrees(detector, tmp_path):
    points = [(864.0, 558.0), (1728.0, 1117.0), (0.0, 0.0), (850.855, -71.0)]
    for number, point in enumerate(points):
        write_photo(tmp_path / "calibration_data", number, point=point)
    assert program(*TASK, f"faces.detector={detector}", cwd=tmp_path).code == 0
    expected = [(0, 0), (26.5248, 17.1613), (-26.5248, -17.1306), (-0.4036, -19.3103)]
    rows = rows_of(tmp_path / "dataset_clean")
    assert np.array([(float(row["yaw"]), float(row["pitch"])) for row in rows]) == pytest.approx(
        np.array(expected), abs=1e-4
    )
    found = read_calibration_set(tmp_path / "dataset_clean")
    assert found.angles_deg.numpy() == pytest.approx(np.array(expected), abs=1e-4)
    assert found.geometry.to_degrees(found.target_px).numpy() == pytest.approx(found.angles_deg.numpy(), abs=1e-5)


def test_crops_are_the_clients_in_rgb(photos, detector, tmp_path):
    assert program(*TASK, f"faces.detector={detector}", cwd=tmp_path).code == 0
    found = read_calibration_set(tmp_path / "dataset_clean")
    images = found.images()
    assert (images.shape, images.dtype) == ((9, 3, 64, 64), images.new_zeros(0).dtype)
    for image, name in zip(images, found.filenames, strict=True):
        photo = np.asarray(Image.open(photos / name))
        expected = face_picture(photo, (50, 37.5, 150, 112.5), size_px=64).astype(int)
        error = np.abs(image.permute(1, 2, 0).numpy() - expected)
        assert error.mean() < 1.5  # of the JPEG, and one grey level of the resize
        assert np.abs(error - error[..., ::-1]).max() < 12


def test_a_red_photo_is_red_in_channel_0(detector, tmp_path):
    write_photo(tmp_path / "calibration_data", 0, content=jpeg(Image.new("RGB", SIZE, (255, 0, 0))))
    assert program(*TASK, f"faces.detector={detector}", cwd=tmp_path).code == 0
    (image,) = read_calibration_set(tmp_path / "dataset_clean").images().float()
    assert image.mean((1, 2)).numpy() == pytest.approx([255, 0, 0], abs=2)


def test_the_manifest_says_how_it_was_made(photos, detector, tmp_path):
    done = program(*TASK, f"faces.detector={detector}", "screen=macbook_1440x900", "crop=pad", cwd=tmp_path)
    assert done.code == 0
    manifest = manifest_of(tmp_path / "dataset_clean")
    assert manifest["detector"]["sha256"] == hashlib.sha256(detector.read_bytes()).hexdigest()
    assert manifest["geometry"]["deg_per_pixel"] == 0.05
    assert (manifest["crop"], manifest["size_px"], manifest["box_of"]) == ("pad", 64, "detector")
    assert manifest["sha256"].keys() == {p.name for p in photos.glob("*.jpg")}
    assert (manifest["photos"], manifest["targets"], manifest["sessions"]) == (9, 9, 1)


def rotated():
    exif = Image.Exif()
    exif[0x0112] = 6
    return jpeg(colours(1), exif=exif)


def renamed_png():
    data = io.BytesIO()
    colours(2).save(data, "PNG")
    return data.getvalue()


BAD_PHOTOS = {
    "orientation 6": rotated(),
    "is a PNG": renamed_png(),
    "no colour photo": jpeg(colours(3).convert("L")),
    "cannot be read as a picture": jpeg(colours(4))[:1500],
    "is empty": b"",
    "cannot be read as a picture (cannot identify": b"<html>",
}


def test_photos_of_no_use_are_left_out_and_listed_and_the_rest_goes_on(photos, detector, tmp_path):
    names = {write_photo(photos, 20 + n, content=bad): told for n, (told, bad) in enumerate(BAD_PHOTOS.items())}
    done = program(*TASK, f"faces.detector={detector}", cwd=tmp_path)
    assert done.code == 0
    dropped = {one["file"]: one["reason"] for one in manifest_of(tmp_path / "dataset_clean")["dropped"]}
    assert dropped.keys() == {f"{name}.jpg" for name in names}
    for name, told in names.items():
        assert told in dropped[f"{name}.jpg"]
        assert f"{name}.jpg: " in done.out
    assert "6 of 15 files left out" in done.out
    assert len(read_calibration_set(tmp_path / "dataset_clean")) == 9


def test_where_no_photo_is_left_nothing_is_written(tmp_path, photos):
    blind = write_ultraface(tmp_path / "blind.onnx", confidence=0.3)
    done = program(*TASK, f"faces.detector={blind}", cwd=tmp_path)
    assert done.code == 2
    assert "no photo is left of 9" in done.err
    assert "no face above a confidence of 0.7" in done.err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["blind.onnx", "calibration_data"]


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["faces.detector=null"], "faces.detector: nothing given; the client's own is models/face_detection.onnx"),
        (["crop=stretch"], "crop: 'stretch' is no rule; client or pad is"),
        (["faces.size_px=0"], "faces.size_px: 0 is no crop size"),
        (["faces.min_confidence=2"], "faces.min_confidence: 2 is none"),
        (["faces.min_confidence=high"], "faces.min_confidence: high is none"),
        (["faces.client_quirk=perhaps"], "faces.client_quirk: 'perhaps' is no choice"),
        (["data.calibration_dir=elsewhere"], "elsewhere: there is no such folder"),
        (["data.same_target_px=-1"], "data.same_target_px: -1"),
        (["data=dataset_clean"], "data: has no folder of calibration photos"),
        (["faces.mesh=mesh.onnx"], "faces.mesh: mesh.onnx does not exist"),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_is_written(photos, detector, tmp_path, overrides, told):
    cfg = compose([*TASK, f"faces.detector={detector}", *overrides, "run_dir=."])
    with contextlib.chdir(tmp_path), pytest.raises((ConfigError, DataError), match=f"^{re.escape(told)}"):
        prepare_calibration.run(cfg)
    assert not (tmp_path / "dataset_clean").exists()


def test_again_replaces_the_set_and_leaves_nothing_beside(photos, detector, tmp_path):
    for crop in ("client", "pad"):
        assert program(*TASK, f"faces.detector={detector}", f"crop={crop}", cwd=tmp_path).code == 0
        (photos / f"img_{START_MS}.json").unlink(missing_ok=True)
    assert manifest_of(tmp_path / "dataset_clean")["crop"] == "pad"
    assert len(read_calibration_set(tmp_path / "dataset_clean")) == 8
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_a_folder_of_something_else_is_never_replaced(photos, detector, tmp_path):
    folder = tmp_path / "dataset_clean"
    folder.mkdir()
    (folder / "thesis.tex").write_text("all my work")
    done = program(*TASK, f"faces.detector={detector}", cwd=tmp_path)
    assert done.code == 2
    assert "holds what no earlier prepare has written: thesis.tex" in done.err
    assert [p.name for p in folder.iterdir()] == ["thesis.tex"]


def test_a_note_put_beside_the_crops_is_never_lost(photos, detector, tmp_path):
    arguments = (*TASK, f"faces.detector={detector}")
    assert program(*arguments, cwd=tmp_path).code == 0
    note = tmp_path / "dataset_clean" / "notes.txt"
    note.write_text("photo 3: I blinked")
    before = hashes(note.parent)
    assert program(*arguments, cwd=tmp_path / "").code == 2
    assert hashes(note.parent) == before


def test_the_photos_themselves_are_never_the_place_to_write(photos, detector, tmp_path):
    before = hashes(photos)
    assert program(*TASK, f"faces.detector={detector}", "data.root=calibration_data", cwd=tmp_path).code == 2
    assert hashes(photos) == before


def test_a_stop_leaves_the_earlier_set_as_it_was(photos, detector, tmp_path):
    source = CalibrationSource(str(photos), str(tmp_path / "clean"))
    cutting = Cutting(open_finder(detector), ScreenGeometry(), size_px=64)
    found = read_calibration_folder(photos)
    prepare(found, source, cutting)
    before = hashes(tmp_path / "clean")

    def stop(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(found, source, cutting, on_photo=stop)
    assert hashes(tmp_path / "clean") == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["calibration_data", "clean", "face_detection.onnx"]


def test_an_earlier_set_comes_back_after_a_kill_between_the_renames(photos, detector, tmp_path):
    source = CalibrationSource(str(photos), str(tmp_path / "clean"))
    cutting = Cutting(open_finder(detector), ScreenGeometry(), size_px=64)
    prepare(read_calibration_folder(photos), source, cutting)
    (tmp_path / "clean").rename(tmp_path / ".clean.old")
    blind = Cutting(open_finder(write_ultraface(tmp_path / "b.onnx", confidence=0.1)), ScreenGeometry())
    with pytest.raises(DataError, match="no photo is left"):
        prepare(read_calibration_folder(photos), source, blind)
    assert len(read_calibration_set(tmp_path / "clean")) == 9


def test_with_a_mesh_the_box_is_that_of_its_points(photos, tmp_path):
    detector = write_ultraface(tmp_path / "det.onnx", decodes=True)
    mesh, _ = write_mesh(tmp_path / "mesh.onnx")
    models = (f"faces.detector={detector}", f"faces.mesh={mesh}")
    done = program(*TASK, *models, "faces.client_quirk=false", cwd=tmp_path)
    assert done.code == 0, done.err
    assert "the client crops by its face mesh" not in done.out
    finder = open_finder(detector, mesh=mesh, client_quirk=False)
    for row in rows_of(tmp_path / "dataset_clean"):
        face, _ = finder.find(Image.open(photos / row["source"]))
        assert float(row["box_left_px"]) == pytest.approx(face.left, abs=0.01)
        assert float(row["box_bottom_px"]) == pytest.approx(face.bottom, abs=0.01)


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    """One rendered person in two sessions of nine photos."""
    root = tmp_path_factory.mktemp("people")
    write_set(root / "set", SetPlan(layout="calibration", persons=1, frames=9, seed=0, sessions=2))
    return root / "set" / "participant_001" / "calibration_data"


@pytest.mark.slow
@pytest.mark.parametrize("name", [ULTRAFACE, YUNET])
def test_rendered_people_are_prepared_with_real_detectors(people, tmp_path, name):
    choices = (f"faces.detector={detector_file(name)}", f"data.calibration_dir={people}")
    done = program("task=l2cs_prepare", *choices, cwd=tmp_path)
    assert done.code == 0, done.err
    assert "18 photos of 9 targets in 2 sessions" in done.out
    assert "held-out targets and sessions can test it" in done.out
    found = read_calibration_set(tmp_path / "dataset_clean")
    assert found.images().shape == (18, 3, 448, 448)
    assert found.session.bincount().tolist() == [9, 9]
    assert found.target.bincount().tolist() == [2] * 9
    for row in rows_of(tmp_path / "dataset_clean"):
        label = json.loads((people / row["source"]).with_suffix(".json").read_text())
        assert (float(row["target_x_px"]), float(row["target_y_px"])) == (label["screen_x"], label["screen_y"])
        for side in ("left_eye", "right_eye"):
            eye = label["inference"]["Gaze"][side]
            assert float(row["box_left_px"]) < eye["x"] < float(row["box_right_px"])
            assert float(row["box_top_px"]) < eye["y"] < float(row["box_bottom_px"])
