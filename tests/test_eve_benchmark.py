"""The benchmark of EVE's conversion measures what it says."""

import numpy as np
import pytest
from eve_sample import write_release

from gaze_exp.benchmarks import eve_conversion
from gaze_exp.data.sources.eve_release import find_recordings


@pytest.mark.slow
def test_conversion_and_reading_are_measured_beside_their_rivals(tmp_path, monkeypatch):
    for name, value in {"_NUM_FRAMES": 24, "_NUM_ROUNDS": 1, "_NUM_SEEKS": 3}.items():
        monkeypatch.setattr(eve_conversion, name, value)
    source = write_release(tmp_path / "eve", ("train01",), steps=("step008_image_x",))
    (recording,) = find_recordings(source, camera="basler").recordings
    rows = eve_conversion.measure_conversion(source, recording, tmp_path)
    assert max(row["of decoding alone"] for row in rows if row["what"].startswith("decode")) == 1.0
    assert sum(row["what"].startswith("ours") for row in rows) == 2
    assert all(row["frames/s a core"] > 0 for row in rows)
    parts = {row["part of a kept frame"]: row["us"] for row in eve_conversion.measure_parts(recording, tmp_path)}
    assert parts.keys() == {"decoded", "colours, swscale", "three crops, OpenCV", "written once", "SHA-256"}
    assert all(micros > 0 for micros in parts.values())
    seeking, ours = eve_conversion.measure_reading(source, recording, tmp_path)
    assert ours["samples/s"] > seeking["samples/s"]
    assert [np.shape(picture)[0] for picture in eve_conversion._seek(recording, 6)] == [224, 112, 112]
