"""EyeNet and GazeTR are what was published, part for part."""

import math

import pytest
import torch
from test_models import num_parameters, pixels
from torch import nn
from torchvision.models import resnet18

from gaze_exp.config import build, compose
from gaze_exp.data.synthetic.drawing import draw_scene
from gaze_exp.data.synthetic.person import draw_person
from gaze_exp.data.synthetic.rigs import ABOVE, BELOW
from gaze_exp.data.synthetic.views import eye_views, face_view
from gaze_exp.errors import ConfigError
from gaze_exp.geometry import angular_error, pitch_yaw_to_vector, vector_to_pitch_yaw
from gaze_exp.models.eyenet import EyeNet
from gaze_exp.models.gazetr import GazeTR, PlacedAttention
from gaze_exp.models.instance_norm_resnet import resnet18_instance_norm


def small_eyenet(*, seed=0, **options):
    """A reduced one that has learnt something: a fresh one answers (0, 0) whatever it sees."""
    torch.manual_seed(seed)
    model = EyeNet(width=8, image_size=64, num_features=16, **options)
    nn.init.normal_(model.head.angles.weight, std=0.3)
    return model.eval()


def small_gazetr(**options):
    torch.manual_seed(0)
    return GazeTR(**{"encoder": "gaze_plain8", "image_size": None, "map_size": 8, "depth": 2} | options).eval()


@pytest.mark.parametrize(
    ("choice", "count"),
    [("eyenet", 11_315_777), ("eyenet_gru", 11_398_337), ("gazetr", 11_420_738), ("resnet18", 11_308_354)],
)
def test_a_rival_has_exactly_the_parameters_that_were_published(choice, count):
    cfg = compose([f"model={choice}", "run_dir=here"])
    if "pretrained" in cfg.model:
        cfg.model.pretrained = False
    with torch.device("meta"):
        assert num_parameters(build(cfg.model, key="model")) == count


# EyeNet.


def test_the_trunk_is_torchvisions_resnet_with_instance_norm():
    theirs = resnet18(norm_layer=nn.InstanceNorm2d, num_classes=128).eval()
    ours = resnet18_instance_norm(width=64, num_features=128).eval()
    ours.load_state_dict(theirs.state_dict())
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.allclose(ours(images), theirs(images), atol=1e-5)


@pytest.mark.parametrize("recurrent", [False, True], ids=["static", "gru"])
def test_a_fresh_eyenet_looks_exactly_straight_ahead(recurrent):
    output = EyeNet(width=8, image_size=64, recurrent=recurrent)(pixels(2, 32), pixels(2, 32, seed=1))
    assert not output["gaze_left"].any()
    assert not output["gaze"].any()


def test_both_eyes_are_asked_of_one_net_that_does_not_know_which_is_which():
    model = small_eyenet()
    left, right = pixels(3, 32), pixels(3, 32, seed=1)
    heads = torch.randn(2, 3, 2)
    with torch.no_grad():
        output, swapped = model(left, right, *heads), model(right, left, *heads.flip(0))
    assert torch.allclose(output["gaze_left"], swapped["gaze_right"], atol=1e-6)
    assert torch.allclose(output["pupil_left_mm"], swapped["pupil_right_mm"], atol=1e-6)
    assert torch.allclose(output["gaze"], swapped["gaze"], atol=1e-6)
    assert not torch.allclose(output["gaze_left"], output["gaze_right"], atol=1e-4)


def test_the_gaze_of_the_face_is_the_mean_direction_of_both_eyes():
    output = small_eyenet()(pixels(3, 32), pixels(3, 32, seed=1))
    both = [pitch_yaw_to_vector(output[name]) for name in ("gaze_left", "gaze_right")]
    assert torch.allclose(output["gaze"], vector_to_pitch_yaw((both[0] + both[1]) / 2), atol=1e-6)


@pytest.mark.parametrize("rig", [ABOVE, BELOW], ids=["camera_above", "camera_below"])
def test_the_mean_direction_of_both_eyes_misses_the_gaze_of_the_face_by_half_a_degree(rig):
    """The best that EyeNet's answer can be: true gazes of the eyes, put together as the model does."""
    errors_deg, turned_deg = [], []
    for number in range(1, 5):
        scene = draw_scene(draw_person(0, number=number), rig=rig, num_frames=50, seed=0, number=number)
        face, eyes = face_view(scene), eye_views(scene)
        own = [pitch_yaw_to_vector(eye.gaze) for eye in eyes]
        to_face = [face.rotation @ eye.rotation.transpose(-1, -2) for eye in eyes]
        turned = [(matrix @ each[..., None])[..., 0] for matrix, each in zip(to_face, own, strict=True)]
        errors_deg.append(torch.rad2deg(angular_error(vector_to_pitch_yaw(own[0] + own[1]), face.gaze)))
        turned_deg.append(torch.rad2deg(angular_error(vector_to_pitch_yaw(turned[0] + turned[1]), face.gaze)))
    assert torch.cat(errors_deg).mean() < 0.6
    assert torch.cat(turned_deg).mean() > 1.5


