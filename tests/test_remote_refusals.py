"""What cannot be done on another machine is refused in one line, before anything is sent or started."""

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from conftest import program
from ssh_server import HOST, send_stand_in

from gaze_exp.errors import ConfigError
from gaze_exp.remote.refusals import ConnectionCut
from gaze_exp.remote.settings import Remote
from gaze_exp.remote.ssh import Line


@pytest.fixture
def refused(server, tmp_path, monkeypatch):
    """Run a command line for the machine there; it has to be refused, with nothing begun there or left here."""
    send_stand_in(monkeypatch)
    data = tmp_path / "here" / "dataset_clean"
    data.mkdir(parents=True)
    (data / "labels.csv").write_text("filename,yaw,pitch\n")
    there = tmp_path / "there"

    def run(*more, folder=there):
        done = program(
            *server.overrides(folder), f"remote.python={sys.executable}", f"remote.environment={sys.executable}",
            "task=l2cs_finetune", "hardware=cpu", "frames=0", *more, cwd=tmp_path / "here",
        )  # fmt: skip
        assert done.code == 2, done.out + done.err
        assert done.err.startswith("error: ")
        assert done.err.count("\n") == 1
        assert not (folder / "jobs").exists()
        assert not (tmp_path / "here" / "outputs").exists()
        return done.err

    return run


def line_to(server, folder, **more):
    options = {"ssh_options": ["-F", str(server.config)], "python": sys.executable, "retry_minutes": 1.0, **more}
    return Line(Remote(name="ssh", host=HOST, folder=str(folder), **options))


def other_config(server, name, *, old, new):
    """The client's configuration with one thing changed."""
    path = server.folder / name
    path.write_text(server.config.read_text().replace(str(old), str(new)))
    return f"remote.ssh_options=[-F,'{path}']"


def test_an_unknown_host(refused):
    assert "there is no machine nowhere.invalid" in refused("remote.host=nowhere.invalid")


def test_no_host_at_all(refused, monkeypatch):
    monkeypatch.delenv("GAZE_REMOTE_HOST", raising=False)
    assert "GAZE_REMOTE_HOST=NAME" in refused("remote.host=null")


def test_a_host_that_ssh_would_take_for_an_option(refused):
    assert "is no name of a machine" in refused("remote.host='-oProxyCommand=touch /tmp/gotcha'")


def test_an_unreachable_host(refused, server):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    said = refused(other_config(server, "unreachable", old=f"Port {server.port}", new=f"Port {port}"))
    assert "cannot be reached" in said
    assert "Connection refused" in said


def test_a_refused_key(refused, server):
    said = refused(other_config(server, "stranger", old="user_key", new="stranger_key"))
    assert "refuses the key" in said
    assert f"ssh-copy-id {HOST}" in said


def test_another_host_key_than_the_known_one(refused, server):
    key = " ".join((server.folder / "stranger_key.pub").read_text().split()[:2])
    (server.folder / "wrong_hosts").write_text(f"[127.0.0.1]:{server.port} {key}\n")
    said = refused(other_config(server, "wrong", old="/known_hosts", new="/wrong_hosts"))
    assert "another host key" in said
    assert f"ssh-keygen -R {HOST}" in said


def test_a_host_whose_key_was_never_seen(refused, server):
    (server.folder / "no_hosts").write_text("")
    said = refused(other_config(server, "new", old="/known_hosts", new="/no_hosts"))
    assert "is not known here yet" in said
    assert (server.folder / "no_hosts").read_text() == ""


def test_no_python_there(refused):
    assert "has no /no/such/python" in refused("remote.python=/no/such/python")


def test_no_environment_there(refused):
    assert "/no/such/env cannot be run" in refused("remote.environment=/no/such/env")


