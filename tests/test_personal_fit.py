"""What a fine-tune changes and what it never touches; views, banks and their sizes."""

import copy

import pytest
import torch
from calibration_samples import CPU, STILL, random_net, taught_net, views_of, write_set
from torch import nn

from gaze_exp.errors import DataError
from gaze_exp.personal.adapters import HeadOnly, Layer4AndHead, LowRank, NothingTrained
from gaze_exp.personal.feature_bank import Device, FrozenViews, allocate, views_that_fit
from gaze_exp.personal.fit import Loop, Recipe, fit, predict
from gaze_exp.personal.model import PersonalModel
from gaze_exp.personal.photo_augment import PhotoAugment
from gaze_exp.personal.start import start_model

HEADS = {"bins": ("fc_yaw_gaze.", "fc_pitch_gaze."), "linear": ("fc_angles.",)}
RECIPE = Recipe(epochs=3, views_per_epoch=2, batch_size=8, lr=1e-3)
ADAPTERS = [HeadOnly(), Layer4AndHead(), LowRank(rank=2)]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_set(tmp_path_factory.mktemp("sets") / "dataset_clean", photos_each=1)


def started(data, adapter, *, head, base=None):
    base = base or random_net()
    views = views_of(data, base, pooled=not adapter.trains_late)
    features = views.clean if views.pooled else base.late(views.clean)
    model = start_model(base, features, data.angles_deg, target=data.target, head=head, mirrored=True)
    return model, views


@pytest.mark.parametrize("adapter", ADAPTERS, ids=lambda a: type(a).__name__)
@pytest.mark.parametrize("head", ["bins", "linear"])
def test_only_what_is_trained_changes_and_batch_norm_keeps_its_statistics(data, adapter, head):
    model, views = started(data, adapter, head=head)
    before = copy.deepcopy(model.state_dict())
    fit(model, views, data.angles_deg, torch.arange(8), adapter=adapter, recipe=RECIPE, epochs=3)
    after = model.state_dict()
    assert after.keys() == before.keys()
    changed = {name.removeprefix("net.") for name in after if not torch.equal(before[name], after[name])}
    allowed = (*HEADS[head], "layer4.") if adapter.trains_late else HEADS[head]
    assert all(name.startswith(allowed) for name in changed)
    assert not any("running" in name or "num_batches" in name for name in changed)
    assert all(any(name.startswith(part) for name in changed) for part in allowed)
    if isinstance(adapter, LowRank):
        assert all("conv" in name or "downsample.0" in name for name in changed if name.startswith("layer4"))


@pytest.mark.parametrize("adapter", ADAPTERS, ids=lambda a: type(a).__name__)
def test_the_optimiser_has_every_trained_parameter_once(adapter):
    model = PersonalModel(random_net(), mirrored=True)
    loop = Loop(model, adapter=adapter, recipe=RECIPE, device=CPU)
    listed = [id(p) for group in loop.optimizer.param_groups for p in group["params"]]
    trainable = [id(p) for p in model.parameters() if p.requires_grad]
    assert sorted(listed) == sorted(trainable)
    assert len(set(listed)) == len(listed)
    assert not any(module.training for module in model.net.modules() if isinstance(module, nn.BatchNorm2d))


def test_low_rank_trains_few_numbers_and_begins_as_the_base():
    net = random_net()
    wanted = net.late(net.early(torch.zeros(1, 3, 48, 48)))
    few = sum(p.numel() for p in LowRank(rank=2).prepare(net))
    assert torch.equal(net.late(net.early(torch.zeros(1, 3, 48, 48))), wanted)
    assert few < 0.05 * sum(p.numel() for p in Layer4AndHead().prepare(random_net()))
    assert NothingTrained().prepare(net) == []


