"""task=l2cs_finetune from end to end: its table, its refusals, the same numbers again and after an interruption."""

import json
import shutil

import pytest
import torch
from calibration_samples import CPU, random_net, taught_net, wishes, write_set
from conftest import program

from gaze_exp.errors import ConfigError, DataError
from gaze_exp.personal.adapters import HeadOnly, NothingTrained
from gaze_exp.personal.comparison import METHODS
from gaze_exp.personal.mirror import decide
from gaze_exp.personal.model import load_personal
from gaze_exp.personal.personalise import personalise

TINY = (
    "task=l2cs_finetune", "actions=[finetune]", "hardware=cpu", "hardware.num_workers=1", "model.image_size=48",
    "finetune.mirrored=true", "finetune.epochs=2", "finetune.views_per_epoch=2", "finetune.bank_views=2",
)  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A prepared calibration and a base that knows something."""
    folder = tmp_path_factory.mktemp("finetune")
    data = write_set(folder / "dataset_clean", targets=10, photos_each=2, sessions=2)
    torch.save(taught_net(data).state_dict(), folder / "base.pt")
    return folder


def finetune(place, *arguments, cwd):
    base = f"model.weights={place / 'base.pt'}"
    return program(*TINY, base, f"data.root={place / 'dataset_clean'}", *arguments, cwd=cwd)


@pytest.fixture(scope="module")
def tuned(place, tmp_path_factory):
    done = finetune(place, "adapt=head", cwd=tmp_path_factory.mktemp("tuned"))
    assert done.code == 0, done.err
    return done


def test_the_table_has_all_six_rows_in_degrees_and_pixels(tuned):
    metrics = tuned.read("metrics.json")
    assert tuple(row["method"] for row in metrics["table"]) == METHODS
    for row in metrics["table"]:
        assert row["mean_px"] == pytest.approx(row["mean_deg"] / 0.0307, abs=0.01)
        low, high = row["ci95_deg"]
        assert low <= row["mean_deg"] <= high
        assert row["median_deg"] <= row["p90_deg"] <= row["max_deg"]
    assert tuple(row["method"] for row in metrics["by_session"]) == METHODS
    assert metrics["verdict"]["of"] == "fine-tuned"
    assert metrics["verdict"]["over"] == "base + affine"
    assert len(metrics["fold_epochs"]) == metrics["num_targets"] == 10


def test_the_word_better_stands_only_where_it_is_proven(tuned):
    verdict = tuned.read("metrics.json")["verdict"]
    assert ("better" in verdict["text"]) == verdict["better"] == (verdict["ci95_deg"][0] > 0)
    assert ("no proof of a gain" in tuned.out + (tuned.folder / "gaze_exp.log").read_text()) != verdict["better"]


def test_the_model_carries_what_export_needs_and_answers_as_trained(tuned, place):
    model, facts = load_personal(tuned.folder / "checkpoints" / "personal.pt")
    assert facts["geometry"]["deg_per_pixel"] == 0.0307
    assert facts["size_px"] == 48
    assert facts["mirrored"]["mirrored"] is True
    assert facts["split_sha256"] == json.loads((tuned.folder / "split.json").read_text())["sha256"]
    assert len(facts["base"]["sha256"]) == 64
    assert facts["verdict"]["text"] == tuned.read("metrics.json")["verdict"]["text"]
    base = torch.load(place / "base.pt", weights_only=True)
    state = model.net.state_dict()
    frozen = [name for name in state if not name.startswith("fc_")]
    assert frozen
    assert all(torch.equal(state[name], base[name]) for name in frozen)
    alternative, about = load_personal(tuned.folder / "checkpoints" / "base_affine.pt")
    assert about["method"] == "base + affine"
    assert torch.equal(alternative.net.fc_yaw_gaze.weight, base["fc_yaw_gaze.weight"])


def test_the_report_needs_no_other_file_and_shows_no_photo(tuned):
    page = (tuned.folder / "report.html").read_text()
    assert "<script" not in page
    assert all(source.startswith("data:image/png") for source in page.split('src="')[1:])
    assert page.count("<img") == 3
    for text in ("On the screen", "A session never seen", "fine-tuned + affine", "raise your"):
        assert (text in page) == (text != "raise your")


def test_predictions_are_on_the_screen_line_by_line(tuned):
    lines = (tuned.folder / "predictions.csv").read_text().splitlines()
    assert len(lines) == 21
    assert lines[0].startswith("filename,session,target,target_x_px,target_y_px,constant x px")


def test_the_same_seed_gives_the_same_numbers(tuned, place, tmp_path):
    again = finetune(place, "adapt=head", cwd=tmp_path)
    assert again.read("metrics.json") == tuned.read("metrics.json")


def test_a_resumed_run_does_no_fold_twice_and_ends_with_the_same_numbers(tuned, place, tmp_path):
    run = shutil.copytree(tuned.folder, tmp_path / "run")
    shutil.rmtree(run / "checkpoints")
    kept = sorted(run.glob("folds/*.pt"))
    for path in (run / "metrics.json", run / "report.html", *kept[3:]):
        path.unlink()
    before = [path.stat().st_mtime_ns for path in kept[:3]]
    again = program(f"resume={run}", cwd=tmp_path)
    assert again.code == 0, again.err
    assert json.loads((run / "metrics.json").read_text()) == tuned.read("metrics.json")
    assert [path.stat().st_mtime_ns for path in kept[:3]] == before
    there, now = (load_personal(f / "checkpoints" / "personal.pt")[0].state_dict() for f in (tuned.folder, run))
    assert all(torch.equal(there[name], now[name]) for name in there)


def test_a_fold_of_other_options_is_made_anew(place, tuned, tmp_path):
    run = shutil.copytree(tuned.folder, tmp_path / "run")
    again = program(f"resume={run}", "finetune.lr=1e-2", cwd=tmp_path)
    assert again.code == 0, again.err
    assert json.loads((run / "metrics.json").read_text())["table"][4] != tuned.read("metrics.json")["table"][4]
    assert "made anew" in (run / "gaze_exp.log").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("choice", ["adapt=layer4", "adapt=lora", "finetune.head=bins"])
def test_every_adapter_gives_a_model(place, tmp_path, choice):
    done = finetune(place, choice, "finetune.epochs=1", cwd=tmp_path)
    assert done.code == 0, done.err
    model, _ = load_personal(done.folder / "checkpoints" / "personal.pt")
    assert torch.isfinite(model(torch.zeros(1, 3, 48, 48))).all()


def test_too_few_photos_are_refused_and_an_affine_map_is_made_of_them(place, tmp_path):
    write_set(tmp_path / "few", targets=5, photos_each=2)
    few = f"data.root={tmp_path / 'few'}"
    refused = finetune(place, few, cwd=tmp_path / "refused")
    assert refused.code != 0
    assert "5 of the 9 targets that it needs and 10 of the 20 photos that it needs" in refused.err
    assert "adapt=affine makes the best of them" in refused.err
    assert not list(tmp_path.glob("refused/outputs/**/personal.pt"))
    done = finetune(place, few, "adapt=affine", cwd=tmp_path / "affine")
    assert done.code == 0, done.err
    methods = [row["method"] for row in done.read("metrics.json")["table"]]
    assert methods == ["constant", "base", "base + offset", "base + affine"]
    assert load_personal(done.folder / "checkpoints" / "personal.pt")[1]["method"] == "base + affine"


@pytest.mark.parametrize(
    ("choice", "told"),
    [
        ("model=gazetr_tiny", "model"),
        ("finetune.head=both", "linear or bins is"),
        ("finetune.epochs=0", "finetune.epochs: 0 is too few"),
        ("finetune.mirrored=perhaps", "auto, true or false is"),
        ("data.root=nowhere", "there is no such folder"),
    ],
)
def test_what_cannot_work_is_refused_in_one_line(place, tmp_path, choice, told):
    overrides = [o for o in TINY if not (choice.startswith("model=") and o.startswith("model."))]
    base = [] if choice.startswith("model=") else [f"model.weights={place / 'base.pt'}"]
    done = program(*overrides, *base, f"data.root={place / 'dataset_clean'}", choice, cwd=tmp_path)
    assert done.code != 0
    assert told in done.err
    assert "Traceback" not in done.err


def test_the_mirror_is_told_by_the_base_or_asked_for():
    x = torch.linspace(0, 1700, 12).double()
    assert decide("auto", base_yaw_deg=-0.02 * x, target_x_px=x)[0] is True
    assert decide("auto", base_yaw_deg=0.02 * x, target_x_px=x)[0] is False
    noise = torch.randn(12, generator=torch.Generator().manual_seed(0)).double()
    with pytest.raises(ConfigError, match=r"finetune\.mirrored: auto cannot tell .* true is right for the client's"):
        decide("auto", base_yaw_deg=noise, target_x_px=x)
    chosen, how = decide(False, base_yaw_deg=-0.02 * x, target_x_px=x)
    assert chosen is False
    assert "as in photos that are mirrored" in how


@pytest.mark.parametrize("mirrored", [True, False])
def test_right_and_down_are_positive_whatever_the_mirror(tmp_path, mirrored):
    data = write_set(tmp_path / "set", targets=12, photos_each=2)
    base = taught_net(data, mirrored=mirrored)
    asked = wishes(adapter=NothingTrained(), mirrored="auto")
    outcome = personalise(data, base, wishes=asked, device=CPU, folder=tmp_path)
    assert outcome.model.mirrored is mirrored
    with torch.no_grad():
        answers = outcome.model(data.images()).double()
    together = torch.cat([answers, data.angles_deg], dim=1).T
    assert torch.corrcoef(together)[0, 2] > 0.8
    assert torch.corrcoef(together)[1, 3] > 0.8


def test_labels_without_meaning_never_look_better_than_a_constant(tmp_path):
    order = torch.randperm(12, generator=torch.Generator().manual_seed(1)).tolist()
    real = write_set(tmp_path / "real", targets=12, photos_each=2)
    shuffled = write_set(tmp_path / "set", targets=12, photos_each=2)
    mixed = torch.tensor(order + [12 + i for i in order])
    object.__setattr__(shuffled, "angles_deg", real.angles_deg[mixed])
    object.__setattr__(shuffled, "target", real.target[mixed])
    asked = wishes(adapter=HeadOnly(), recipe={"epochs": 4})
    outcome = personalise(shuffled, random_net(), wishes=asked, device=CPU, folder=tmp_path)
    over_constant = next(gain for gain in outcome.metrics["gains"] if gain["over"] == "constant")
    assert not over_constant["better"]
    errors = {row["method"]: row["mean_deg"] for row in outcome.metrics["table"]}
    assert errors["fine-tuned"] > 0.9 * errors["constant"]


def test_the_same_photo_of_two_targets_is_refused(tmp_path):
    data = write_set(tmp_path / "set", targets=10, photos_each=2)
    shutil.copy(data.folder / data.filenames[0], data.folder / data.filenames[1])
    with pytest.raises(DataError, match="the same picture stands on both sides"):
        personalise(data, random_net(), wishes=wishes(adapter=HeadOnly()), device=CPU, folder=tmp_path)
