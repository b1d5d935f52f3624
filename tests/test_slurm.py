"""On a real SLURM: several ranks in one run folder; what is preempted or out of time goes on as if nothing had been."""

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import TINY
from slurm_cluster import slurm  # noqa: F401  (a fixture)
from test_resume import assert_same

ROOT = Path(__file__).parents[1]
PYTHONPATH = os.pathsep.join([str(ROOT / "tests"), str(ROOT)])
PARTS = ("state_dict", "optimizer_states", "lr_schedulers", "loops", "global_step", "epoch")
STEPS = [3.0, 6.0, 9.0, 12.0, 15.0, 18.0]

SCRIPT = """\
#!/bin/bash
#SBATCH --nodes=1 --ntasks-per-node=2
#SBATCH --requeue --open-mode=append --output=log.txt
{exports}
srun --kill-on-bad-exit {command}
"""


def command(crops, *more):
    """Dropout, augmentation, two ranks, two batches a step, six steps an epoch, validated after the third and sixth."""
    return [
        sys.executable, "-m", "gaze_exp", *TINY, f"data.root={crops}", "augment._target_=signalled.Signalled",
        "hardware.max_device_batch=4", "hardware.devices=2", "hardware.strategy=ddp", "trainer.val_check_interval=0.6",
        "actions=[train]", *more,
    ]  # fmt: skip


def last(folder):
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)


def read(folder, name):
    return json.loads((folder / name).read_text())


@pytest.fixture(scope="module")
def sweep(slurm, crops, tmp_path_factory):  # noqa: F811
    """Two jobs of two ranks each; the worker of the first gets USR2 in step 5, as from a cluster with cgroups."""
    cwd = tmp_path_factory.mktemp("sweep")
    variables = {
        "PYTHONPATH": PYTHONPATH,
        "OMP_NUM_THREADS": "1",
        "SIGNAL_ARRAY_0_0": "9 kill -USR2 $(cut -d ' ' -f 4 /proc/$PPID/stat)",
    }
    asked = ("-m", "hydra/launcher=submitit_slurm", "hydra.launcher.cpus_per_task=1", "seed=0,1")
    done = subprocess.run(
        command(crops, *asked), cwd=cwd, env={**slurm.environment, **variables}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    (folder,) = cwd.glob("outputs/sweeps/*")
    return folder, done.stdout


@pytest.fixture(scope="module")
def ended_twice(slurm, crops, tmp_path_factory):  # noqa: F811
    """A batch job that loses its node to another one after step 8, and in its second start gets USR2 in step 10."""
    cwd = tmp_path_factory.mktemp("ended_twice")
    exports = (
        f"export PYTHONPATH={PYTHONPATH} OMP_NUM_THREADS=1",
        "export SIGNAL_0='15 hang sbatch --partition=urgent --ntasks=2 --output=/dev/null --wrap true'",
        "export SIGNAL_1='3 scancel --signal=USR2 '$SLURM_JOB_ID",
    )
    quoted = " ".join(f"'{word}'" for word in command(crops, "seed=1"))
    number = slurm.submit(SCRIPT.format(exports="\n".join(exports), command=quoted), cwd=cwd)
    job = slurm.wait(number)
    (folder,) = cwd.glob("outputs/*/*")
    return job, folder, (cwd / "log.txt").read_text()


@pytest.mark.slow
@pytest.mark.machines
def test_a_sweep_gives_each_job_its_tasks_and_ends_with_a_table(sweep):
    folder, said = sweep
    (script,) = folder.glob(".submitit/*/*_submission.sh")
    assert "--ntasks-per-node=2" in script.read_text()
    rows = list(csv.DictReader((folder / "sweep.csv").open()))
    best = [float(last(folder / row["job"])["callbacks"][_checkpointing(folder)]["best_model_score"]) for row in rows]
    assert [row["status"] for row in rows] == ["done", "done"]
    assert [float(row["objective"]) for row in rows] == pytest.approx(best, abs=1e-3)
    assert best == sorted(best)
    assert "seed" in said


def _checkpointing(folder):
    (name,) = (key for key in last(folder / "0")["callbacks"] if key.startswith("ModelCheckpoint"))
    return name


@pytest.mark.slow
@pytest.mark.machines
def test_a_job_of_a_sweep_that_is_ended_goes_on_where_it_was(sweep):
    folder, _ = sweep
    log = (folder / "0" / "console.log").read_text()
    assert f"saved step 5 to {folder}/0/checkpoints/last.ckpt" in log
    assert f"going on from {folder}/0/checkpoints/last.ckpt" in log
    assert [row["step"] for row in read(folder / "0", "history.json")["rows"]] == STEPS
    assert "saved step" not in (folder / "1" / "console.log").read_text()


@pytest.mark.slow
@pytest.mark.machines
def test_two_ranks_share_one_folder_through_preemption_and_requeue(ended_twice):
    job, folder, log = ended_twice
    assert job["Restarts"] == "2"
    assert "16 samples a step = 2 x 4 x 2 accumulated" in log
    for step in (8, 10):
        assert log.count(f"saved step {step} to {folder}/checkpoints/last.ckpt") == 1
    assert log.count(f"going on from {folder.relative_to(folder.parents[2])}/checkpoints/last.ckpt") == 2
    assert log.count("epoch  1.50/3  step 9 ") == 1
    assert "Traceback" not in log
    assert len(read(folder, "run.json")["resumed"]) == 2


@pytest.mark.slow
@pytest.mark.machines
@pytest.mark.parametrize("part", PARTS)
def test_a_job_that_was_ended_twice_is_bit_for_bit_one_that_was_let_alone(part, ended_twice, sweep):
    assert_same(last(sweep[0] / "1")[part], last(ended_twice[1])[part], at=part)


@pytest.mark.slow
@pytest.mark.machines
def test_its_curves_and_best_checkpoints_are_the_same(ended_twice, sweep):
    folders = (sweep[0] / "1", ended_twice[1])
    (one, other) = (read(folder, "history.json") for folder in folders)
    assert one == other
    (one, other) = (sorted(path.name for path in (folder / "checkpoints").iterdir()) for folder in folders)
    assert one == other


def ended_by_usr2(tmp_path, **variables):
    """A process of the first rank of a SLURM job that gets USR2 before it has done a step."""
    program = (
        "import logging, sys, time\n"
        "from gaze_exp.processes import requeue\n"
        "logging.basicConfig(format='%(message)s', level='INFO')\n"
        "with requeue.listening():\n"
        "    print('listening', flush=True)\n"
        "    time.sleep(60)\n"
    )
    known = {"SLURM_JOB_ID": "7", "SLURM_PROCID": "0", "SLURM_STEP_ID": "0", "SLURM_NTASKS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": PYTHONPATH, **known, **variables},
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout.readline() == "listening\n"
    process.send_signal(signal.SIGUSR2)
    _, said = process.communicate(timeout=60)
    return process.returncode, said


def test_a_job_that_starts_again_and_again_and_does_no_step_is_not_requeued(tmp_path):
    code, said = ended_by_usr2(tmp_path, SLURM_RESTART_COUNT="5")
    assert code == 1
    assert "a longer --time is right" in said


def test_a_job_that_cannot_be_requeued_says_why_and_ends(tmp_path):
    code, said = ended_by_usr2(tmp_path, PATH=str(tmp_path))
    assert code == 75
    assert "job 7 was told to end and cannot be requeued" in said
    assert "scontrol" in said
