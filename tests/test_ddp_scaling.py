"""The benchmark of two processes beside one measures real steps of real processes."""

import pytest

from gaze_exp.benchmarks.ddp_scaling import measure


@pytest.mark.slow
def test_both_teams_do_the_same_work_and_are_compared():
    one, two = measure(global_batch=2, num_rounds=1)
    assert (one["what"], two["what"]) == ("1 process", "2 processes, gloo")
    assert one["batch"] == two["batch"] == 2
    assert one["times one process"] == "1.00 (1.00 to 1.00)"
    assert 0 < float(two["times one process"].split()[0]) < 10
    assert one["processor ms a sample"] > 10
