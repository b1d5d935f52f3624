import subprocess
import sys

import pytest

from gaze_exp.errors import ConfigError
from gaze_exp.signature import check_component

TRAINER = "lightning.pytorch.trainer.trainer.Trainer"


def refused(node, key="model"):
    with pytest.raises(ConfigError) as caught:
        check_component(node, key=key)
    return str(caught.value)


def test_a_misspelt_argument_is_named_with_the_nearest_that_exists():
    text = refused({"_target_": TRAINER, "max_epoch": 3}, key="trainer")
    assert text.startswith("trainer.max_epoch:")
    assert "max_epochs would be right" in text


@pytest.mark.parametrize("value", ["abc", 1.5, True])
def test_a_scalar_of_the_wrong_type_is_refused(value):
    assert "trainer.max_epochs" in refused({"_target_": TRAINER, "max_epochs": value}, key="trainer")


@pytest.mark.parametrize("value", [3, None])
def test_a_scalar_of_the_right_type_passes(value):
    check_component({"_target_": TRAINER, "max_epochs": value}, key="trainer")


def test_an_int_serves_where_a_float_is_wanted():
    check_component({"_target_": "gaze_exp.optim.AdamWCosine", "lr": 1}, key="optim")


def test_a_literal_offers_the_nearest_choice():
    text = refused({"_target_": "gaze_exp.loggers.wandb_logger", "mode": "offlin"}, key="logger.wandb")
    assert "'offlin' is no choice; offline is" in text


def test_an_unknown_target_says_what_would_be_right():
    assert "my_lab.Net cannot be found" in refused({"_target_": "my_lab.Net"})


def test_a_missing_argument_is_named():
    assert "model.backbone" in refused({"_target_": "signature_example.NeedsBackbone"})


def test_a_signature_is_read_through_bases_dataclasses_and_reexports():
    check_component({"_target_": "signature_example.Child", "width": 3}, key="model")
    assert "depth" in refused({"_target_": "signature_example.Child", "depth": 3})
    check_component({"_target_": "signature_example.Record", "width": 3}, key="model")
    assert "model.width" in refused({"_target_": "signature_example.Record"})
    check_component({"_target_": "signature_example.Again", "lr": 0.1}, key="model")
    assert "model.rl" in refused({"_target_": "signature_example.Again", "rl": 0.1})


def test_what_is_made_at_run_time_is_imported():
    check_component({"_target_": "signature_example.MADE", "width": 3}, key="model")
    assert "model.wide" in refused({"_target_": "signature_example.MADE", "wide": 3})


def test_a_check_imports_neither_torch_nor_lightning():
    code = (
        "import sys\n"
        "from gaze_exp.signature import check_component\n"
        f"check_component({{'_target_': '{TRAINER}', 'max_epochs': 3}}, key='trainer')\n"
        "print([m for m in ('torch', 'lightning', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.fixture(autouse=True)
def example_module(tmp_path, monkeypatch):
    (tmp_path / "signature_example.py").write_text(
        "from dataclasses import dataclass\n"
        "from gaze_exp.optim import AdamWCosine as Again\n"
        "class Base:\n    def __init__(self, width: int = 1): pass\n"
        "class Child(Base):\n    pass\n"
        "class NeedsBackbone:\n    def __init__(self, backbone: str): pass\n"
        "@dataclass\nclass Record:\n    width: int\n"
        "MADE = type('MADE', (Base,), {})\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    from gaze_exp import signature

    signature._signature.cache_clear()
