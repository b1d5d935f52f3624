"""A sweep of real jobs: each is the command that a person would type, in a process of its own."""

import csv
import json
import signal
import subprocess
import time
from pathlib import Path

import pytest
import yaml
from conftest import write_crops
from sweep_samples import REPACK, TRAIN, folder_of, sweep

pytestmark = pytest.mark.slow


def read(path):
    return json.loads(Path(path).read_text())


@pytest.fixture(scope="module")
def one_fails(tmp_path_factory):
    """Two jobs beside each other in a folder with blanks and commas; the data of one are not there."""
    cwd = tmp_path_factory.mktemp("one fails, one not")
    write_crops(cwd / "there")
    done = sweep(*REPACK, "data.root=there,missing", "hydra.launcher.num_slots=2", cwd=cwd)
    return cwd, done


def test_a_job_that_fails_costs_itself_and_is_named_with_its_log(one_fails):
    cwd, done = one_fails
    assert done.returncode == 1, done.stderr
    folder = folder_of(cwd)
    assert read(folder / "0" / "job.json")["status"] == "done"
    assert (folder / "0" / "crops" / "train01").is_dir()
    assert read(folder / "1" / "job.json")["status"] == "failed"
    log = (folder / "1" / "console.log").relative_to(cwd)
    assert "job 1 failed: data.root: missing holds no" in done.stdout
    assert f"(see {log})" in done.stdout
    assert "data.root: missing holds no" in (cwd / log).read_text()


def test_a_job_is_a_plain_run_with_a_folder_of_its_own(one_fails):
    job = folder_of(one_fails[0]) / "0"
    hydra = yaml.safe_load((job / ".hydra" / "hydra.yaml").read_text())["hydra"]
    assert hydra["mode"] == "RUN"
    assert hydra["run"]["dir"] == hydra["runtime"]["output_dir"] == str(job)
    assert "data.root=there" in yaml.safe_load((job / ".hydra" / "overrides.yaml").read_text())


def test_the_table_lists_every_job(one_fails):
    with (folder_of(one_fails[0]) / "sweep.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["job"], row["data.root"], row["status"].partition(":")[0]) for row in rows] == [
        ("0", "there", "done"),
        ("1", "missing", "failed"),
    ]


def test_the_same_command_tries_what_failed_again_and_nothing_else(one_fails):
    cwd, _ = one_fails
    folder = folder_of(cwd)
    before = (folder / "0" / "result.json").stat().st_mtime_ns
    write_crops(cwd / "missing")
    done = sweep(*REPACK, "data.root=there,missing", cwd=cwd)  # with one slot: that is not what a sweep is
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"goes on in {folder.relative_to(cwd)}" in done.stdout
    assert "0 data.root=there: done before" in done.stdout
    assert (folder / "0" / "result.json").stat().st_mtime_ns == before
    assert read(folder / "1" / "job.json")["status"] == "done"
    assert read(folder / "sweep.json")["finished"]


@pytest.fixture(scope="module")
def interrupted(crops, tmp_path_factory):
    """Two seeds beside each other: Ctrl-C in the second, then kill -9 of the sweep in it, then left alone.

    Returns the folder, and what each of the three was.
    """
    cwd = tmp_path_factory.mktemp("interrupted")
    command = (
        *TRAIN, f"data.root={crops}", "augment._target_=sweep_samples.Signals", "+augment.in_job=${seed}", "seed=0,1",
        "hydra.launcher.num_slots=2",
    )  # fmt: skip
    attempts = []
    for what in (f"{int(signal.SIGINT)}@8", f"{int(signal.SIGKILL)}@3", "0@0"):
        done = sweep(*command, cwd=cwd, SWEEP_SIGNAL=what)
        attempts.append((done, wait_for_the_jobs(cwd), books(cwd)))
    return cwd, attempts


def books(cwd):
    return [read(folder_of(cwd) / name / "job.json") for name in "01"]


def wait_for_the_jobs(cwd, *, patience_s=60):
    """Seconds until no process of a job is left."""
    begin = time.monotonic()
    while time.monotonic() - begin < patience_s:
        listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
        if f'hydra.run.dir="{folder_of(cwd)}' not in listed:
            break
        time.sleep(0.1)
    return time.monotonic() - begin


def test_ctrl_c_ends_the_jobs_in_order(interrupted):
    done, seconds, stopped = interrupted[1][0]
    assert done.returncode == 130, done.stderr
    assert "sweep: stopped; " in done.stdout
    assert stopped[1]["status"] == "stopped"
    assert seconds < 1


def test_jobs_end_when_their_sweep_is_killed(interrupted):
    done, seconds, left = interrupted[1][1]
    assert done.returncode == -signal.SIGKILL
    assert left[1]["status"] == "running"  # nobody lived to write more
    assert seconds < 30


def test_the_same_command_goes_on_where_each_job_was(interrupted):
    cwd, attempts = interrupted
    done, _, ended = attempts[2]
    assert done.returncode == 0, done.stdout + done.stderr
    assert [book["status"] for book in ended] == ["done", "done"]
    log = (folder_of(cwd) / "1" / "console.log").read_text()
    assert log.count("train: going on from ") == 2
    assert len(list(Path(cwd).glob("outputs/sweeps/*"))) == 1


def test_the_best_is_named_with_the_command_that_repeats_it(interrupted):
    cwd, attempts = interrupted
    objectives = [book["objective"] for book in attempts[2][2]]
    page = (folder_of(cwd) / "sweep.md").read_text()
    best = objectives.index(min(objectives))
    assert f"The best is `{(folder_of(cwd) / str(best)).relative_to(cwd)}` with {min(objectives):.4f}" in page
    assert f"seed={best}" in page.partition("```")[2].partition("```")[0].split()
    assert (folder_of(cwd) / "sweep.png").read_bytes().startswith(b"\x89PNG")
