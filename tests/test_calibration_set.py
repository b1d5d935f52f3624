"""Reading `dataset_clean`: what is whole is read, what is not is named with its remedy."""

import json
import re

import pytest
import torch
from face_graphs import write_ultraface
from PIL import Image

from gaze_exp.calibration_crops import Cutting
from gaze_exp.calibration_prepare import prepare
from gaze_exp.data.calibration_set import read_calibration_set
from gaze_exp.data.calibration_sheet import contact_sheet, preview_of
from gaze_exp.data.sources.calibration import CalibrationSource, read_calibration_folder
from gaze_exp.draw import TARGET_COLOUR
from gaze_exp.errors import DataError
from gaze_exp.faces.finder import open_finder
from gaze_exp.screen import ScreenGeometry


@pytest.fixture
def clean(tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    for number, point in enumerate([(864.0, 558.0), (100.0, 100.0), (1600.0, 900.0)]):
        Image.new("RGB", (120, 90), (40 * number, 100, 200)).save(photos / f"{number}.jpg")
        (photos / f"{number}.json").write_text(json.dumps({"screen_x": point[0], "screen_y": point[1]}))
    finder = open_finder(write_ultraface(tmp_path / "det.onnx"))
    source = CalibrationSource(str(photos), str(tmp_path / "clean"))
    prepare(read_calibration_folder(photos), source, Cutting(finder, ScreenGeometry(), size_px=32))
    return tmp_path / "clean"


def change(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_a_set_is_what_was_written(clean):
    found = read_calibration_set(str(clean))
    assert (len(found), found.size_px, found.filenames) == (3, 32, ["0.jpg", "1.jpg", "2.jpg"])
    assert found.geometry == ScreenGeometry()
    assert found.angles_deg.dtype == torch.float64
    assert found.target.tolist() == [1, 0, 2]
    assert found.session.tolist() == [0, 0, 0]
    assert found.images()[2, 0].float().mean() == pytest.approx(80, abs=2)


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda f: (f / "manifest.json").unlink(), "holds no manifest.json"),
        (lambda f: (f / "manifest.json").write_text("{"), "manifest.json: cannot be read as JSON"),
        (lambda f: (f / "manifest.json").write_text("{}"), "manifest.json: format: is not"),
        (lambda f: change(f / "manifest.json", '"deg_per_pixel": 0.0307', '"deg_per_pixel": -1'), "geometry"),
        (
            lambda f: change(f / "manifest.json", '"deg_per_pixel": 0.0307', '"deg_per_pixel": 0.04'),
            "1.jpg: yaw, pitch",
        ),
        (lambda f: (f / "labels.csv").unlink(), "labels.csv: cannot be read"),
        (lambda f: change(f / "labels.csv", "pitch,", "height,"), "has no column pitch"),
        (lambda f: change(f / "labels.csv", "0.jpg,0.0,", "0.jpg,nan,"), "line 2: holds a number that is not finite"),
        (lambda f: change(f / "labels.csv", "0.jpg,0.0,", "0.jpg,left,"), "line 2: could not convert"),
        (lambda f: (f / "labels.csv").write_text("filename,yaw,pitch\n"), "holds no photo"),
        (lambda f: (f / "1.jpg").unlink(), "1.jpg is not in the folder"),
    ],
)
def test_what_is_not_whole_is_named_with_its_remedy(clean, spoil, told):
    spoil(clean)
    with pytest.raises(DataError, match=rf"{re.escape(told)}.*task=l2cs_prepare"):
        read_calibration_set(clean)


def test_a_missing_folder_says_how_to_make_it(tmp_path):
    with pytest.raises(DataError, match=r"there is no such folder; .*task=l2cs_prepare"):
        read_calibration_set(tmp_path / "none")


@pytest.mark.parametrize("size", [None, (64, 64)])
def test_a_crop_that_is_damaged_or_of_another_size_is_named(clean, size):
    path = clean / "1.jpg"
    if size:
        Image.new("RGB", size).save(path)
    else:
        path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(DataError, match=r"1\.jpg: .*task=l2cs_prepare"):
        read_calibration_set(clean).images()


def test_the_sheet_shows_every_photo_with_its_arrow(clean):
    with Image.open(clean / "contact_sheet.png") as sheet:
        width, height = sheet.size
        colours = {colour: count for count, colour in sheet.convert("RGB").getcolors(10_000_000)}
    assert width >= 3 * 320
    assert height > 340
    assert colours[TARGET_COLOUR] > 300


@pytest.mark.parametrize(("mirrored", "side"), [(True, 1), (False, -1)])
def test_a_look_to_the_right_of_the_screen_goes_right_in_a_mirrored_photo(mirrored, side):
    photo = Image.new("RGB", (320, 180))
    preview = preview_of(photo, photo, face=(100, 50, 200, 150), window=(80, 30, 220, 170))
    sheet = contact_sheet(
        [preview], captions=["x"], targets_px=[(1700.0, 558.0)], geometry=ScreenGeometry(), mirrored=mirrored
    )
    crop = torch.from_numpy(sheet)[26 + 180 : 26 + 340, :160]
    green = (crop == torch.tensor(TARGET_COLOUR)).all(-1).nonzero().double()
    assert side * (green[:, 1].mean() - 80) > 8
    assert green[:, 0].mean() == pytest.approx(80, abs=2)
