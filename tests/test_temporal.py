"""Temporal models: one frame at a time, a window and a recording get the same answer, and no frame sees a later one."""

import json

import onnx
import pytest
import torch

from gaze_exp.augment import FlipAugment, PhotometricAugment
from gaze_exp.batch import model_inputs
from gaze_exp.errors import ConfigError
from gaze_exp.losses import AngularMSE
from gaze_exp.metrics import AngularError
from gaze_exp.models.gazetr import GazeTR
from gaze_exp.models.gazetr_hybrid import GazeTRHybrid
from gaze_exp.models.gazetr_lite import GazeTRLite
from gaze_exp.models.gazetr_multitask import GazeTRMultitask
from gaze_exp.models.l2cs import L2CS
from gaze_exp.models.temporal import TemporalGaze
from gaze_exp.models.temporal_mixers import CausalTransformer, GRUMixer
from gaze_exp.models.timm_face import TimmFace
from gaze_exp.onnx_export import latency
from gaze_exp.onnx_streaming import compare_streaming, export_streaming, streaming_inputs
from gaze_exp.predictions import collect

WIDTH, LENGTH = 16, 7
MIXERS = {
    "gru": lambda: GRUMixer(width=WIDTH, num_layers=2, dropout=0.0),
    "transformer": lambda: CausalTransformer(
        width=WIDTH, depth=2, num_heads=2, feedforward_width=32, context=4, dropout=0.0
    ),
}


def lite():
    return GazeTRLite(
        encoder="gaze_plain8", pretrained=False, token_width=16, depth=1, num_heads=2, feedforward_width=32,
        head_width=16, dropout=0.0,
    )  # fmt: skip


def temporal(mixer, *, frame_model=None, **options):
    """A model whose last layers do something: a fresh one answers as its frame model does."""
    torch.manual_seed(0)
    model = TemporalGaze(
        frame_model=frame_model or lite(), mixer=MIXERS[mixer](), token_width=WIDTH, head_width=16, dropout=0.0,
        **options,
    )  # fmt: skip
    torch.nn.init.normal_(model.correction.angles.weight, std=0.5)
    for parameter in model.mixer.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return model


def windows(num=2, length=LENGTH):
    random = torch.Generator().manual_seed(1)

    def images(size):
        shape = (num, length, size, size, 3)
        return torch.randint(0, 256, shape, dtype=torch.uint8, generator=random).movedim(-1, -3)

    return {
        "face": images(32),
        "left_eye": images(16),
        "right_eye": images(16),
        "gaze": torch.rand(num, length, 2, generator=random) - 0.5,
        "head": torch.rand(num, length, 2, generator=random) - 0.5,
        "valid": torch.rand(num, length, generator=random) < 0.7,
        "subject": torch.zeros(num, length, dtype=torch.int64),
        "row": torch.arange(num * length).view(num, length),
    }


def answer(model, batch):
    with torch.no_grad():
        return model.eval()(**model_inputs(model, batch))["gaze"]


@pytest.mark.parametrize("mixer", MIXERS)
@pytest.mark.parametrize("chunk", [1, 3])
def test_one_frame_at_a_time_gives_what_the_window_gives(mixer, chunk):
    model, batch = temporal(mixer).eval(), windows(length=11)
    expected, state, parts = answer(model, batch), model.initial_state(2), []
    with torch.no_grad():
        for start in range(0, 11, chunk):
            images = {key: each[:, start : start + chunk] for key, each in model_inputs(model, batch).items()}
            gaze, state = model.go_on(images, state)
            parts.append(gaze)
    assert (torch.cat(parts, dim=1) - expected).abs().max() < 1e-5
    assert expected.std() > 0.01


@pytest.mark.parametrize("mixer", MIXERS)
def test_no_frame_sees_a_later_one_and_each_sees_the_one_before(mixer):
    model, batch = temporal(mixer), windows()
    before = answer(model, batch)
    batch["face"] = batch["face"].clone()
    batch["face"][:, 4] = 255 - batch["face"][:, 4]
    after = answer(model, batch)
    assert torch.equal(before[:, :4], after[:, :4])
    assert ((before - after).abs().amax(dim=(0, 2))[4:6] > 1e-4).all()


def test_the_transformer_forgets_what_lies_further_back_than_its_layers_reach():
    model, batch = temporal("transformer"), windows(length=9)
    before = answer(model, batch)
    batch["face"] = batch["face"].clone()
    batch["face"][:, 0] = 255 - batch["face"][:, 0]
    changed = (before - answer(model, batch)).abs().amax(dim=(0, 2)) > 1e-6
    assert changed.tolist() == [True] * 7 + [False] * 2  # two layers, each of four frames


