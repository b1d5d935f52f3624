"""task=l2cs_train through the program: trained, evaluated, exported, and gone on from, on faces of 32 px."""

import shutil
from pathlib import Path

import pytest
import torch
from conftest import program
from l2cs_files import Official, export, lively

from gaze_exp import checkpoint as checkpoints
from gaze_exp.config import compose, rebuild
from gaze_exp.models.l2cs import L2CS
from gaze_exp.weights.load import load_l2cs

TINY = (
    "task=l2cs_train", "logger=csv", "hardware=cpu", "global_batch=32", "trainer.max_epochs=1", "export.num_rows=4",
    "export.latency_threads=[1]",
)  # fmt: skip


def run(crops, cwd, *arguments):
    done = program(*TINY, f"data.root={crops}", *arguments, cwd=cwd)
    assert done.code == 0, done.err
    return done


@pytest.fixture(scope="module")
def base(crops, tmp_path_factory):
    """A small base from random numbers."""
    small = ("model=l2cs_small", "model.image_size=32", "optim.lr=1e-3")
    return run(crops, tmp_path_factory.mktemp("base"), *small)


@pytest.fixture(scope="module")
def saved(base):
    return checkpoints.best_in(base.folder)


def test_the_recipe_is_that_of_l2cs_net():
    cfg = compose(["task=l2cs_train", "run_dir=here"])
    model, loss, optim = cfg.model, cfg.loss, cfg.optim
    assert (model.arch, model.head, model.num_bins, model.weights, model.pretrained) == (
        "auto",
        "bins",
        None,
        None,
        None,
    )
    assert (loss._target_, loss.mse_weight) == ("gaze_exp.losses.L2CSBins", 1.0)
    assert (optim.lr, optim.weight_decay, optim.warmup_epochs, optim.final_lr_fraction) == (1e-5, 0, 0, 1)
    assert cfg.global_batch == 16


def test_bins_of_ones_own_reach_model_and_loss():
    own = ["model.num_bins=45", "model.bin_width_deg=8", "model.first_bin_deg=-180"]
    cfg = compose(["task=l2cs_train", "run_dir=here", *own])
    assert (cfg.loss.bin_width_deg, cfg.loss.first_bin_deg) == (8, -180)
    assert compose(["task=l2cs_train", "model=timm_face", "run_dir=here"]).loss.bin_width_deg is None


@pytest.mark.slow
def test_a_base_is_trained_evaluated_and_exported(base):
    assert base.read("metrics.json")["mean"] > 0
    assert base.read("model.json")["largest_difference_rad"] < 1e-4
    assert (base.folder / "report.html").is_file()


@pytest.mark.slow
def test_a_checkpoint_says_what_the_model_came_to(saved):
    options = checkpoints.load(saved).config["model"]
    assert (options["arch"], options["num_bins"], options["bin_width_deg"]) == ("resnet18", 90, 4.0)
    assert (options["weights"], options["pretrained"], options["image_size"]) == (None, "none", 32)


@pytest.mark.slow
def test_a_checkpoint_is_a_file_of_weights(saved):
    model, report = load_l2cs(saved)
    kept = checkpoints.load(saved).load_into(rebuild(checkpoints.load(saved).config, "model"))
    images = torch.randint(0, 256, (2, 3, 40, 40))
    with torch.no_grad():
        assert torch.equal(model(images)["gaze"], kept(images)["gaze"])
    assert (report.origin, report.licence, model.image_size) == ("own checkpoint", "", 32)


@pytest.mark.slow
def test_training_goes_on_from_a_checkpoint_and_from_a_folded_graph_which_may_then_go(crops, saved, tmp_path):
    """A checkpoint rebuilds its model without the file that it started from."""
    given = Path(shutil.copy(saved, tmp_path / "given.ckpt"))
    torch.manual_seed(0)
    graph = export(lively(Official()), tmp_path / "l2cs_net.onnx", dynamo=False, opset_version=17)
    for number, (weights, extra) in enumerate([(given, ()), (graph, ("model.image_size=32",))]):
        done = run(crops, tmp_path / str(number), f"model.weights={weights}", "actions=[train]", *extra)
        weights.unlink()
        made = checkpoints.best_in(done.folder)
        options = checkpoints.load(made).config["model"]
        assert (options["arch"], options["weights"]) == ("resnet18", None)
        assert options["frozen_norm"] is (weights == graph)
        again = program(
            "actions=[evaluate,export]", f"checkpoint={made}", "hardware=cpu", cwd=tmp_path / f"again{number}"
        )
        assert again.code == 0, again.err
        assert load_l2cs(made)[0].frozen_norm is (weights == graph)


@pytest.mark.slow
def test_a_checkpoint_predicts_from_faces_alone(crops, saved, tmp_path):
    source = next((crops / "test01").rglob("*.h5"))
    done = program("actions=[predict]", f"checkpoint={saved}", f"predict.source={source}", "hardware=cpu", cwd=tmp_path)
    assert done.code == 0, done.err
    assert (done.folder / "predictions.csv").is_file()


def test_no_weights_end_before_the_data_are_looked_at(tmp_path):
    (tmp_path / "nowhere").mkdir()
    done = program("task=l2cs_train", "data.root=nowhere", "hardware=cpu", cwd=tmp_path)
    assert done.code != 0
    assert "model.weights: nothing given" in done.err
    assert "nowhere" not in done.err


@pytest.mark.slow
def test_a_checkpoint_of_another_model_is_refused_by_its_name(checkpoint):
    from gaze_exp.errors import DataError

    with pytest.raises(DataError, match="is a checkpoint of GazeTRLite"):
        L2CS(weights=checkpoint)
