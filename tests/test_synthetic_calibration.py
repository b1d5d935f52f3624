"""A client's calibration photos: keys, targets, sessions and the mirror."""

import json
import re
from itertools import pairwise

import cv2
import numpy as np
import pytest

from gaze_exp.data.synthetic.calibration_layout import draw_targets
from gaze_exp.data.synthetic.layouts import write_set
from gaze_exp.data.synthetic.person import random_stream
from gaze_exp.data.synthetic.rigs import LAPTOP
from gaze_exp.data.synthetic.set_plan import SetPlan
from gaze_exp.errors import ConfigError


def photos_of(folder):
    """[(label, picture)] as a program would read them: photos and their labels and nothing else."""
    read = []
    for path in sorted(folder.glob("img_*.json")):
        assert re.fullmatch(r"img_\d{13}", path.stem)
        picture = cv2.imread(str(path.with_suffix(".jpg")))
        read.append((json.loads(path.read_text()), picture))
    assert len(list(folder.iterdir())) == 2 * len(read)
    return read


def written(root, **changes):
    plan = {"layout": "calibration", "persons": 1, "frames": 9, "seed": 0} | changes
    write_set(root, SetPlan(**plan))
    return photos_of(root / "participant_001" / "calibration_data")


def targets_of(photos):
    return np.array([(label["screen_x"], label["screen_y"]) for label, _ in photos])


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return written(tmp_path_factory.mktemp("people") / "calibration")


def test_labels_have_the_clients_keys_in_its_order(photos):
    for label, picture in photos:
        assert list(label) == ["timestamp", "screen_x", "screen_y", "inference", "moondream_result"]
        answer = label["inference"]["Gaze"]
        assert list(answer) == ["left_eye", "right_eye", "yaw", "pitch", "roll", "vector", "landmarks"]
        assert all(list(answer[key]) == ["x", "y", "z"] for key in ("left_eye", "right_eye", "vector"))
        assert isinstance(label["timestamp"], int)
        for key in ("screen_x", "screen_y"):
            assert label[key] == float(np.float32(label[key]))
        assert picture.shape == (480, 640, 3)
        assert picture.std() > 10


def test_files_are_pretty_json_named_by_their_time(tmp_path):
    written(tmp_path / "one", frames=1)
    (path,) = (tmp_path / "one").rglob("img_*.json")
    text = path.read_text()
    assert text.startswith('{\n  "timestamp": ')
    assert path.stem == f"img_{json.loads(text)['timestamp']}"


@pytest.mark.parametrize(("num_targets", "columns", "rows"), [(9, 3, 3), (16, 4, 4), (32, 8, 4)])
def test_targets_are_a_grid_that_fills_the_screen(num_targets, columns, rows):
    targets = draw_targets(num_targets, num_targets, random_stream("targets")).numpy()
    assert len(targets) == num_targets
    for axis, num in ((0, columns), (1, rows)):
        places = np.sort(targets[:, axis]) / LAPTOP.screen_px[axis]
        assert (np.diff(places) > 0.03).sum() == num - 1
        assert places[0] < 0.1
        assert places[-1] > 0.9


def test_sessions_are_days_apart_and_look_different(tmp_path):
    photos = written(tmp_path / "two", sessions=2, frames=3)
    times = [label["timestamp"] for label, _ in photos]
    gaps = [b - a for a, b in pairwise(times)]
    assert sum(gap > 600_000 for gap in gaps) == 1
    assert min(gaps) > 1000
    first, second = (np.mean([picture for _, picture in half], axis=0) for half in (photos[:3], photos[3:]))
    assert np.abs(first - second).mean() > 5


def test_more_photos_than_targets_means_some_twice(tmp_path):
    targets = targets_of(written(tmp_path / "twice", frames=11))
    assert len(targets) == 11
    assert np.abs(targets[9:] - targets[:2]).max() < 60


def test_a_mirrored_photo_is_the_flipped_one_with_the_same_target(photos, tmp_path):
    straight = written(tmp_path / "straight", mirrored=False)
    for (label, picture), (other_label, other) in zip(photos, straight, strict=True):
        assert np.abs(picture[:, ::-1].astype(int) - other.astype(int)).mean() < 3
        assert np.abs(picture.astype(int) - other.astype(int)).mean() > 6
        assert (label["screen_x"], label["timestamp"]) == (other_label["screen_x"], other_label["timestamp"])
        answers = [each["inference"]["Gaze"] for each in (label, other_label)]
        assert answers[0]["left_eye"]["x"] == pytest.approx(640 - answers[1]["left_eye"]["x"], abs=1e-3)
        assert answers[0]["left_eye"]["x"] < answers[0]["right_eye"]["x"]


def test_photos_as_large_as_older_clients_wrote_them(tmp_path):
    ((label, picture),) = written(tmp_path / "wide", frames=1, photo_width=1920)
    assert picture.shape == (1080, 1920, 3)
    eyes = label["inference"]["Gaze"]
    assert 30 < eyes["right_eye"]["x"] - eyes["left_eye"]["x"] < 200
    with pytest.raises(ConfigError, match=r"synthetic\.photo_width: 800 px is none of the client's; 640 or 1920"):
        SetPlan(layout="calibration", persons=1, frames=1, seed=0, photo_width=800)


@pytest.mark.slow
def test_sixteen_targets_are_sixteen_photos(tmp_path):
    assert (
        len({tuple(point) for point in targets_of(written(tmp_path / "more", targets=16, frames=16)).round(-2)}) == 16
    )