@pytest.mark.parametrize("mixer", MIXERS)
def test_windows_of_a_batch_know_nothing_of_each_other(mixer):
    model, batch = temporal(mixer), windows()
    swapped = {key: each.flip(0) for key, each in batch.items()}
    assert torch.allclose(answer(model, swapped).flip(0), answer(model, batch), atol=1e-6)


@pytest.mark.parametrize("mixer", MIXERS)
def test_a_fresh_model_answers_as_its_frame_model_does(mixer):
    batch = windows()
    frame_model = lite()
    torch.nn.init.normal_(frame_model.head.angles.weight, std=0.3)
    model = TemporalGaze(frame_model=frame_model, mixer=MIXERS[mixer](), token_width=WIDTH)
    frames = {key: batch[key].flatten(0, 1) for key in ("face", "left_eye", "right_eye")}
    with torch.no_grad():
        expected = frame_model.eval()(**frames)["gaze"].unflatten(0, (2, LENGTH))
    assert torch.allclose(answer(model, batch), expected, atol=1e-6)


@pytest.mark.parametrize("mixer", MIXERS)
@pytest.mark.parametrize("autocast", [False, True], ids=["float32", "bf16"])
def test_every_parameter_gets_a_gradient(mixer, autocast):
    model, batch = temporal(mixer), windows()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        output = model(**model_inputs(model, batch))
        total = AngularMSE()(output, batch)["total"]
    total.backward()
    assert output["gaze"].dtype == total.dtype == torch.float32
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0 or "to_key_value.bias" in name, name


@pytest.mark.parametrize("mixer", MIXERS)
def test_a_frozen_frame_model_stays_as_it_is(mixer):
    model, batch = temporal(mixer, freeze_frame_model=True), windows()
    before = {name: value.clone() for name, value in model.frame_model.state_dict().items()}
    model.train()
    assert not any(part.training for part in model.frame_model.modules())
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    AngularMSE()(model(**model_inputs(model, batch)), batch)["total"].backward()
    optimizer.step()
    assert all(torch.equal(value, before[name]) for name, value in model.frame_model.state_dict().items())
    assert all(p.grad is None for p in model.frame_model.parameters())
    assert all(p.grad is not None for p in model.mixer.parameters())


def test_it_reads_what_its_frame_model_reads():
    batch = windows()
    assert set(model_inputs(temporal("gru"), batch)) == {"face", "left_eye", "right_eye"}
    face = TimmFace("gaze_plain8", pretrained=False, head_width=16, dropout=0.0)
    assert set(model_inputs(temporal("gru", frame_model=face), batch)) == {"face"}
    assert answer(temporal("gru", frame_model=face), batch).shape == (2, LENGTH, 2)


