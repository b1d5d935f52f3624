"""The latency benchmark measures three different files, and the plain one against itself is one."""

from gaze_exp.benchmarks.onnx_client import PLAIN, measure


def test_each_file_is_timed_on_one_and_two_threads():
    rows = measure(arch="resnet18", size_px=64, num_rounds=3)
    assert [row["threads"] for row in rows] == [1, 1, 1, 2, 2, 2]
    assert {row["of plain"] for row in rows if row["what"] == PLAIN} == {1.0}
    assert all(0 < row["min_ms"] <= row["median_ms"] for row in rows)
    megabytes = {row["what"]: row["MB"] for row in rows}
    assert megabytes["custom_gaze.int8.onnx"] < 0.3 * megabytes["custom_gaze.onnx, float32"]