def test_a_head_learns_eight_photos_by_heart(data, tmp_path):
    adapter = HeadOnly()
    model, views = started(data, adapter, head="linear")
    views.fill(2, folder=tmp_path, on_views=lambda _: None)
    eight = torch.arange(8)
    recipe = Recipe(epochs=80, views_per_epoch=10, lr=3e-2, batch_size=8)
    fit(model, views, data.angles_deg, eight, adapter=adapter, recipe=recipe, epochs=80)
    assert (predict(model, views, eight) - data.angles_deg[eight]).norm(dim=1).mean() < 0.5


def test_the_start_answers_as_the_base_with_an_affine_map(data):
    base = taught_net(data, error_deg=9.0)
    for head, net in (("linear", base), ("linear", random_net()), ("bins", random_net())):
        model, views = started(data, Layer4AndHead(), head=head, base=net)
        error = (predict(model, views, torch.arange(10)) - data.angles_deg).norm(dim=1).mean()
        assert error < (6.0 if net is base else 25.0)


def test_pulling_to_the_start_keeps_the_weights_near_it(data, tmp_path):
    moved = []
    for pull in (0.0, 1e4):
        adapter = HeadOnly()
        model, views = started(data, adapter, head="linear")
        views.fill(2, folder=tmp_path, on_views=lambda _: None)
        before = model.net.fc_angles.weight.clone()
        recipe = Recipe(epochs=20, views_per_epoch=2, batch_size=8, lr=1e-3, pull_to_base=pull)
        fit(model, views, data.angles_deg, torch.arange(8), adapter=adapter, recipe=recipe, epochs=20)
        moved.append(float((model.net.fc_angles.weight - before).detach().norm()))
    assert 0 < moved[1] < 0.3 * moved[0]


def heads_after_each_epoch(data, folder, **options):
    """Weights of the head after 0, 1 and 2 epochs, from the same start."""
    weights = []
    for epochs in range(3):
        adapter = HeadOnly()
        model, views = started(data, adapter, head="linear")
        views.fill(2, folder=folder, on_views=lambda _: None)
        recipe = Recipe(epochs=2, views_per_epoch=2, batch_size=16, lr=1e-2, **options)
        fit(model, views, data.angles_deg, torch.arange(8), adapter=adapter, recipe=recipe, epochs=epochs)
        weights.append(model.net.fc_angles.weight.detach().clone())
    return weights


def test_a_warm_up_takes_small_first_steps(data, tmp_path):
    at_once = heads_after_each_epoch(data, tmp_path, warmup_epochs=0.0, average_epochs=0.0)
    slowly = heads_after_each_epoch(data, tmp_path, warmup_epochs=4.0, average_epochs=0.0)
    assert torch.equal(at_once[0], slowly[0])
    # One step an epoch; Adam's first is as large as its rate, here a quarter of it.
    torch.testing.assert_close(slowly[1] - slowly[0], (at_once[1] - at_once[0]) / 4, rtol=1e-3, atol=1e-6)


def test_the_kept_weights_are_the_average_of_those_after_each_step(data, tmp_path):
    last = heads_after_each_epoch(data, tmp_path, warmup_epochs=0.0, average_epochs=0.0)
    averaged = heads_after_each_epoch(data, tmp_path, warmup_epochs=0.0, average_epochs=100.0)
    torch.testing.assert_close(averaged[1], (last[0] + last[1]) / 2)
    torch.testing.assert_close(averaged[2], (last[0] + last[1] + last[2]) / 3)


def test_early_stopping_ends_after_its_patience_and_keeps_the_best_answers(data):
    adapter = Layer4AndHead()
    model, views = started(data, adapter, head="linear")
    recipe = Recipe(epochs=30, views_per_epoch=2, batch_size=8, lr=3e-2, patience=2)
    done = fit(
        model, views, data.angles_deg, torch.arange(6), adapter=adapter, recipe=recipe, epochs=30,
        val=torch.arange(6, 10),
    )  # fmt: skip
    errors = [row["val_error_deg"] for row in done.curve]
    assert done.best_epoch == errors.index(min(errors))
    assert len(errors) == min(31, done.best_epoch + 3)
    error = (done.best_predicted - data.angles_deg[6:]).norm(dim=1).mean()
    assert float(error) == pytest.approx(min(errors))


