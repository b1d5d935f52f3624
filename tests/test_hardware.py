from pathlib import Path

import pytest
import torch
import yaml

from gaze_exp.errors import ConfigError
from gaze_exp.hardware import Hardware, resolve, split

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


def test_no_task_speaks_of_a_machine():
    for path in (HARDWARE.parent / "task").glob("*.yaml"):
        content = yaml.safe_load(path.read_text())
        assert "hardware" not in content
        assert not {"accelerator", "devices", "precision", "num_nodes"} & set(content.get("trainer", {}))