FRAME_MODELS = {
    "gazetr": lambda: GazeTR(encoder="gaze_plain8", image_size=None, map_size=4, depth=1, dropout=0.0),
    "l2cs": lambda: L2CS(arch="resnet18", pretrained="none", image_size=None),
    "l2cs_linear": lambda: L2CS(arch="resnet18", pretrained="none", image_size=None, head="linear"),
    "gazetr_hybrid": lambda: GazeTRHybrid(
        face_encoder="test_vit", eye_encoder="test_vit", pretrained=False, face_size=64, eye_size=32, width=16, depth=1,
        num_heads=2, feedforward_width=32, head_width=16, dropout=0.0,
    ),
    "gazetr_multitask": lambda: GazeTRMultitask(
        encoder="gaze_plain8", pretrained=False, token_width=16, depth=1, num_heads=2, feedforward_width=32,
        head_width=16, dropout=0.0,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FRAME_MODELS)
def test_any_single_frame_model_goes_under_it_and_keeps_its_answer(name):
    torch.manual_seed(0)
    frame_model, batch = FRAME_MODELS[name]().eval(), windows(length=3)
    model = TemporalGaze(frame_model=frame_model, mixer=MIXERS["gru"](), token_width=WIDTH).eval()
    frames = {key: each.flatten(0, 1) for key, each in model_inputs(model, batch).items()}
    with torch.no_grad():
        expected = frame_model(**frames)["gaze"].unflatten(0, (2, 3))
    assert torch.allclose(answer(model, batch), expected, atol=1e-5)


def test_single_frames_and_models_without_features_are_refused():
    model, batch = temporal("gru"), windows()
    with pytest.raises(ConfigError, match="sequence_length=16"):
        model(**{key: each[:, 0] for key, each in model_inputs(model, batch).items()})
    with pytest.raises(ConfigError, match="Linear has no features, num_features, gaze_of"):
        TemporalGaze(frame_model=torch.nn.Linear(2, 2), mixer=MIXERS["gru"]())


@pytest.mark.slow
@pytest.mark.parametrize("mixer", MIXERS)
def test_the_exported_file_takes_frame_and_state_and_answers_as_the_window_does(mixer, tmp_path):
    model, batch = temporal(mixer).eval(), windows(num=3)
    path = export_streaming(model, batch, tmp_path / "model.onnx", metadata={"task": "test"})
    assert compare_streaming(path, model, [batch, windows(num=1, length=20)]) < 1e-4
    graph = onnx.load(path)
    assert [node.name for node in graph.graph.input] == ["face", "left_eye", "right_eye", "state"]
    assert [node.name for node in graph.graph.output] == ["gaze", "next_state"]
    told = {entry.key: entry.value for entry in graph.metadata_props}
    assert tuple(json.loads(told["state"])) == model.mixer.state_shape
    (row,) = latency(path, streaming_inputs(model, batch), threads=(1,), num_runs=2)
    assert row["median_ms"] > 0


# What windows pass on their way.


def flat(batch):
    return {key: each.flatten(0, 1) for key, each in batch.items()}


def test_losses_and_metrics_count_each_labelled_frame_of_a_window_alike():
    batch, predicted = windows(), torch.rand(2, LENGTH, 2) - 0.5
    batch["gaze"][~batch["valid"]] = torch.nan
    of_windows = AngularMSE()({"gaze": predicted}, batch)["total"]
    alone = AngularMSE()({"gaze": predicted.flatten(0, 1)}, flat(batch))["total"]
    assert float(of_windows) == pytest.approx(float(alone))
    metric, alone = AngularError(), AngularError()
    metric.update(predicted, batch["gaze"], batch["valid"])
    alone.update(*(x.flatten(0, 1) for x in (predicted, batch["gaze"], batch["valid"])))
    assert metric.compute() == alone.compute()


def test_a_video_does_not_flicker():
    torch.manual_seed(0)
    batch = windows(num=8)
    still = {key: batch[key][:, :1].expand_as(batch[key]) for key in ("face", "left_eye", "right_eye")}
    augment = PhotometricAugment(noise_probability=0.0, blur_probability=0.5, flip_probability=0.5)
    done = augment(batch | still)
    for key, given in still.items():
        assert torch.equal(done[key], done[key][:, :1].expand_as(done[key])), key
        assert not torch.equal(done[key], given.float())
    assert len({float(window.mean()) for window in done["face"]}) == 8


def test_the_noise_of_a_video_changes_from_frame_to_frame_and_its_level_does_not():
    torch.manual_seed(0)
    names = ("brightness", "contrast", "saturation", "hue", "greyscale_probability", "blur_probability")
    batch = windows(num=6)
    grey = {key: torch.full_like(batch[key], 128) for key in ("face", "left_eye", "right_eye")}
    done = PhotometricAugment(**dict.fromkeys(names, 0.0), noise_probability=1.0)(batch | grey)["face"] - 128
    assert not torch.equal(done[:, 0], done[:, 1])
    level = done.flatten(2).std(dim=2)
    assert (level.std(dim=1) / level.mean(dim=1) < 0.05).all()
    assert level.mean(dim=1).std() > 0.5


def test_a_window_is_flipped_as_a_whole_with_its_labels():
    torch.manual_seed(0)
    batch = windows(num=16)
    flipped = FlipAugment(0.5)(batch)
    turned = (flipped["gaze"][..., 1] == -batch["gaze"][..., 1]).all(dim=1)
    kept = (flipped["gaze"][..., 1] == batch["gaze"][..., 1]).all(dim=1)
    assert (turned ^ kept).all()
    assert turned.any()
    assert kept.any()
    assert torch.equal(flipped["left_eye"][turned], batch["right_eye"][turned].flip(-1))
    assert torch.equal(flipped["face"][kept], batch["face"][kept])
    assert torch.equal(flipped["head"][turned], batch["head"][turned] * torch.tensor([1.0, -1.0]))


def test_predictions_are_frames_without_what_fills_up_a_window():
    model, batch = temporal("gru"), windows()
    batch["row"][1, 5:] = -1
    found = collect(model, [batch], device="cpu", subjects=["p"])
    assert found.row.tolist() == list(range(12))
    assert torch.allclose(found.predicted, answer(model, batch).flatten(0, 1)[:12])
    assert found.head.shape == (12, 2)
