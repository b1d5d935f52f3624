"""Other launchers and sweepers, each with real jobs: one fails, the others end well, a search goes on."""

import csv

import pytest
import yaml
from conftest import write_crops
from sweep_samples import FREE_RATE, REPACK, folder_of, sweep

pytestmark = [pytest.mark.slow, pytest.mark.machines]


def table(cwd):
    with (folder_of(cwd) / "sweep.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("launcher", ["joblib", "submitit_local", "basic"])
def test_a_launcher_of_hydras_runs_each_job_in_a_process_of_its_own(launcher, tmp_path):
    write_crops(tmp_path / "there")
    done = sweep(*REPACK, "data.root=missing,there", f"hydra/launcher={launcher}", cwd=tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "job 0 failed: data.root: missing holds no" in done.stdout
    assert [(row["data.root"], row["status"].partition(":")[0]) for row in table(tmp_path)] == [
        ("missing", "failed"),
        ("there", "done"),
    ]
    job = folder_of(tmp_path) / "1"
    assert yaml.safe_load((job / ".hydra" / "hydra.yaml").read_text())["hydra"]["mode"] == "RUN"
    assert (job / "crops" / "train01").is_dir()


@pytest.fixture(scope="module")
def searched(crops, tmp_path_factory):
    """Optuna over a rate and over data of which one are not there; then the same command again, with a trial more."""
    cwd = tmp_path_factory.mktemp("searched")
    command = [
        *FREE_RATE, "trainer.max_epochs=1", "actions=[train]", "optim.lr=tag(log,interval(1e-4,1e-2))",
        f"data.root=choice({crops},{cwd}/missing)", "hydra/sweeper=optuna", "hydra/sweeper/sampler=random",
        "hydra.sweep.dir=found",
    ]  # fmt: skip
    first = sweep(*command, "hydra.sweeper.n_trials=3", cwd=cwd)
    trials = [row["optim.lr"] for row in rows_of(cwd / "found")]
    second = sweep(*command, "hydra.sweeper.n_trials=4", cwd=cwd)
    return cwd / "found", first, trials, second


def rows_of(folder):
    with (folder / "sweep.csv").open() as file:
        return list(csv.DictReader(file))


def test_a_search_outlives_a_trial_that_fails(searched):
    folder, first, trials, _ = searched
    assert first.returncode == 1, first.stdout + first.stderr
    assert len(trials) == 3
    assert {row["status"].partition(":")[0] for row in rows_of(folder)} == {"done", "failed"}


def test_a_search_minimises_the_validation_error_of_its_jobs(searched):
    folder, *_ = searched
    done = [row for row in rows_of(folder) if row["status"] == "done"]
    errors = [float(row["objective"]) for row in done]
    assert errors == sorted(errors)
    found = yaml.safe_load((folder / "optimization_results.yaml").read_text())
    assert found["best_value"] == pytest.approx(errors[0], abs=1e-4)
    assert str(found["best_params"]["optim.lr"]) == done[0]["optim.lr"]
    log = (folder / done[0]["job"] / "console.log").read_text()
    assert f"best val angular error {errors[0]:.2f} deg" in log


def test_a_search_that_goes_on_draws_the_same_and_finds_it_done(searched):
    folder, first, trials, second = searched
    again = [row["optim.lr"] for row in rows_of(folder)]
    assert set(trials) < set(again)
    assert len(again) == 4
    assert second.stdout.count("done before") == first.stdout.count(": objective ")
