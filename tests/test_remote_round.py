"""A run on another machine, over a real OpenSSH server on loopback: sent, followed, cut, stopped, fetched."""

import hashlib
import json
import os
import re
import signal
import sys
import threading
import time
from pathlib import Path

import pytest
from conftest import program
from ssh_server import HOST, send_stand_in

ODD = 'data set\'s "best" $HOME `of` 2;'


@pytest.fixture
def far(server, tmp_path, monkeypatch):
    """A folder there, data and a place to work here, and a program that is quick to start."""
    send_stand_in(monkeypatch)
    data = tmp_path / "here" / ODD
    data.mkdir(parents=True)
    for n in range(5):
        (data / f"photo {n}'s.jpg").write_bytes(bytes([n]) * 50_000)
    return Far(server, tmp_path / "the folder's there", tmp_path / "here")


class Far:
    """Command lines for the machine there."""

    def __init__(self, server, there, here):
        self.server, self.there, self.here = server, there, here
        self.base = [*server.overrides(there.as_posix().replace("'", "\\'")), f"remote.python={sys.executable}"]
        self.given = f"remote.environment={sys.executable}"
        quoted = ODD.replace("\\", "\\\\").replace("'", "\\'")
        self.task = ["task=l2cs_finetune", "hardware=cpu", f"data.root='{quoted}'", self.given]

    def run(self, *more):
        return program(*self.base, *self.task, *more, cwd=self.here)

    def ask(self, *more):
        return program(*self.base, *more, cwd=self.here)

    @property
    def folder(self):
        """The newest run folder here."""
        return max((p.parent for p in self.here.glob("outputs/*/*/remote.json")), key=lambda p: p.name)

    def note(self):
        return json.loads((self.folder / "remote.json").read_text())

    def running(self):
        """Processes that belong to a job there."""
        marked = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                is_ours = (process / "cwd").readlink().is_relative_to(self.there)
                if is_ours and b"GAZE_EXP_REMOTE_JOB=" in (process / "environ").read_bytes():
                    marked.append(process.name)
            except OSError:
                continue
        return marked

    def when_log_has(self, text, then):
        """Do something in another thread once the log here holds a text."""

        def wait():
            until = time.monotonic() + 240
            while time.monotonic() < until:
                logs = self.here.glob("outputs/*/*/remote.log")
                if any(text in log.read_text() for log in logs):
                    then()
                    return
                time.sleep(0.02)

        thread = threading.Thread(target=wait)
        thread.start()
        return thread


def hashes(folder):
    return {
        p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in folder.rglob("*") if p.is_file()
    }  # fmt: skip


def test_a_round_brings_data_there_and_every_result_back(far):
    done = far.run("frames=4")
    assert done.code == 0, done.err
    there = far.there / "work" / far.note()["run_dir"]
    assert there.is_dir()
    assert hashes(there) == {k: v for k, v in hashes(far.folder).items() if k not in {"remote.json", "remote.log"}}
    seen = json.loads((far.folder / "seen.json").read_text())
    assert seen["files"] == hashes(far.here / ODD)
    assert "line 3 of the run" in done.out
    assert (far.folder / "remote.log").read_text().count("of the run") == 4
    assert not [a for a in seen["arguments"] if a.startswith(("remote", "dry_run"))]
    assert "hardware=cpu" in seen["arguments"]
    assert not list(far.folder.rglob("*.partial"))


def test_a_second_start_sends_nothing_and_costs_less_than_ten_seconds(far):
    assert "sends 7 of 7 files" in far.run("frames=1").out
    begin = sum(os.times()[:4])  # of the processor, and of ssh's too: the clock depends on what else runs here
    again = far.run("frames=1")
    assert sum(os.times()[:4]) - begin < 10
    assert again.code == 0
    assert "nothing is to be sent" in again.out
    assert "remote: sends" not in again.out


def test_only_what_changed_is_sent(far):
    far.run("frames=1")
    (far.here / ODD / "photo 6.jpg").write_bytes(b"new" * 1000)
    (far.here / ODD / "photo 0's.jpg").unlink()
    again = far.run("frames=1")
    assert "sends 1 of 7 files" in again.out
    seen = json.loads((far.folder / "seen.json").read_text())
    assert seen["files"] == hashes(far.here / ODD)


def test_the_exit_status_there_is_the_one_here_and_what_was_written_comes_back(far):
    done = far.run("seed=3")
    assert done.code == 3
    assert (far.folder / "custom_gaze.onnx").is_file()
    assert far.note()["rc"] == 3


