import time

import pytest
import timm
import torch
from safetensors.torch import save_file

from gaze_exp.errors import ConfigError
from gaze_exp.models import encoder_weights
from gaze_exp.models.gazetr_hybrid import GazeTRHybrid
from gaze_exp.models.gazetr_lite import GazeTRLite
from gaze_exp.models.timm_encoder import TimmEncoder
from gaze_exp.models.timm_face import TimmFace


def pixels(num, size_px, seed=0):
    """uint8 NCHW over NHWC memory, as the loader gives them."""
    rows = torch.randint(
        0, 256, (num, size_px, size_px, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed)
    )
    return rows.permute(0, 3, 1, 2)


def tiny_lite(**options):
    return GazeTRLite(
        **{
            "encoder": "gaze_plain8",
            "pretrained": False,
            "token_width": 32,
            "depth": 1,
            "num_heads": 2,
            "feedforward_width": 64,
            "head_width": 16,
        }
        | options
    )


def tiny_hybrid(**options):
    return GazeTRHybrid(
        **{
            "face_encoder": "test_vit",
            "eye_encoder": "test_vit",
            "pretrained": False,
            "face_size": 64,
            "eye_size": 32,
            "width": 32,
            "depth": 1,
            "num_heads": 2,
            "feedforward_width": 64,
            "head_width": 16,
        }
        | options
    )


def num_parameters(model):
    return sum(parameter.numel() for parameter in model.parameters())


# Exact counts, on the meta device: no memory, no random numbers.


@pytest.mark.parametrize(
    ("build", "count"),
    [
        (lambda: GazeTRLite(pretrained=False), 35_622_274),
        (lambda: GazeTRLite(pretrained=False, share_eye_encoder=False), 47_061_442),
        (lambda: GazeTRHybrid(pretrained=False), 114_703_618),
        (lambda: TimmFace(pretrained=False), 24_033_090),
    ],
    ids=["lite", "lite_own_eyes", "hybrid", "timm_face"],
)
def test_a_model_has_exactly_the_parameters_its_docs_say(build, count):
    with torch.device("meta"):
        assert num_parameters(build()) == count


def test_an_eye_encoder_of_its_own_costs_one_encoder_and_one_projection():
    shared, apart = tiny_lite(), tiny_lite(share_eye_encoder=False)
    extra = num_parameters(shared.eye_encoders[0]) + num_parameters(shared.eye_projections[0])
    assert num_parameters(apart) - num_parameters(shared) == extra


# What goes in and what comes out.


@pytest.mark.parametrize("build", [tiny_lite, tiny_hybrid], ids=["lite", "hybrid"])
def test_uint8_and_float_pixels_give_the_same_gaze(build):
    model = build().eval()
    face, left, right = pixels(3, 64), pixels(3, 32, seed=1), pixels(3, 32, seed=2)
    with torch.no_grad():
        from_bytes = model(face, left, right)["gaze"]
        from_floats = model(face.float(), left.float(), right.float())["gaze"]
    assert from_bytes.dtype == torch.float32
    assert from_bytes.shape == (3, 2)
    assert torch.equal(from_bytes, from_floats)


@pytest.mark.parametrize("build", [tiny_lite, tiny_hybrid], ids=["lite", "hybrid"])
def test_a_sample_answers_alone_as_it_does_in_a_batch(build):
    model = build().eval()
    face, left, right = pixels(4, 64), pixels(4, 32, seed=1), pixels(4, 32, seed=2)
    with torch.no_grad():
        together = model(face, left, right)["gaze"]
        alone = torch.cat([model(face[i, None], left[i, None], right[i, None])["gaze"] for i in range(4)])
    assert torch.allclose(together, alone, atol=1e-6)


@pytest.mark.parametrize(
    "build", [tiny_lite, lambda: tiny_lite(share_eye_encoder=False), tiny_hybrid], ids=["lite", "own_eyes", "hybrid"]
)
def test_left_and_right_eye_are_told_apart(build):
    torch.manual_seed(0)
    model = build().eval()
    face, left, right = pixels(2, 64), pixels(2, 32, seed=1), pixels(2, 32, seed=2)
    with torch.no_grad():
        assert not torch.allclose(model(face, left, right)["gaze"], model(face, right, left)["gaze"], atol=1e-7)


