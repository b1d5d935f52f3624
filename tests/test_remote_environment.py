"""The environment there is set up by uv, once, and what a run needs is found and moved."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from conftest import TINY, program
from onnx import numpy_helper
from ssh_server import STAND_IN

from gaze_exp.config import compose, plain
from gaze_exp.errors import ConfigError
from gaze_exp.remote import own_code, snapshot
from gaze_exp.remote.content import Tree, entry_of, tree_of, write_pack
from gaze_exp.remote.inputs import arguments_there, inputs_of, only_there

LOCK = """\
version = 1
requires-python = ">=3.9"

[[package]]
name = "stand-in"
version = "1"
source = { virtual = "." }
"""
PROJECT = '[project]\nname = "stand-in"\nversion = "1"\nrequires-python = ">=3.9"\ndependencies = []\n'


@pytest.mark.slow
def test_the_environment_there_is_made_once_and_found_again(server, tmp_path, monkeypatch):
    """By uv from a lock file, which here asks for nothing; uv itself is fetched where there is none."""
    (tmp_path / "uv.lock").write_text(LOCK)
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    named = {name: STAND_IN / name for name in ("gaze_exp/__init__.py", "gaze_exp/__main__.py")}
    named |= {name: tmp_path / name for name in ("uv.lock", "pyproject.toml")}
    monkeypatch.setattr(
        snapshot, "code_tree", lambda scratch: Tree([entry_of(path, name) for name, path in named.items()])
    )
    monkeypatch.setattr(snapshot, "environment_key", lambda: "0123456789abcdef")
    monkeypatch.setattr("gaze_exp.remote.there_checks.ENVIRONMENT_BYTES", 0)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "labels.csv").write_text("x")

    def run():
        return program(
            *server.overrides(tmp_path / "there"), f"remote.python={sys.executable}", "task=l2cs_finetune",
            "hardware=cpu", "data.root=data", "frames=1", cwd=tmp_path,
        )  # fmt: skip

    first = run()
    assert first.code == 0, first.out + first.err
    assert "sets up the environment" in first.out
    assert "line 0 of the run" in first.out
    python = tmp_path / "there" / "env" / "0123456789abcdef" / "venv" / "bin" / "python"
    assert os.access(python, os.X_OK)
    again = run()
    assert again.code == 0
    assert "sets up the environment" not in again.out


def weights_in(path):
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer}


@pytest.mark.slow
def test_a_training_there_is_the_training_here(server, crops, tmp_path):
    """The whole program: trained, evaluated and exported there, and the same numbers as here."""
    chosen = [*TINY, f"data.root={crops}", "trainer.max_epochs=1", "actions=[train,evaluate,export]"]
    far = program(
        *server.overrides(tmp_path / "there"), f"remote.environment={sys.executable}", *chosen, cwd=tmp_path / "far"
    )
    assert far.code == 0, far.out + far.err
    near = program(*chosen, cwd=tmp_path / "near")
    assert near.code == 0, near.err
    there, here = (weights_in(ended.folder / "model.onnx") for ended in (far, near))
    assert there.keys() == here.keys()
    assert all(np.allclose(there[name], here[name], atol=1e-4) for name in here)
    assert far.read("metrics.json")["mean"] == pytest.approx(near.read("metrics.json")["mean"], abs=1e-4)
    assert far.read("run.json")["code"] == near.read("run.json")["code"]
    assert far.read("remote.json")["state"] == "ended"


def test_the_snapshot_holds_code_configs_lock_and_commit_and_no_bytecode(tmp_path):
    names = {entry.path for entry in snapshot.code_tree(tmp_path).entries}
    assert {"pyproject.toml", "uv.lock", "gaze_exp/commit.json", "gaze_exp/conf/config.yaml"} <= names
    assert {"gaze_exp/__main__.py", "gaze_exp/report.html.j2", "gaze_exp/remote/there/jobs.py"} <= names
    assert not [name for name in names if "__pycache__" in name or name.startswith(("tests", "."))]
    assert snapshot.code_tree(tmp_path).key == snapshot.code_tree(tmp_path).key


@pytest.mark.slow
def test_an_installed_wheel_sends_itself_with_its_lock(tmp_path):
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "dist")]
    subprocess.run(build, cwd=Path(__file__).parents[1], check=True, capture_output=True)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    done = subprocess.run(
        [sys.executable, "-m", "gaze_exp", "task=quickstart", "remote=dgx_spark", "dry_run=true"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert snapshot.environment_key() in done.stdout  # the same environment there as from a checkout
    names = {"pyproject.toml", "uv.lock", "conf/config.yaml"}
    assert all((tmp_path / "site" / "gaze_exp" / name).is_file() for name in names)


def test_the_same_files_make_the_same_key_and_the_same_pack(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name / "deep").mkdir(parents=True)
        (tmp_path / name / "deep" / "x.csv").write_text("1,2\n" * 1000)
        (tmp_path / name / "y.jpg").write_bytes(bytes(1000))
    trees = [tree_of(tmp_path / name, name="set") for name in ("a", "b")]
    assert trees[0].key == trees[1].key
    for tree, name in zip(trees, ("1.zip", "2.zip"), strict=True):
        write_pack(tmp_path / name, tree.entries)
    assert (tmp_path / "1.zip").read_bytes() == (tmp_path / "2.zip").read_bytes()
    (tmp_path / "b" / "y.jpg").write_bytes(bytes(999))
    assert tree_of(tmp_path / "b", name="set").key != trees[0].key


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Files of a run, below the current folder."""
    monkeypatch.chdir(tmp_path)
    for name in ("my set/labels.csv", "net's.pkl", "face.onnx", "outputs/data/synthetic/x.h5"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return tmp_path


def there(*overrides):
    """The command line for there, and what is sent."""
    config = plain(compose([*overrides, "run_dir=."]))
    inputs = inputs_of(config, there=config["remote"]["there"])
    home = only_there(config, there=config["remote"]["there"])
    arguments = arguments_there(list(overrides), inputs, run_dir="outputs/t/r", config=config, home=home)
    return arguments, {i.key for i in inputs}, home


def test_paths_are_moved_and_everything_else_is_sent_as_typed(files):
    typed = ["task=l2cs_finetune", "remote=ssh", "remote.host=x", 'model.weights="net\'s.pkl"', "data.root='my set'"]
    arguments, sent, home = there(*typed, "run_name='a \"b\" c'", "+trainer.foo=1", "dry_run=true", "hydra.run.dir=q")
    assert sent == {"model.weights", "data.root"}
    assert home == {}
    assert arguments[0] == "task=l2cs_finetune"
    assert arguments[1].startswith("model.weights=../data/")
    assert arguments[1].endswith("/net_s.pkl")
    assert arguments[2].endswith("/my_set")
    assert arguments[3:] == ["run_name='a \"b\" c'", "+trainer.foo=1", "hydra.run.dir=outputs/t/r"]
    moved = compose([a for a in arguments if not a.startswith("hydra")])
    assert moved.run_name == 'a "b" c'


def test_a_path_that_the_task_chose_is_moved_too(files):
    (files / "dataset_clean").mkdir()
    (files / "dataset_clean" / "labels.csv").write_text("x")
    arguments, sent, _ = there("task=l2cs_finetune")
    assert sent == {"data.root"}
    assert arguments[1].startswith("++data.root=../data/")


def test_data_that_are_rendered_where_they_are_missing_stay_here(files):
    arguments, sent, home = there("task=quickstart")
    assert (sent, home) == (set(), {})
    assert arguments == ["task=quickstart", "hydra.run.dir=outputs/t/r"]


def test_a_path_below_the_home_folder_here_is_one_below_the_home_folder_there(files):
    arguments, _, home = there("task=eve_baseline", "data.root=~/eve/that/is/there")
    assert home == {"data.root": "~/eve/that/is/there"}
    assert "data.root=~/eve/that/is/there" in arguments


def test_an_empty_folder_is_no_data(files):
    from gaze_exp.errors import DataError

    (files / "none").mkdir()
    with pytest.raises(DataError, match="has no files"):
        there("task=l2cs_finetune", "data.root=none")


def test_components_of_ones_own_go_along(files, monkeypatch):
    (files / "my_lab").mkdir()
    (files / "my_lab" / "__init__.py").write_text("")
    (files / "my_lab" / "net.py").write_text("class Net: ...\n")
    monkeypatch.syspath_prepend(str(files))
    config = {"model": {"_target_": "my_lab.net.Net"}, "trainer": {"_target_": "json.JSONDecoder"}}
    assert {entry.path for entry in own_code.own_code(config)} == {"my_lab/__init__.py", "my_lab/net.py"}


def test_a_run_folder_to_go_on_with_is_refused_with_what_works(server, tmp_path):
    run = tmp_path / "outputs" / "run" / "one"
    (run / ".hydra").mkdir(parents=True)
    (run / ".hydra" / "overrides.yaml").write_text(json.dumps(["task=quickstart", "hardware=cpu"]))
    (run / "split.json").write_text("{}")
    done = program(*server.overrides(tmp_path / "there"), f"resume={run}", cwd=tmp_path)
    assert "remote.attach=true follows a job there" in done.err


def test_no_other_machine_is_the_default(tmp_path):
    from gaze_exp.remote.settings import Remote, elsewhere

    assert not elsewhere(Remote(**plain(compose(["task=quickstart"]).remote)))
    assert compose(["remote=dgx_spark"]).remote.folder == "~/rustyeyes_train"
    with pytest.raises(ConfigError, match=r"remote\.host: none is named"):
        elsewhere(Remote(name="ssh"))
    assert Path("~/rustyeyes_train").expanduser() != Path("~/rustyeyes_train")