def test_the_head_pose_counts_and_an_unknown_one_is_read_as_straight():
    model = small_eyenet()
    left, right = pixels(2, 32), pixels(2, 32, seed=1)
    with torch.no_grad():
        without = model(left, right)["gaze"]
        unknown = model(left, right, torch.full((2, 2), torch.nan), torch.full((2, 2), torch.nan))["gaze"]
        turned = model(left, right, torch.full((2, 2), 0.5), torch.full((2, 2), 0.5))["gaze"]
    assert torch.equal(without, unknown)
    assert not torch.allclose(without, turned, atol=1e-4)


def test_the_gru_remembers_within_a_window_and_forgets_between_windows():
    model = small_eyenet(recurrent=True)
    left, right = (pixels(8, 32, seed=seed).unflatten(0, (2, 4)) for seed in (0, 1))
    with torch.no_grad():
        gaze = model(left, right)["gaze"]
        first = model(left[:, 0], right[:, 0])["gaze"]
        alone = model(left[:, 1], right[:, 1])["gaze"]
        shuffled = model(left.flip(0), right.flip(0))["gaze"]
        longer = model(left[:, :3], right[:, :3])["gaze"]
    assert gaze.shape == (2, 4, 2)
    assert torch.allclose(gaze[:, 0], first, atol=1e-6)
    assert not torch.allclose(gaze[:, 1], alone, atol=1e-4)
    assert torch.allclose(gaze, shuffled.flip(0), atol=1e-6)
    assert torch.allclose(gaze[:, :3], longer, atol=1e-6)


def test_every_weight_of_the_gru_learns_from_windows():
    model = small_eyenet(recurrent=True).train()
    left, right = (pixels(8, 32, seed=seed).unflatten(0, (2, 4)) for seed in (0, 1))
    output = model(left, right, torch.randn(2, 4, 2), torch.randn(2, 4, 2))
    (output["gaze"].sum() + output["pupil_left_mm"].sum() + output["pupil_right_mm"].sum()).backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.parameters())


def test_bf16_autocast_leaves_the_answer_of_eyenet_in_float32():
    model, eyes = small_eyenet(), (pixels(2, 32), pixels(2, 32, seed=1))
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        output = model(*eyes, torch.zeros(2, 2), torch.zeros(2, 2))
    assert {values.dtype for values in output.values()} == {torch.float32}
    with torch.no_grad():
        assert torch.allclose(output["gaze"], model(*eyes)["gaze"], atol=3e-2)


def test_eyes_too_small_for_an_instance_norm_are_refused():
    with pytest.raises(ConfigError, match=r"model\.image_size: 32 px .*; 64 or more"):
        EyeNet(image_size=32)


# GazeTR.


def test_gazetrs_attention_is_torchs_with_places_in_queries_and_keys_alone():
    torch.manual_seed(0)
    ours, theirs = PlacedAttention(32, num_heads=8, dropout=0.0), nn.MultiheadAttention(32, 8, batch_first=True)
    with torch.no_grad():
        ours.to_query_key.weight.copy_(theirs.in_proj_weight[:64])
        ours.to_query_key.bias.copy_(theirs.in_proj_bias[:64])
        ours.to_value.weight.copy_(theirs.in_proj_weight[64:])
        ours.to_value.bias.copy_(theirs.in_proj_bias[64:])
        ours.to_output.load_state_dict(theirs.out_proj.state_dict())
        tokens, places = torch.randn(2, 5, 32), torch.randn(5, 32)
        expected, _ = theirs(tokens + places, tokens + places, tokens)
        assert torch.allclose(ours(tokens, places), expected, atol=1e-6)


def test_gazetr_reads_a_map_of_seven_by_seven_and_a_class_token():
    model = GazeTR(token_width=8, depth=1, feedforward_width=8).eval()
    seen = {}
    model.layers[0].register_forward_pre_hook(lambda _module, inputs: seen.update(tokens=inputs[0], places=inputs[1]))
    with torch.no_grad():
        model(pixels(2, 64))
    assert seen["tokens"].shape == (2, 1 + 7 * 7, 8)
    assert seen["places"].shape == (1 + 7 * 7, 8)
    assert torch.equal(seen["tokens"][0, 0], model.class_token[0, 0])
    assert (seen["tokens"][:, 1:] >= 0).all()


def test_gazetr_sees_where_something_is():
    model = small_gazetr()
    with torch.no_grad():
        gaze = model(pixels(2, 64))["gaze"]
        model.places.copy_(model.places.flip(0))
        assert not torch.allclose(model(pixels(2, 64))["gaze"], gaze, atol=1e-4)


def test_a_map_of_another_size_is_refused_with_the_right_one():
    with pytest.raises(
        ConfigError, match=r"model\.map_size: 8 .* 64 px|model\.map_size: 4 .* has 8; model\.map_size=8"
    ):
        small_gazetr(map_size=4)(pixels(1, 64))


def test_the_reduced_rivals_fit_the_small_crops():
    for choice in ("eyenet_small", "eyenet_gru_small", "gazetr_small"):
        model = build(compose([f"model={choice}", "run_dir=here"]).model, key="model").eval()
        images = (pixels(2, 64),) if choice == "gazetr_small" else (pixels(2, 32), pixels(2, 32, seed=1))
        assert model(*images)["gaze"].abs().max() < math.pi / 2
