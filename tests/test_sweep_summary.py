"""What is told at the end of a sweep: the table, the best, the picture."""

import csv
import io
import json

import numpy as np
import pytest
from PIL import Image

from gaze_exp.errors import ConfigError, DataError
from gaze_exp.sweep.job import Job, write_book
from gaze_exp.sweep.objective import choose
from gaze_exp.sweep.picture import Axis, draw
from gaze_exp.sweep.summary import summarise


@pytest.fixture
def ended(tmp_path, monkeypatch):
    """Four jobs of one attempt, one of which failed, and one of an attempt before."""
    for number, (rate, error) in enumerate([("1e-3", 4.0), ("1e-2", 3.0), ("1e-1", None), ("1e-4", 5.0), ("9", 1.0)]):
        monkeypatch.setenv("GAZE_EXP_SWEEP", "now" if number < 4 else "before")
        overrides = ("task=quickstart", f"optim.lr={rate}", "run_name=a b")
        job = Job(number, tmp_path / str(number), overrides, key=str(number), flags=("--config-dir", "my conf"))
        why = {"why": "killed by SIGKILL", "code": -9} if error is None else {}
        write_book(job, status="failed" if error is None else "done", objective=error, seconds=60.0, **why)
        content = {"key": str(number), "objective": error, "objectives": {"train": error, "evaluate": 6.0}}
        (tmp_path / str(number) / "result.json").write_text(json.dumps(content))
    return tmp_path


def rows_of(folder):
    with (folder / "sweep.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(("maximise", "order"), [(False, ["1", "0", "3", "2"]), (True, ["3", "0", "1", "2"])])
def test_the_best_comes_first_and_what_failed_last(maximise, order, ended):
    assert summarise(ended, attempt="now", command="python -m gaze_exp -m", maximise=maximise) == 1
    rows = rows_of(ended)
    assert [row["job"] for row in rows] == order
    assert [row["place"] for row in rows] == ["1", "2", "3", ""]
    assert rows[-1]["status"] == "failed: killed by SIGKILL"


def test_the_table_shows_what_was_varied_and_what_each_action_measured(ended):
    summarise(ended, attempt="now", command="", maximise=False)
    assert list(rows_of(ended)[0]) == [
        "place",
        "job",
        "objective",
        "optim.lr",
        "train",
        "evaluate",
        "minutes",
        "status",
    ]


def test_the_command_of_the_best_can_be_typed_as_it_stands(ended):
    summarise(ended, attempt="now", command="", maximise=False)
    page = (ended / "sweep.md").read_text()
    assert "python -m gaze_exp --config-dir 'my conf' task=quickstart optim.lr=1e-2 'run_name=a b'\n```" in page


def test_nothing_is_written_where_no_job_began(tmp_path):
    assert summarise(tmp_path, attempt="now", command="", maximise=False) == 0
    assert not list(tmp_path.iterdir())


def test_an_axis_of_numbers_has_them_by_size_and_one_of_words_in_their_order():
    assert Axis("optim.lr", ["1e-2", "1e-4", "1e-3"]).heights() == pytest.approx([1.0, 0.0, 0.5])  # logarithmic
    assert Axis("seed", ["0", "2", "1"]).heights() == pytest.approx([0.0, 1.0, 0.5])
    assert Axis("model", ["b", "a", "b"]).heights() == pytest.approx([0.0, 1.0, 0.0])
    assert Axis("seed", ["3", "3"]).heights() == pytest.approx([0.5, 0.5])


@pytest.mark.parametrize("keys", [["optim.lr"], ["model"], ["model", "optim.lr", "seed"]])
def test_a_picture_has_ink_for_one_key_and_for_several(keys):
    values = {"optim.lr": ["1e-4", "1e-3", "1e-2"], "model": ["a", "b", "a"], "seed": ["0", "1", "2"]}
    jobs = [{key: values[key][number] for key in keys} for number in range(3)]
    pixels = np.asarray(Image.open(io.BytesIO(draw(jobs, [3.0, 2.0, 4.0], maximise=False))).convert("L"))
    assert (pixels < 128).mean() > 0.002
    assert (pixels > 250).mean() > 0.5


def test_a_job_is_ranked_by_its_validation_error_and_not_by_the_test_that_it_would_spoil(tmp_path):
    assert choose({"train": 3.0, "evaluate": 2.0}, wanted="auto", folder=tmp_path) == 3.0
    assert choose({"finetune": 2.5}, wanted="auto", folder=tmp_path) == 2.5
    assert choose({}, wanted="auto", folder=tmp_path) is None
    assert choose({"train": 3.0, "evaluate": 2.0}, wanted="evaluate", folder=tmp_path) == 2.0


def test_a_job_can_be_ranked_by_any_number_of_its_metrics(tmp_path):
    (tmp_path / "metrics.json").write_text('{"point_of_gaze": {"cm": {"mean": 4.5}}, "split": "test"}')
    assert choose({}, wanted="point_of_gaze.cm.mean", folder=tmp_path) == 4.5
    with pytest.raises(ConfigError, match=r"sweep.objective: 'point_of_gaze.inch' is no action"):
        choose({"train": 1.0}, wanted="point_of_gaze.inch", folder=tmp_path)
    with pytest.raises(DataError, match=r"sweep.objective: split is 'test', no number"):
        choose({}, wanted="split", folder=tmp_path)
