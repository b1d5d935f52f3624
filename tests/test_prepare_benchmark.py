"""The benchmark of preparing photos: both ways do the whole work, and a missing detector is said."""

import pytest
from face_graphs import write_ultraface

from gaze_exp.benchmarks.prepare import measure, run, write_photos
from gaze_exp.hardware import Hardware


@pytest.mark.slow
def test_both_ways_are_measured_on_the_same_photos(tmp_path):
    photos = write_photos(tmp_path, num_photos=4, width_px=640)
    assert len(list(photos.glob("img_*.jpg"))) == len(list(photos.glob("img_*.json"))) == 4
    assert len({path.read_bytes() for path in photos.glob("*.jpg")}) == 4
    rows = measure(photos, detector=write_ultraface(tmp_path / "det.onnx"), num_rounds=1)
    assert len(rows) == 2
    assert all(row["photos"] == 4 and row["photos/s"] > 0 and row["processor ms a photo"] > 0 for row in rows)


def test_without_a_detector_it_says_what_it_needs(monkeypatch, tmp_path):
    monkeypatch.setenv("GAZE_TEST_DATA", str(tmp_path))
    (row,) = run(Hardware())
    assert "version-RFB-320.onnx" in row["why not measured"]
