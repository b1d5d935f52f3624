"""A sweep whose jobs are two processes each: every process trains the job's own values, under every launcher."""

import json

import pytest
from sweep_samples import FREE_RATE, folder_of, sweep

pytestmark = [pytest.mark.slow, pytest.mark.machines]

TWO = ("hardware.devices=2", "hardware.strategy=ddp", "trainer.max_epochs=1", "actions=[train,evaluate]")


@pytest.mark.parametrize(
    "how",
    [
        ["optim.lr=1e-3,1e-2"],
        # Plain Hydra would end this one with code 0 and two ranks that train two different trials together.
        ["optim.lr=interval(1e-3,1e-2)", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=2", "hydra/launcher=basic"],
    ],
    ids=["grid", "optuna with the basic launcher"],
)
def test_both_processes_of_a_job_train_what_the_job_is(how, crops, tmp_path):
    done = sweep(*FREE_RATE, *TWO, f"data.root={crops}", *how, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    folder = folder_of(tmp_path)  # a rank that swept on its own would have made another
    jobs = [folder / name for name in "01"]
    rates = [json.loads((job / "run.json").read_text())["config"]["optim"]["lr"] for job in jobs]
    assert rates[0] != rates[1]
    for job in jobs:
        assert "16 samples a step = 2 x 8 x 1 accumulated" in (job / "console.log").read_text()
        assert json.loads((job / "metrics.json").read_text())["num_kept"] == 96
        assert json.loads((job / "history.json").read_text())["rows"][-1]["step"] == 6
    assert json.loads((jobs[0] / "metrics.json").read_text()) != json.loads((jobs[1] / "metrics.json").read_text())
