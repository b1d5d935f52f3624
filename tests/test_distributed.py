"""Two real processes train together; one of them measures what they trained."""

import json

import pytest
from conftest import TINY
from test_command_line import gaze_exp


@pytest.mark.slow
def test_two_processes_train_one_model_and_one_of_them_evaluates_it(crops, tmp_path):
    done = gaze_exp(
        *TINY, f"data.root={crops}", "hardware.devices=2", "hardware.strategy=ddp", "trainer.max_epochs=2",
        "actions=[train,evaluate]", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    (folder,) = (tmp_path / "outputs" / "run").iterdir()
    assert "16 samples a step = 2 x 8 x 1 accumulated" in done.stdout
    assert done.stdout.count("evaluate on test: 2 persons") == 1
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["num_kept"] == 96
    rows = json.loads((folder / "history.json").read_text())["rows"]
    assert rows[-1]["step"] == 12
