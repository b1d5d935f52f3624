"""What the board says of finished runs, and that it trains only what is not finished."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import program

from gaze_exp.actions.leaderboard import digest, plan
from gaze_exp.config import compose
from gaze_exp.errors import ConfigError, DataError
from gaze_exp.leaderboard import Row, Speed, difference, is_finished, page, read_row, verdict

PERSONS = ("p1", "p2", "p3", "p4")


def row(name, errors_deg, *, persons_deg=None, typed=("model=some",)):
    mean = sum(errors_deg) / len(errors_deg)
    return Row(
        name=name, typed=typed, num_parameters=1234567, onnx_mb=4.0, errors_deg=tuple(errors_deg),
        per_person_deg=dict(zip(PERSONS, persons_deg or [mean] * 4, strict=True)), num_samples=5000,
    )  # fmt: skip


def speeds(*rows):
    return {each.name: Speed(training_samples_per_s=100.0, latency_ms=1.5) for each in rows}


def finished_run(folder, *, persons_deg):
    folder.mkdir(parents=True)
    mean = sum(persons_deg.values()) / len(persons_deg)
    run = {"num_parameters": 7, "config": {"trainer": {"max_epochs": 2}}, "data": {"splits": {"train": {"kept": 50}}}}
    (folder / "run.json").write_text(json.dumps(run))
    per_subject = {who: {"mean": error_deg} for who, error_deg in persons_deg.items()}
    (folder / "metrics.json").write_text(json.dumps({"mean": mean, "per_subject": per_subject}))
    (folder / "model.json").write_text("{}")
    (folder / "model.onnx").write_bytes(bytes(2_500_000))
    return folder


# The numbers.


def test_the_interval_over_three_seeds_is_students():
    three = row("a", [2.0, 2.1, 2.2])
    assert three.mean_deg == pytest.approx(2.1)
    assert three.half_width_deg == pytest.approx(4.303 * 0.1 / 3**0.5)
    assert row("b", [2.0]).half_width_deg is None


def test_the_difference_to_ours_is_taken_person_by_person():
    ours = row("ours", [2.0], persons_deg=[1.0, 2.0, 3.0, 4.0])
    rival = row("rival", [2.5], persons_deg=[1.5, 2.5, 3.5, 4.5])
    assert difference(rival, ours) == pytest.approx((0.5, 0.5, 0.5))
    mixed = row("mixed", [2.5], persons_deg=[0.0, 3.0, 2.0, 7.0])
    mean, low, high = difference(mixed, ours)
    assert mean == pytest.approx(0.5)
    assert low < 0 < high


def test_models_that_were_measured_on_different_persons_are_not_compared():
    other = Row("other", (), 1, 1.0, (2.0,), {"p9": 2.0}, 1)
    with pytest.raises(DataError, match="other and ours were measured on different persons"):
        difference(other, row("ours", [2.0]))


def test_a_row_is_read_from_the_runs_of_its_seeds(tmp_path):
    folders = [
        finished_run(tmp_path / str(seed), persons_deg={"p1": 1.0 + seed, "p2": 3.0 + seed}) for seed in range(2)
    ]
    read = read_row("a", folders, typed=["model=a"])
    assert read.errors_deg == (2.0, 3.0)
    assert read.per_person_deg == {"p1": 1.5, "p2": 3.5}
    assert read.num_samples == 100
    assert read.onnx_mb == 2.5
    finished_run(tmp_path / "else", persons_deg={"p7": 1.0})
    with pytest.raises(DataError, match="different persons"):
        read_row("a", [*folders, tmp_path / "else"], typed=[])


def test_a_run_without_one_of_its_results_is_not_finished(tmp_path):
    folder = finished_run(tmp_path / "run", persons_deg={"p1": 1.0})
    assert is_finished(folder)
    (folder / "model.json").unlink()
    assert not is_finished(folder)


# The page.


def test_the_best_stands_first_and_ours_is_marked():
    rows = [row("poor", [4.0]), row("ours", [2.0]), row("good", [3.0])]
    text = page(rows, speeds=speeds(*rows), ours=["ours", "ours too"], told=["told"], failed={})
    lines = [line for line in text.splitlines() if line.startswith("| ") and "model" not in line]
    assert [line.split(" | ")[1] for line in lines] == ["**ours (ours)**", "good", "poor"]
    assert "+1.00 (+1.00 to +1.00)" in lines[1]
    assert "1,234,567" in lines[0]


def test_the_verdict_says_of_each_of_ours_whether_it_leads():
    ours = row("ours", [2.0], persons_deg=[1.0, 2.0, 3.0, 2.0])
    better = row("better", [1.5], persons_deg=[0.5, 1.5, 2.5, 1.5])
    close = row("close", [2.1], persons_deg=[0.0, 3.0, 2.4, 3.0])
    assert verdict([better, ours], ours=["ours"]).startswith("**ours does not lead.** Against better")
    assert "-0.50 degrees" in verdict([better, ours], ours=["ours"])
    assert verdict([ours, close], ours=["ours"]).startswith("ours leads, within the doubt about persons")
    assert verdict([ours, row("far", [9.0])], ours=["ours"]).startswith("ours leads, beyond doubt")
    assert verdict([close], ours=["ours"]) == "Ours was not run."
    own = row("own", [1.0], persons_deg=[0.0, 1.0, 2.0, 1.0])
    leads, follows = verdict([own, better, ours], ours=["ours", "own"]).splitlines()
    assert leads.startswith("own leads, beyond doubt. Against better")
    assert follows.startswith("**ours does not lead.** Against better")


def test_a_model_that_failed_is_missing_by_name():
    one = row("ours", [2.0])
    text = page([one], speeds=speeds(one), ours=["ours", "ours too"], told=[], failed={"broken": "model.width: wrong"})
    assert "**broken** is missing: model.width: wrong" in text


# What is run.


def board(*overrides):
    return compose(["actions=[leaderboard]", "run_dir=here", *overrides]).leaderboard


def resolved(each):
    return compose([*each.overrides, "run_dir=here"])


def test_every_model_gets_the_same_budget_and_every_seed():
    some = "leaderboard.names=[gazetr_tiny,resnet18]"
    runs = plan(board(some, "leaderboard.seeds=[3,4]", "leaderboard.epochs=2"), also=["hardware=cpu"])
    assert [(each.name, resolved(each).seed) for each in runs] == [
        ("gazetr_tiny", 3), ("resnet18", 3), ("gazetr_tiny", 4), ("resnet18", 4),
    ]  # fmt: skip
    assert len({each.folder for each in runs}) == 4
    for each in runs[:2]:
        cfg = resolved(each)
        assert (cfg.trainer.max_epochs, cfg.global_batch, cfg.data.num_test_persons) == (2, 64, 16)
        assert cfg.hardware.name == "cpu"
        assert cfg.model.pretrained is False


def test_every_shipped_row_composes():
    shipped = board()
    runs = plan(board(f"leaderboard.names=[{','.join(shipped.rows)}]", "leaderboard.seeds=[0]"), also=[])
    assert len(runs) == len(shipped.rows) >= 12
    assert {*shipped.ours} <= {*shipped.names}


def test_the_full_board_is_at_full_size():
    full = compose(["task=leaderboard_full", "leaderboard.names=[eyenet]", "run_dir=here"]).leaderboard
    assert set(full.rows) >= {"gazetr_lite", "temporal_gru", "eyenet", "eyenet_gru", "gazetr", "resnet18", "resnet50"}
    cfg = resolved(plan(full, also=[])[0])
    assert (cfg.data.face_size, cfg.data.eye_size, cfg.model.width) == (224, 112, 64)
    assert cfg.trainer.max_epochs == 20


def test_one_more_line_is_one_more_model():
    line = '+leaderboard.rows.mine=["model=gazetr_tiny","optim.lr=1e-3"]'
    assert resolved(plan(board("leaderboard.names=[mine]", line), also=[])[0]).optim.lr == 1e-3


def test_a_run_is_known_by_what_its_command_means():
    same = digest(("task=quickstart", "model=gazetr_tiny"))
    assert digest(("model=gazetr_tiny", "task=quickstart", "hardware=cpu", "logger=tensorboard")) == same
    assert digest(("task=quickstart",)) == same  # its own model
    assert digest(("task=quickstart", "optim.lr=1e-3")) != same


@pytest.mark.parametrize(
    ("override", "match"),
    [("leaderboard.names=[gazetr_tini]", "'gazetr_tini' has no row"), ("leaderboard.seeds=[]", "empty")],
)
def test_a_board_that_cannot_be_is_refused(override, match):
    with pytest.raises(ConfigError, match=match):
        plan(board(override), also=[])


# The whole of it.


def typed(folder, crops, *, epochs=1):
    """What is typed for a board of one seed on a few crops."""
    small = ["task=quickstart", "data=eve_crops", f"data.root={crops}", "global_batch=16", "hardware=cpu", "logger=csv"]
    common = ",".join(f'"{each}"' for each in small)
    return [
        "actions=[leaderboard]", "hardware=cpu", f"leaderboard.epochs={epochs}", "leaderboard.seeds=[0]",
        f"leaderboard.folder={folder}/runs", f"leaderboard.page={folder}/page.md", f"leaderboard.common=[{common}]",
    ]  # fmt: skip


@pytest.mark.slow
def test_the_command_trains_ranks_and_uses_finished_runs_again(tmp_path, crops):
    broken = '+leaderboard.rows.broken=["model=gazetr_tiny","optim.lr=-1"]'
    command = [*typed(tmp_path, crops), broken]
    early = program(*command, "leaderboard.names=[gazetr_tiny]", "leaderboard.train=false", cwd=tmp_path)
    assert early.code == 2
    assert "nothing is finished" in early.err
    done = program(*command, "leaderboard.names=[gazetr_tiny,broken,eyenet_small]", cwd=tmp_path)
    assert done.code == 2
    assert "broken: optim.lr: -1" in done.err
    text = (tmp_path / "page.md").read_text()
    assert "gazetr_tiny (ours)" in text
    assert "| eyenet_small |" in text
    assert "**broken** is missing" in text
    stamps = {path: path.stat().st_mtime_ns for path in Path(tmp_path, "runs").glob("*/metrics.json")}
    assert len(stamps) == 2
    again = program(*command, "leaderboard.names=[gazetr_tiny,eyenet_small]", cwd=tmp_path)
    assert again.code == 0, again.err
    assert "2 runs, 2 of them finished before" in again.out
    more = [*command, "leaderboard.names=[gazetr_tiny]", "leaderboard.seeds=[0,1]", "leaderboard.train=false"]
    assert program(*more, cwd=tmp_path).code == 0
    assert "2 seed(s) (gazetr_tiny 1 so far)" in (tmp_path / "page.md").read_text()
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps


@pytest.mark.slow
def test_the_run_of_a_killed_board_ends_with_it(tmp_path, crops):
    command = [*typed(tmp_path, crops, epochs=1000), "leaderboard.names=[gazetr_tiny]"]
    board = subprocess.Popen(
        [sys.executable, "-m", "gaze_exp", *command], cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    until(lambda: "epoch" in "".join(path.read_text() for path in tmp_path.glob("runs/*/console.log")), seconds=180)
    (book,) = tmp_path.glob("runs/*/job.json")
    run = json.loads(book.read_text())["process"]
    assert Path(f"/proc/{run}").exists()
    board.kill()
    board.wait()
    until(lambda: not Path(f"/proc/{run}").exists(), seconds=30)


def until(holds, *, seconds):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it has not come to that"
        time.sleep(0.1)
