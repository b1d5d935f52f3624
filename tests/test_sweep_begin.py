"""What a sweep refuses before its first job, and in which folder it goes on."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import program
from sweep_samples import REPACK, ROOT

from gaze_exp.errors import ConfigError
from gaze_exp.sweep import refusals
from gaze_exp.sweep.content import key_of
from gaze_exp.sweep.slots import slot_environments


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["optim.lrr=1e-3,1e-2"], "optim.lrr: there is no such key; did you mean optim.lr?"),
        (["seed=0,1,abc"], "seed: 'abc'"),
        (["trainer.max_epochs=1,2,abc"], "trainer.max_epochs: 'abc'"),
        (["model=gazetr_tiny,gazetr_tinny"], "model: "),
        (["actions=[train],[trian]"], "actions: 'trian' is no action; train is"),
        (["hydra/sweeper=optuna", "optim.lrr=interval(0.1,0.2)"], "optim.lrr: there is no such key"),
        (["seed=0,1", "hydra.run.dir=here"], "hydra.run.dir: is the folder of one run"),
        (["seed=0,1", "resume=there.ckpt"], "resume: goes on with one run"),
        (["seed=0,1", "hydra.launcher.num_slots=0"], "hydra.launcher.num_slots: 0 is no number of jobs"),
    ],
)
def test_a_mistake_is_refused_before_the_first_job_and_leaves_nothing(arguments, expected, tmp_path):
    done = program("-m", "task=quickstart", *arguments, cwd=tmp_path)
    assert done.code == 2
    assert expected in done.err
    assert not list(tmp_path.rglob("job.json"))
    assert not list(tmp_path.glob("outputs/sweeps/*"))


@pytest.mark.parametrize("choice", refusals.EXTRAS)
def test_a_choice_that_is_not_installed_is_refused_with_the_command_that_installs_it(choice, monkeypatch):
    needed = refusals.EXTRAS[choice]
    refusals.refuse_missing_extras([choice])  # the tests' environment has all
    monkeypatch.setitem(refusals.EXTRAS, choice, refusals.Extra(needed.module + "_that_nobody_has", needed.extra))
    with pytest.raises(ConfigError, match=rf"pip install 'gaze-exp\[{needed.extra}\]'.*uv sync --extra {needed.extra}"):
        refusals.refuse_missing_extras(["task=quickstart", choice])


def test_a_plugin_that_ends_every_program_with_hydra_is_named(tmp_path):
    uv = [shutil.which("uv") or str(ROOT / ".uv" / "bin" / "uv")]
    if not Path(uv[0]).is_file():
        pytest.skip("no uv here, which installs what the test is about")
    install = ["pip", "install", "--quiet", "--no-deps", "--target", str(tmp_path / "site"), "hydra-rq-launcher==1.2.0"]
    done = subprocess.run([*uv, *install], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"hydra-rq-launcher could not be fetched: {done.stderr.strip()[-200:]}")
    run = subprocess.run(
        [sys.executable, "-m", "gaze_exp", "task=quickstart", "--cfg", "job"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path / 'site'}"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 2
    assert "hydra-rq-launcher 1.2.0: ends every program that uses Hydra" in run.stderr
    assert "pip uninstall hydra-rq-launcher would be right" in run.stderr


def a_sweep(folder, *, key="another", finished=False, command="python -m gaze_exp -m seed=8,9"):
    folder.mkdir(parents=True)
    (folder / "sweep.json").write_text(json.dumps({"key": key, "command": command, "finished": finished}))
    return folder


def test_a_launcher_that_numbers_its_jobs_is_kept_out_of_another_sweeps_folder(tmp_path):
    a_sweep(tmp_path / "mine")
    typed = ["seed=0,1", "hydra.sweep.dir=mine", "hydra/launcher=joblib"]
    done = program("-m", *REPACK, "data.root=x", *typed, cwd=tmp_path)
    assert done.code == 2
    assert "hydra.sweep.dir: mine holds another sweep (python -m gaze_exp -m seed=8,9)" in done.err


def test_to_begin_afresh_in_a_folder_that_holds_a_sweep_is_refused(tmp_path):
    a_sweep(tmp_path / "mine")
    typed = ["seed=0,1", "hydra.sweep.dir=mine", "sweep.resume=false"]
    done = program("-m", *REPACK, "data.root=x", *typed, cwd=tmp_path)
    assert done.code == 2
    assert "sweep.resume: false begins afresh, and mine holds a sweep" in done.err


def test_a_job_is_what_it_is_asked_for_in_whatever_order():
    config = {"seed": 1, "optim": {"lr": 1.0}, "run_dir": "."}
    key = key_of(["seed=1", "optim.lr=1.0"], config)
    assert key == key_of(["optim.lr=1.0", "seed=1"], config | {"run_dir": "elsewhere", "hardware": {"devices": 8}})
    assert key == key_of(["optim.lr=1.0", "seed=1", "sweep.resume=false"], config)
    assert key != key_of(["optim.lr=1.0", "seed=2"], config)
    assert key != key_of(["optim.lr=1.0", "seed=1"], config | {"global_batch": 8})  # a file of configs was edited


def test_slots_share_the_gpus_and_the_threads(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3,4,5,6,7")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert slot_environments(1) == [{}]
    slots = slot_environments(4, num_devices=2)
    assert [slot["CUDA_VISIBLE_DEVICES"] for slot in slots] == ["0,1", "2,3", "4,5", "6,7"]
    assert {slot["OMP_NUM_THREADS"] for slot in slots} == {str(max(1, len(os.sched_getaffinity(0)) // 4))}
    with pytest.raises(ConfigError, match=r"num_slots: 4 jobs .* need 16 GPUs, 8 are here; 2 would be right"):
        slot_environments(4, num_devices=4)


def test_more_slots_than_gpus_share_them(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5")
    assert [slot["CUDA_VISIBLE_DEVICES"] for slot in slot_environments(2)] == ["5", "5"]


def test_the_number_of_threads_that_a_person_set_is_kept(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert all("OMP_NUM_THREADS" not in slot for slot in slot_environments(2))
