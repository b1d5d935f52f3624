from pathlib import Path

import pytest
import torch
import yaml
from conftest import program

from gaze_exp.errors import ConfigError
from gaze_exp.hardware import BatchSplit, Hardware, resolve, say_what_was_chosen, split, steps_per_epoch

HARDWARE = Path(__file__).parents[1] / "conf" / "hardware"


@pytest.mark.parametrize(
    ("devices", "largest", "global_batch", "device_batch", "accumulate"),
    [
        (8, 512, 512, 64, 1),
        (1, 128, 512, 128, 4),
        (1, 64, 64, 64, 1),
        (2, 100, 400, 100, 2),
        (1, 100, 512, 64, 8),
    ],
)
def test_the_split_is_exactly_the_global_batch(devices, largest, global_batch, device_batch, accumulate):
    made = split(Hardware(devices=devices, max_device_batch=largest), global_batch)
    assert (made.device_batch, made.accumulate) == (device_batch, accumulate)
    assert made.device_batch * made.accumulate * made.num_devices == global_batch


def test_a_batch_that_does_not_divide_names_those_that_do():
    with pytest.raises(ConfigError, match="500 does not divide over 8 devices; 496 and 504 do"):
        split(Hardware(devices=8), 500)


def test_a_share_without_even_pieces_is_refused():
    with pytest.raises(ConfigError, match="global_batch"):
        split(Hardware(max_device_batch=64), 67)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there_is_refused_with_what_is():
    with pytest.raises(ConfigError, match=r"asks for 8 gpu.*here is a CPU; hardware=auto fits"):
        resolve(Hardware(name="h200x8", accelerator="gpu", devices=8))


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_run_for_a_gpu_that_is_not_there_names_what_fits_and_leaves_nothing(tmp_path):
    refused = program("task=quickstart", "hardware=h200x8", "actions=[train]", cwd=tmp_path)
    assert refused.code == 2
    assert "h200x8 asks for 8 gpu device(s), here is a CPU; hardware=auto fits" in refused.err
    assert not list(tmp_path.rglob("*.ckpt"))


def test_a_run_whose_batch_does_not_divide_names_those_that_do(tmp_path):
    refused = program("task=quickstart", "hardware=cpu", "hardware.devices=3", "global_batch=64", cwd=tmp_path)
    assert refused.code == 2
    assert "global_batch: 64 does not divide over 3 devices; 63 and 66 do" in refused.err


@pytest.mark.skipif(torch.cuda.is_available() or torch.backends.mps.is_available(), reason="this machine has a GPU")
def test_auto_says_what_it_chose():
    asked = Hardware()
    assert say_what_was_chosen(asked, resolve(asked)) == "hardware=auto: no GPU here, so the CPU, 1 device(s), 32-true"


@pytest.mark.parametrize(
    ("num_batches", "limit", "steps"), [(12, 1.0, 6), (12, 0.5, 3), (12, 4, 2), (12, 5, 3), (None, 1.0, None)]
)
def test_steps_of_an_epoch_follow_from_its_batches(num_batches, limit, steps):
    batches = BatchSplit(device_batch=8, accumulate=2, num_devices=1)
    assert steps_per_epoch(batches, num_batches=num_batches, limit=limit) == steps


def test_auto_ends_in_something_concrete():
    made = resolve(Hardware())
    assert made.accelerator in {"cpu", "gpu", "mps"}
    assert made.precision != "auto"


def test_every_hardware_file_speaks_of_the_machine_alone():
    fields = set(Hardware.__dataclass_fields__)
    for path in HARDWARE.glob("*.yaml"):
        content = yaml.safe_load(path.read_text())
        assert set(content) == fields, path
        assert content["name"] == path.stem


def test_every_machine_of_the_user_has_a_file():
    there = {path.stem for path in HARDWARE.glob("*.yaml")}
    assert there >= {"auto", "cpu", "gpu", "h200x1", "h200x8", "dgx_spark", "mac", "slurm"}


def test_a_hardware_file_reaches_nothing_but_the_machine():
    from gaze_exp.config import compose, plain

    plainly = plain(compose(["task=eve_baseline", "hardware=cpu", "run_dir=."]))
    for path in HARDWARE.glob("*.yaml"):
        other = plain(compose(["task=eve_baseline", f"hardware={path.stem}", "run_dir=."]))
        assert {key for key in plainly if plainly[key] != other[key]} <= {"hardware"}, path
        assert not path.read_text().startswith("# @package"), path


def test_no_task_speaks_of_a_machine():
    for path in (HARDWARE.parent / "task").glob("*.yaml"):
        content = yaml.safe_load(path.read_text())
        assert "hardware" not in content
        assert not any("hardware" in str(entry) for entry in content.get("defaults", [])), path
        assert not {"accelerator", "devices", "precision", "num_nodes"} & set(content.get("trainer", {}))