def test_a_line_cut_while_it_runs_is_taken_up_again_at_the_same_byte(far):
    def cut_and_go_on():
        assert far.server.cut() >= 1
        (far.there / "go").touch()

    cut = far.when_log_has("line 5 ", cut_and_go_on)
    done = far.run("frames=60", "force=true")
    cut.join()
    assert done.code == 0, done.err
    assert "is lost" in done.out
    lines = (far.folder / "remote.log").read_text().splitlines()
    assert lines == [f"line {n} of the run" for n in range(60)]
    assert (far.folder / "custom_gaze.onnx").is_file()


def test_ctrl_c_here_leaves_it_running_there_and_attach_comes_back(far):
    stop = far.when_log_has("line 5 ", lambda: os.kill(os.getpid(), signal.SIGINT))
    left = far.run("frames=80", "force=true")
    stop.join()
    assert left.code == 130
    assert "remote.attach=true" in left.out
    assert len(far.running()) == 1
    assert re.search(r"l2cs_finetune .* running .*line 5 of the run", far.ask("remote.status=true").out)
    (far.there / "go").touch()
    back = far.ask("remote.attach=true")
    assert back.code == 0, back.err
    assert (far.folder / "remote.log").read_text().splitlines() == [f"line {n} of the run" for n in range(80)]
    assert (far.folder / "custom_gaze.onnx").is_file()
    assert far.running() == []
    assert "ended (0)" in far.ask("remote.status=true").out


@pytest.mark.parametrize(("persons", "kept"), [(1, True), (13, False)], ids=["listens", "is deaf"])
def test_cancel_leaves_nothing_running_there_and_loses_nothing(far, monkeypatch, persons, kept):
    monkeypatch.setattr("gaze_exp.remote.watch.GRACE_S", 2.0)
    stop = far.when_log_has("line 5 ", lambda: os.kill(os.getpid(), signal.SIGINT))
    far.run("frames=80", "force=true", f"persons={persons}")
    stop.join()
    assert len(far.running()) == (1 if kept else 2)
    job = far.note()["job"]
    done = far.ask("remote.cancel=true", f"remote.job={job}")
    assert done.code == 0, done.err
    assert f"{job}: cancelled; nothing of it runs there" in done.out
    assert far.running() == []
    assert "cancelled" in far.ask("remote.status=true", f"remote.job={job}").out
    assert far.ask("remote.attach=true", f"remote.job={job}").code == 130
    assert (far.folder / "custom_gaze.onnx").is_file()
    assert (far.folder / "last.ckpt").is_file() == kept


def test_keys_in_the_environment_are_sent_when_they_are_named_and_never_kept(far, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "s3cret-not-asked")
    far.run("frames=0")
    assert "WANDB_API_KEY" not in json.loads((far.folder / "seen.json").read_text())["env"]
    far.run("frames=0", "remote.forward_env=[WANDB_API_KEY]")
    seen = far.folder / "seen.json"
    assert json.loads(seen.read_text())["env"]["WANDB_API_KEY"] == "s3cret-not-asked"
    kept = [p for p in [*far.there.rglob("*"), *far.here.rglob("*")] if p.is_file() and p.name != "seen.json"]
    assert not [p for p in kept if b"s3cret" in p.read_bytes()]
    assert "WANDB_API_KEI" in far.run("remote.forward_env=[WANDB_API_KEI]").err


def test_what_lies_there_already_stays_untouched(far):
    for name in ("dataset_clean.zip", "data/mine.txt", "work/outputs/old.txt", "jobs/notes.txt"):
        path = far.there / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("the user's")
    before = hashes(far.there)
    assert far.run("frames=1").code == 0
    assert before.items() <= hashes(far.there).items()
    assert not list((far.there / "incoming").iterdir())


def test_a_path_that_is_only_there_is_used_as_it_is(far, tmp_path):
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "big.h5").write_text("data")
    done = far.run(f"data.root={theirs}", "remote.there=[data.root]", "frames=0")
    assert done.code == 0, done.err
    assert list(json.loads((far.folder / "seen.json").read_text())["files"]) == ["big.h5"]


def test_a_dry_run_shows_every_command_and_does_nothing(far):
    shown = far.run("dry_run=true")
    assert shown.code == 0, shown.err
    assert f"-- {HOST} " in shown.out
    assert "-m gaze_exp task=l2cs_finetune hardware=cpu data.root=../data/" in shown.out
    assert not far.there.exists()
    assert not (far.here / "outputs").exists()
    assert "uv sync --frozen" in far.run("dry_run=true", "remote.environment=null").out
    assert "cancel: the latest job" in far.ask("dry_run=true", "remote.cancel=true").out
    assert "would run here: finetune, export_client" in program("task=l2cs_finetune", "dry_run=true", cwd=far.here).out
