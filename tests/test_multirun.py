"""`-m`: one run after the other, each with its own folder and its own result."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import TINY, program

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def sweep(crops, tmp_path_factory):
    """Two seeds of a task, typed with a plus and with -m at the end, logged to W&B offline; its job folders."""
    cwd = tmp_path_factory.mktemp("sweep")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WANDB")}
    done = subprocess.run(
        [
            sys.executable, "-m", "gaze_exp", "+task=quickstart", *TINY, f"data.root={crops}", "seed=0,1",
            "trainer.max_epochs=1", "actions=[train,evaluate]", "logger=[csv,wandb]", "logger.wandb.mode=offline", "-m",
        ],
        cwd=cwd, env=environment | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return sorted(path.parent for path in cwd.glob("outputs/sweeps/*/*/.hydra"))


def read(folder, name):
    return json.loads((folder / name).read_text())


def test_each_job_has_a_folder_with_its_own_value(sweep):
    assert [folder.name for folder in sweep] == ["0", "1"]
    assert [read(folder, "run.json")["config"]["seed"] for folder in sweep] == [0, 1]
    assert {read(folder, "run.json")["config"]["task_name"] for folder in sweep} == {"quickstart"}


def test_each_job_has_its_own_result(sweep):
    means = [read(folder, "metrics.json")["mean"] for folder in sweep]
    assert means[0] != means[1]
    assert all((folder / "report.html").is_file() for folder in sweep)
    assert all(list((folder / "checkpoints").glob("*.ckpt")) for folder in sweep)


def test_each_job_logs_to_files_of_its_own(sweep):
    assert all(len(list(folder.glob("csv/*/metrics.csv"))) == 1 for folder in sweep)
    assert all(len(list(folder.glob("wandb/offline-run-*"))) == 1 for folder in sweep)
    assert len({next(folder.glob("wandb/offline-run-*")).name for folder in sweep}) == 2


def test_a_job_of_a_sweep_is_the_same_as_the_run_alone(sweep, crops, tmp_path):
    alone = program(
        "task=quickstart",
        *TINY,
        f"data.root={crops}",
        "seed=1",
        "trainer.max_epochs=1",
        "actions=[train]",
        cwd=tmp_path,
    )
    assert alone.code == 0, alone.err
    assert alone.read("history.json") == read(sweep[1], "history.json")
