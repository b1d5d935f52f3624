from gaze_exp.benchmarks.crop_reader import measure_memory, measure_speed, write_random


def test_the_benchmark_reads_the_same_rows_with_both(tmp_path):
    path = write_random(tmp_path / "a.h5", num_rows=12)
    ours, plain = measure_speed(path, batch_size=4, num_workers=0, num_rounds=1)
    assert ours["samples/s"] > 0
    assert plain["times plain"] == 1
    few, many = measure_memory([path] * 3, batch_size=2, num_workers=1)
    assert (few["files"], many["files"]) == (1, 3)
    assert many["MB"] > 0