@pytest.mark.parametrize("build", [tiny_lite, tiny_hybrid], ids=["lite", "hybrid"])
def test_a_fresh_model_looks_almost_straight_ahead(build):
    torch.manual_seed(0)
    gaze = build().eval()(pixels(4, 64), pixels(4, 32), pixels(4, 32))["gaze"]
    assert gaze.abs().max() < 0.05


@pytest.mark.parametrize("build", [tiny_lite, tiny_hybrid], ids=["lite", "hybrid"])
def test_bf16_autocast_leaves_the_head_in_float32(build):
    model = build().eval()
    seen = {}
    model.head.angles.register_forward_hook(lambda _module, inputs, output: seen.update(x=inputs[0], y=output))
    face, left, right = pixels(2, 64), pixels(2, 32), pixels(2, 32)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        gaze = model(face, left, right)["gaze"]
    assert gaze.dtype == seen["x"].dtype == seen["y"].dtype == torch.float32
    with torch.no_grad():
        assert torch.allclose(gaze, model(face, left, right)["gaze"], atol=5e-3)


@pytest.mark.parametrize("name", ["gaze_plain8", "gaze_plain12", "gaze_plain16"])
def test_a_plain_encoder_keeps_a_grid_of_a_small_eye(name):
    encoder = TimmEncoder(name, pretrained=False, weights_file=None).eval()
    assert encoder.trunk.stages(torch.zeros(1, 3, 32, 32)).shape[-2:] == (4, 4)
    assert encoder(pixels(2, 32)).shape == (2, encoder.num_features)
    assert encoder.num_features == 16 * 8 * int(name.removeprefix("gaze_plain"))


def test_a_tiny_model_learns_where_a_dot_is():
    """Gaze follows a dark dot on the eyes: 60 steps from nothing beat the mean by far."""
    torch.manual_seed(0)
    gaze = 0.6 * torch.rand(512, 2) - 0.3
    place = torch.arange(32) - 15.5
    down, right = (-20 * gaze[:, 0, None] - place).square(), (-20 * gaze[:, 1, None] - place).square()
    dot = (down[:, :, None] + right[:, None, :] < 25).float()
    eyes = (200 - 150 * dot[:, None]).expand(-1, 3, -1, -1) + 10 * torch.randn(512, 3, 32, 32)
    face = torch.full((512, 3, 64, 64), 128.0)
    model = tiny_lite(dropout=0.0)
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for step in range(60):
        rows = slice(64 * (step % 7), 64 * (step % 7) + 64)
        loss = (model(face[rows], eyes[rows], eyes[rows])["gaze"] - gaze[rows]).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        unseen = slice(448, 512)
        error = (model.eval()(face[unseen], eyes[unseen], eyes[unseen])["gaze"] - gaze[unseen]).square().mean()
    assert error < 0.1 * gaze[unseen].var()


# Normalisation and size.


def test_an_encoder_normalises_with_the_statistics_of_its_own_timm_config():
    encoder = TimmEncoder("test_resnet", pretrained=False, weights_file=None)
    config = timm.get_pretrained_cfg("test_resnet")
    images = pixels(2, 32)
    seen = {}
    encoder.trunk.register_forward_pre_hook(lambda _module, inputs: seen.update(x=inputs[0]))
    encoder(images)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (config.mean, config.std))
    assert torch.allclose(seen["x"], (images / 255 - mean) / std, atol=1e-5)


def test_normalisation_survives_in_the_checkpoint():
    keys = TimmEncoder("test_resnet", pretrained=False, weights_file=None).state_dict().keys()
    assert {"scale", "shift"} <= keys


@pytest.mark.parametrize(
    ("name", "image_size", "given", "inside"),
    [("test_vit", None, 96, 160), ("test_vit", 64, 96, 64), ("test_vit", 64, 64, 64), ("test_resnet", None, 96, 96)],
)
def test_images_are_resized_only_where_the_backbone_has_a_fixed_size(name, image_size, given, inside):
    encoder = TimmEncoder(name, pretrained=False, weights_file=None, image_size=image_size)
    seen = {}
    encoder.trunk.register_forward_pre_hook(lambda _module, inputs: seen.update(x=inputs[0]))
    encoder(pixels(1, given))
    assert seen["x"].shape[-2:] == (inside, inside)


@pytest.mark.parametrize(
    ("name", "num_tokens"), [("test_vit", 4 + 1), ("test_resnet", 4), ("test_efficientnet", 4), ("gaze_plain8", 64)]
)
def test_tokens_come_from_any_backbone(name, num_tokens):
    fixed = {"image_size": 32} if name == "test_vit" else {}
    encoder = TimmEncoder(name, pretrained=False, weights_file=None, pooled=False, **fixed).eval()
    tokens = encoder(pixels(2, 32 if fixed else 64))
    assert tokens.shape == (2, num_tokens, encoder.num_features)


