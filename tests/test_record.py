"""What a run writes down about itself."""

import json
import shlex
import subprocess
import sys

import pytest
import torch

from gaze_exp import record


def test_the_command_is_one_that_a_shell_reads_back(monkeypatch):
    typed = ["task=quickstart", "data.root=/a folder", "logger=[csv,wandb]"]
    monkeypatch.setattr(sys, "argv", ["anything", *typed])
    assert shlex.split(record.command_line()) == ["python", "-m", "gaze_exp", *typed]


def test_the_command_of_a_resumed_run_is_the_one_that_began_it(monkeypatch):
    rewritten = ["gaze_exp", "task=quickstart", "resume=outputs/quickstart/1", 'hydra.run.dir="outputs/quickstart/1"']
    monkeypatch.setattr(sys, "argv", rewritten)
    assert record.command_line() == "python -m gaze_exp task=quickstart"


def test_a_start_from_another_runs_checkpoint_is_part_of_the_command(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["gaze_exp", "task=quickstart", "resume=outputs/old/last.ckpt"])
    assert record.command_line().endswith("task=quickstart resume=outputs/old/last.ckpt")


def test_a_description_names_code_machine_and_versions():
    described = record.describe(["task=quickstart"])
    assert described["overrides"] == ["task=quickstart"]
    assert described["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert all(described["versions"].values())
    assert described["machine"]["cores"] >= 1
    assert described["machine"]["memory_gib"] > 0
    assert described["machine"]["cpu"]


def test_the_code_is_the_commit_of_the_checkout_that_runs_and_its_changes(tmp_path, monkeypatch):
    def git(*arguments):
        name = ["-c", "user.name=me", "-c", "user.email=me@here"]
        subprocess.run(["git", *name, *arguments], cwd=tmp_path, check=True, capture_output=True)

    module = tmp_path / "gaze_exp" / "record.py"
    module.parent.mkdir()
    module.write_text("before\n")
    git("init")
    git("add", ".")
    git("commit", "-m", "one")
    monkeypatch.setattr(record, "__file__", str(module))
    clean = record.describe([])["code"]
    assert len(clean["commit"]) == 40
    assert clean["diff"] is None
    module.write_text("after\n")
    assert "+after" in record.describe([])["code"]["diff"]


def test_an_installed_package_has_no_commit(tmp_path, monkeypatch):
    monkeypatch.setattr(record, "__file__", str(tmp_path / "gaze_exp" / "record.py"))
    assert record.describe([])["code"] == {"commit": None, "diff": None}


def test_json_that_cannot_be_written_leaves_what_was_there(tmp_path):
    path = tmp_path / "metrics.json"
    record.write_json(path, {"mean": 1.0})
    with pytest.raises(ValueError, match="JSON"):
        record.write_json(path, {"mean": float("nan")})
    assert json.loads(path.read_text()) == {"mean": 1.0}
    assert list(tmp_path.iterdir()) == [path]
