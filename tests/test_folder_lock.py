"""Two runs into one folder: the second is refused, and nothing of the first is touched."""

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import TINY, program

from gaze_exp.errors import ConfigError
from gaze_exp.processes import folder_lock

ROOT = Path(__file__).parents[1]

HOLD = """
import sys, time
from gaze_exp.processes.folder_lock import hold
with hold(sys.argv[1]):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder():
    """Starts a process that holds a folder; ends it."""
    started = []

    def hold(folder):
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(folder)], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield hold
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_second_run_is_refused_and_changes_nothing(holder, tmp_path):
    process = holder(tmp_path / "mine")
    before = {path: path.read_bytes() for path in (tmp_path / "mine").rglob("*")}
    refused = program(*TINY, "actions=[train]", f"data.root={tmp_path}", "hydra.run.dir=mine", cwd=tmp_path)
    assert refused.code == 2
    assert f"mine is in use by process {process.pid}" in refused.err
    assert "hydra.run.dir=ANOTHER_FOLDER" in refused.err
    assert {path: path.read_bytes() for path in (tmp_path / "mine").rglob("*")} == before


def test_a_killed_run_holds_its_folder_no_longer(holder, tmp_path):
    process = holder(tmp_path)
    with pytest.raises(ConfigError, match="in use"), folder_lock.hold(tmp_path):
        pass
    process.kill()
    process.wait()
    assert folder_lock.holder(tmp_path)["pid"] == str(process.pid)
    with folder_lock.hold(tmp_path):
        assert folder_lock.holder(tmp_path)["pid"] != str(process.pid)


def test_one_run_may_ask_twice(tmp_path):
    with folder_lock.hold(tmp_path):
        with folder_lock.hold(tmp_path):
            pass
        assert folder_lock.holder(tmp_path)


@pytest.mark.slow
def test_a_folder_that_holds_a_run_takes_no_other(trained, crops):
    before = (trained.folder / "history.json").read_bytes()
    again = program(*TINY, f"data.root={crops}", "actions=[train]", f"hydra.run.dir={trained.folder}", cwd=trained.cwd)
    assert again.code == 2
    assert f"{trained.folder} holds a run already; resume={trained.folder}" in again.err
    assert (trained.folder / "history.json").read_bytes() == before