def test_a_view_depends_on_its_number_and_the_seed_alone():
    photo = torch.randint(0, 256, (3, 40, 40), dtype=torch.uint8)
    augment = PhotoAugment()
    drawn = [augment.view(photo, number=n, seed=s) for n, s in ((5, 0), (6, 0), (5, 1), (5, 0))]
    assert torch.equal(drawn[0], drawn[3])
    assert not torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert torch.equal(drawn[0], PhotoAugment().view(photo, number=5, seed=0))


def test_a_shift_is_small_and_brings_no_black_border():
    photo = torch.full((3, 448, 448), 200, dtype=torch.uint8)
    photo[:, 200:248, 200:248] = 20
    only_shift = PhotoAugment(brightness=0.0, contrast=0.0, saturation=0.0, blur_sigma_px=0.1, iso_noise=0.05)
    offsets = []
    for number in range(12):
        dark = (only_shift.view(photo, number=number, seed=0).float().mean(0) < 110).nonzero().float()
        assert dark.min() > 150
        assert dark.max() < 300
        offsets.append(dark.mean(0) - 223.5)
    furthest = torch.stack(offsets).abs().max()
    assert 1 < furthest < 12


def test_a_bank_holds_what_fresh_views_give(data, tmp_path):
    net = random_net()
    views = views_of(data, net, augment=PhotoAugment())
    photo, view = torch.tensor([3, 0, 3]), torch.tensor([0, 1, 1])
    fresh = views.take(photo, view)
    told = []
    views.fill(2, folder=tmp_path, on_views=told.append)
    assert sum(told) == 20
    assert torch.allclose(views.take(photo, view), fresh, atol=2e-2, rtol=2e-3)
    assert torch.equal(views.take(photo, view + 2), views.take(photo, view)), "begins again"
    assert not torch.equal(views.bank[:, 0], views.bank[:, 1])
    assert list(tmp_path.iterdir()) == []


def test_a_bank_too_large_holds_fewer_views_or_lies_in_a_file(tmp_path, monkeypatch):
    assert views_that_fit(50, bytes_a_view=1000, num_photos=10, most_gib=1.0) == 50
    assert views_that_fit(50, bytes_a_view=2**20, num_photos=2**10, most_gib=3.0) == 3
    assert views_that_fit(50, bytes_a_view=2**20, num_photos=2**10, most_gib=0.5) == 0
    monkeypatch.setattr("gaze_exp.personal.feature_bank.free_memory_bytes", lambda: 100)
    mapped = allocate((2, 3, 4), device=CPU, folder=tmp_path)
    mapped[1, 2] = 7.0
    assert mapped[1, 2].tolist() == [7.0] * 4
    with pytest.raises(DataError, match=r"finetune\.bank_views=0 does without"):
        allocate((2**40, 2**10), device=CPU, folder=tmp_path)


def test_features_beyond_fp16_are_refused_with_the_way_out(data, tmp_path):
    net = random_net()
    net.layer3[1].bn2.bias.fill_(1e6)
    views = FrozenViews(net, data.images(), augment=STILL, pooled=False, device=CPU, seed=0)
    with pytest.raises(DataError, match=r"finetune\.bank_views"):
        views.fill(1, folder=tmp_path, on_views=lambda _: None)


def test_bf16_trains_too(data):
    adapter, device = Layer4AndHead(), Device("cpu", autocast=True, num_threads=1, channels_last=True)
    model, views = started(data, adapter, head="linear")
    views.device = device
    done = fit(model, views, data.angles_deg, torch.arange(8), adapter=adapter, recipe=RECIPE, epochs=3)
    losses = [row["train_loss"] for row in done.curve[1:]]
    assert losses[-1] < losses[0]
    assert {p.dtype for p in model.parameters()} == {torch.float32}
