"""What a sweep costs beside its jobs."""

import pytest

from gaze_exp.benchmarks.sweep_overhead import measure


@pytest.mark.slow
def test_a_sweep_adds_less_than_two_seconds_of_processor_to_a_job(tmp_path):
    rows = {row["what"]: row for row in measure(tmp_path, num_jobs=3, num_rounds=1)}
    assert rows["plain command"]["processor s"] > 0.3
    assert rows["added to a job by the sweep"]["processor s"] < 2