# Weights.


def test_pretrained_weights_that_cannot_be_had_end_in_seconds_with_both_ways_out(monkeypatch, tmp_path):
    monkeypatch.setattr(encoder_weights.hub_constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(encoder_weights.hub_constants, "ENDPOINT", "http://127.0.0.1:9")
    start = time.monotonic()
    with pytest.raises(ConfigError, match=r"model\.pretrained=false .*model\.weights_file=PATH"):
        GazeTRLite(encoder="test_resnet")
    assert time.monotonic() - start < 15
    assert encoder_weights.hub_constants.HF_HUB_OFFLINE is False


def test_an_encoder_without_weights_of_its_own_says_so_too():
    with pytest.raises(ConfigError, match=r"gaze_plain8.*model\.pretrained=false"):
        TimmFace("gaze_plain8")


def test_no_weights_are_fetched_unasked(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("the network was asked")

    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.setattr("socket.getaddrinfo", refuse)
    TimmFace("test_resnet", pretrained=False)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("pretrained", [True, False])
def test_a_local_weights_file_fills_the_trunk_and_its_classifier_is_left_out(tmp_path, suffix, pretrained):
    whole = timm.create_model("test_resnet", num_classes=10)
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        torch.save(whole.state_dict(), path)
    else:
        save_file(whole.state_dict(), path)
    model = tiny_lite(encoder="test_resnet", pretrained=pretrained, weights_file=path)
    for encoder in (model.face_encoder, model.eye_encoders[0]):
        for name, value in encoder.trunk.state_dict().items():
            assert torch.equal(value, whole.state_dict()[name]), name


def test_weights_of_a_vit_are_resampled_to_the_image_size_in_use(tmp_path):
    whole = timm.create_model("test_vit")
    path = tmp_path / "vit.pth"
    torch.save(whole.state_dict(), path)
    model = tiny_hybrid(face_weights_file=path, eye_weights_file=path)
    assert model.eye_encoder.trunk.pos_embed.shape[1] == 2 * 2 + 1
    assert torch.equal(model.eye_encoder.trunk.blocks[0].attn.qkv.weight, whole.blocks[0].attn.qkv.weight)
    assert torch.equal(model.face_encoder.trunk.patch_embed.proj.weight, whole.patch_embed.proj.weight)


def test_a_weights_file_of_another_model_is_refused_by_what_is_missing_or_unknown(tmp_path):
    state = timm.create_model("test_resnet").state_dict()
    path = tmp_path / "weights.pth"

    def refused(changed, match):
        torch.save(changed, path)
        with pytest.raises(ConfigError, match=match) as caught:
            TimmFace("test_resnet", weights_file=path)
        assert "model.weights_file" in str(caught.value)
        assert str(path) in str(caught.value)

    refused({k: v for k, v in state.items() if k != "conv1.0.weight"}, r"misses conv1\.0\.weight")
    refused(state | {"layer9.weight": torch.zeros(1)}, r"unknown layer9\.weight")
    refused(state | {"conv1.0.weight": torch.zeros(1)}, "size mismatch")
    refused([1, 2], "cannot be read|no tensors")


def test_a_weights_file_is_never_run(tmp_path):
    class Payload:
        def __reduce__(self):
            return (print, ("ran",))

    path = tmp_path / "weights.pth"
    torch.save({"conv1.0.weight": Payload()}, path)
    with pytest.raises(ConfigError, match=r"model\.weights_file: .* cannot be read"):
        TimmFace("test_resnet", weights_file=path)


@pytest.mark.parametrize("content", [b"", b"not weights at all"])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_broken_weights_file_is_refused(tmp_path, content, suffix):
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"model\.weights_file"):
        TimmFace("test_resnet", weights_file=path)


def test_a_missing_weights_file_is_refused_by_the_name_of_its_option(tmp_path):
    with pytest.raises(ConfigError, match=r"model\.eye_weights_file: no file .*gone\.pth"):
        tiny_hybrid(eye_weights_file=tmp_path / "gone.pth")


def test_a_misspelt_encoder_gets_the_nearest_names():
    with pytest.raises(ConfigError, match=r"'resnet81'; the nearest are .*resnet18"):
        TimmFace("resnet81", pretrained=False)
