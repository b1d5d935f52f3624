from gaze_exp.actions.benchmark import section


def test_rows_with_other_columns_begin_a_new_table():
    described = {
        "command": "python -m gaze_exp actions=[benchmark]",
        "code": {"commit": "0123456789abcdef", "diff": None},
        "machine": {"cpu": "a CPU", "cores": 2, "gpus": []},
        "versions": {"torch": "2.15.0"},
    }
    text = section("reader", [{"what": "ours", "rows_s": 9}, {"what": "plain", "rows_s": 1}, {"files": 4}], described)
    assert "| what | rows_s |\n| ---|--- |\n| ours | 9 |\n| plain | 1 |\n" in text
    assert "| files |\n| --- |\n| 4 |\n" in text
    assert "`python -m gaze_exp actions=[benchmark]`, commit 0123456789, a CPU, 2 cores, no GPU, torch 2.15.0" in text