def test_an_environment_with_other_versions(refused, tmp_path):
    """A virtual environment without any of what the program needs."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "bare")], check=True)
    said = refused(f"remote.environment={tmp_path}/bare/bin/python")
    assert "has torch not at all, torch>=" in said


@pytest.mark.skipif(shutil.which("nvidia-smi") is not None, reason="there is a GPU")
def test_no_gpu_there(refused):
    assert "hardware: asks for a GPU, and spark shows none" in refused("hardware=dgx_spark")


def test_data_that_are_neither_here_nor_there(refused):
    assert "data.root: no_such_set is neither here nor on spark" in refused("data.root=no_such_set")


@pytest.mark.parametrize("action", ["handback", "prepare_calibration", "synthetic"])
def test_an_action_whose_results_would_stay_there(refused, action):
    assert f"actions: {action} writes outside its run folder" in refused(f"actions=[{action}]")


def test_a_sweep(refused):
    assert "a sweep runs where it is started" in refused("-m", "seed=0,1")


def test_a_mistake_in_the_config_is_found_before_any_connection(refused):
    assert "model.archh" in refused("+model.archh=3", "remote.host=nowhere.invalid")


def test_a_folder_that_may_not_be_written(refused, tmp_path):
    (tmp_path / "file").write_text("in the way")
    said = refused(folder=tmp_path / "file" / "there")
    assert said.startswith("error: remote")


def test_a_run_folder_here_that_holds_something_else(server, tmp_path, monkeypatch):
    send_stand_in(monkeypatch)
    mine = tmp_path / "outputs" / "mine"
    mine.mkdir(parents=True)
    (mine / "metrics.json").write_text("{}")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "labels.csv").write_text("x")
    done = program(
        *server.overrides(tmp_path / "there"), f"remote.environment={sys.executable}", "task=l2cs_finetune",
        "hardware=cpu", "data.root=data", f"hydra.run.dir={mine}", cwd=tmp_path,
    )  # fmt: skip
    assert done.code == 2
    assert "holds something else" in done.err
    assert [p.name for p in mine.iterdir()] == ["metrics.json"]
    assert not (tmp_path / "there").exists()


def test_attach_without_another_machine(tmp_path):
    assert "remote=dgx_spark would be right" in program("remote.attach=true", cwd=tmp_path).err


def test_attach_where_no_job_is(server, tmp_path):
    done = program(*server.overrides(tmp_path / "there"), "remote.attach=true", cwd=tmp_path)
    assert "no job" in done.err
    assert not (tmp_path / "there").exists()


@contextlib.contextmanager
def small_disk(folder, *, megabytes):
    if getpass.getuser() != "root" or not shutil.which("mount"):
        pytest.skip("a disk to fill needs root, to mount it")
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_disk_there_that_is_too_small(refused, tmp_path):
    with small_disk(tmp_path / "disk", megabytes=8) as disk:
        assert "8.4 MB free at" in refused(folder=disk / "there")
        assert list(disk.iterdir()) == []


def test_a_disk_there_that_fills_while_data_come(server, tmp_path):
    """Something else takes the space between the question and the answer."""
    pack = os.urandom(6_000_000)
    import hashlib

    with small_disk(tmp_path / "disk", megabytes=8) as disk, line_to(server, disk / "there") as line:
        (disk / "others").write_bytes(bytes(5_000_000))
        with pytest.raises(ConfigError, match=r"no space left at .*make room there"):
            line.ask("put", payload=[pack], sha256=hashlib.sha256(pack).hexdigest(), size=len(pack), offset=0)
        assert list((disk / "there" / "incoming").iterdir()) == []
        assert (disk / "others").stat().st_size == 5_000_000


def test_an_upload_goes_on_at_the_byte_where_the_line_was_cut(server, tmp_path):
    from gaze_exp.remote.content import tree_of
    from gaze_exp.remote.upload import upload

    data = tmp_path / "big.h5"
    data.write_bytes(os.urandom(40_000_000))
    partial = tmp_path / "there" / "incoming"

    def cut_when_some_has_come():
        until = time.monotonic() + 60
        while time.monotonic() < until:
            if any(p.stat().st_size > 1_000_000 for p in partial.glob("*.zip")):
                server.cut()
                return

    with line_to(server, tmp_path / "there") as line:
        tree = tree_of(data, name="big.h5")
        waiting = threading.Thread(target=cut_when_some_has_come)
        waiting.start()
        assert upload(line, {f"data/{tree.key}": tree}, scratch=tmp_path) == 1
        waiting.join()
        assert (tmp_path / "there" / "data" / tree.key / "big.h5").read_bytes() == data.read_bytes()
        assert list(partial.iterdir()) == []
        assert upload(line, {f"data/{tree.key}": tree}, scratch=tmp_path) == 0


def test_no_path_leads_out_of_the_folder_there(server, tmp_path):
    (tmp_path / "secret").write_text("x")
    with line_to(server, tmp_path / "there") as line:
        with pytest.raises(ConfigError, match="is no path inside"):
            line.ask("get", of="work", files=[["../../secret", 0]])
        with pytest.raises(ConfigError, match="is no path inside"):
            line.ask("lay_out", trees={"data/x": [["../../../secret", "0" * 64, 1]]})
    assert (tmp_path / "secret").read_text() == "x"


def test_no_path_leads_out_of_the_folder_here(tmp_path):
    from gaze_exp.errors import DataError
    from gaze_exp.remote.fetch import fetch

    class Liar:
        def patiently(self, work):
            return work()

        def ask(self, op, **request):
            return {"folder": "work/x", "files": [{"path": "../../.ssh/authorized_keys", "size": 1, "sha256": "0"}]}

    with pytest.raises(DataError, match="outside the run folder"):
        fetch(Liar(), "job", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_what_a_login_shell_prints_does_no_harm(server, tmp_path):
    with line_to(server, tmp_path, python=f"echo Welcome; {sys.executable}") as line:
        line.command = lambda: [*line.arguments(), f"echo 'J5 Welcome'; {sys.executable} -c {quoted_boot()}"]
        assert line.ask("missing", files={})["missing"] == []


def quoted_boot():
    import shlex

    from gaze_exp.remote.ssh import BOOT

    return shlex.quote(BOOT)


def test_a_line_that_stays_lost_is_given_up_with_the_way_back(server, tmp_path):
    line = line_to(server, tmp_path, retry_minutes=0.01)

    def lost():
        raise ConnectionCut("Broken pipe")

    with line, pytest.raises(ConfigError, match=r"is lost \(Broken pipe\); what runs there goes on, and remote.attach"):
        line.patiently(lost)


def test_an_old_python_there_is_named(server, tmp_path):
    from gaze_exp.remote.refusals import meaning_of

    said = meaning_of("gaze_exp: python 3.6 is too old\n", status=1, remote=Remote(host=HOST), was_up=False)
    assert "3.6 is too old; remote.python=PATH" in str(said)


def test_the_helper_needs_nothing_but_a_python_of_3_9():
    """Read by the grammar of that version, and with nothing imported beside the standard library and itself."""
    import ast

    folder = Path(__file__).parents[1] / "gaze_exp" / "remote" / "there"
    for path in folder.glob("*.py"):
        tree = ast.parse(path.read_text(), feature_version=(3, 9))
        names = [n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)]
        names += [a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names]
        others = {n for n in names if n.partition(".")[0] not in sys.stdlib_module_names}
        assert all(n.startswith("gaze_exp.remote.there") for n in others), others
