"""What every model and every loss promises, so that any two of them train, and export."""

import pytest
import torch

from gaze_exp.batch import model_inputs
from gaze_exp.eye_losses import EveEyes
from gaze_exp.losses import L1, MSE, Angular, AngularMSE, L2CSBins
from gaze_exp.models.eyenet import EyeNet
from gaze_exp.models.gazetr import GazeTR
from gaze_exp.models.gazetr_hybrid import GazeTRHybrid
from gaze_exp.models.gazetr_lite import GazeTRLite
from gaze_exp.models.l2cs import L2CS
from gaze_exp.models.timm_face import TimmFace
from gaze_exp.onnx_export import compare_onnx, export_onnx

SMALL = {"pretrained": False, "depth": 1, "num_heads": 2, "feedforward_width": 32, "head_width": 16, "dropout": 0.0}
MODELS = {
    "gazetr_lite": lambda: GazeTRLite(encoder="test_resnet", token_width=16, **SMALL),
    "gazetr_lite_own_eyes": lambda: GazeTRLite(encoder="gaze_plain8", token_width=16, share_eye_encoder=False, **SMALL),
    "gazetr_tiny": lambda: GazeTRLite(encoder="gaze_plain8", token_width=16, **SMALL),
    "gazetr_hybrid": lambda: GazeTRHybrid(
        face_encoder="test_vit", eye_encoder="test_vit", face_size=64, eye_size=32, width=16, **SMALL
    ),
    "gazetr": lambda: GazeTR(encoder="test_resnet", image_size=None, map_size=2, depth=1, dropout=0.0),
    "eyenet": lambda: EyeNet(width=8, image_size=64, num_features=16, pupil=False),
    "l2cs": lambda: L2CS(arch="resnet18", pretrained="none", image_size=None),
    "l2cs_linear": lambda: L2CS(arch="resnet18", pretrained="none", image_size=None, head="linear"),
    "timm_face": lambda: TimmFace("test_efficientnet", pretrained=False, head_width=16, dropout=0.0),
}
LOSSES = [Angular, AngularMSE, L1, MSE, EveEyes]


def batch_of(num=4):
    random = torch.Generator().manual_seed(0)

    def images(size):
        return torch.randint(0, 256, (num, size, size, 3), dtype=torch.uint8, generator=random).permute(0, 3, 1, 2)

    return {
        "face": images(64),
        "left_eye": images(32),
        "right_eye": images(32),
        "gaze": torch.rand(num, 2, generator=random) - 0.5,
        "valid": torch.tensor([True] * (num - 1) + [False]),
    }


def predict(model, batch):
    return model(**model_inputs(model, batch))


PAIRS = [*((name, loss) for name in MODELS for loss in LOSSES), ("l2cs", L2CSBins)]  # it alone chooses among bins


@pytest.mark.parametrize(("name", "loss"), PAIRS)
@pytest.mark.parametrize("autocast", [False, True], ids=["float32", "bf16"])
def test_every_model_trains_with_every_loss(name, loss, autocast):
    torch.manual_seed(0)
    model, batch = MODELS[name](), batch_of()
    for parameter in model.parameters():
        if not parameter.any():  # residual nets start their last norms at zero, which stops what is before
            torch.nn.init.normal_(parameter, std=0.1)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        output = predict(model, batch)
        total = loss()(output, batch)["total"]
    total.backward()
    assert output["gaze"].shape == (4, 2)
    assert output["gaze"].dtype == total.dtype == torch.float32
    assert total.isfinite()
    assert total > 0
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, f"{key} has no gradient"
        assert parameter.grad.isfinite().all(), key
        assert parameter.grad.abs().sum() > 0, f"the gradient of {key} is zero"


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_every_model_exports_and_answers_the_same(name, tmp_path):
    torch.manual_seed(0)
    model = MODELS[name]()
    if not name.startswith("l2cs"):
        torch.nn.init.normal_(model.head.angles.weight, std=0.3)
    batch = batch_of()
    with torch.no_grad():  # training steps, so that batch norm statistics are not those of a fresh model
        for _ in range(3):
            predict(model.train(), batch)
    path = export_onnx(model, {k: v[:1] for k, v in batch.items()}, tmp_path / "model.onnx")
    assert compare_onnx(path, model, [batch]) < 1e-4


@pytest.mark.parametrize("name", MODELS)
def test_every_model_keeps_its_weights_in_plain_tensors(name, tmp_path):
    model = MODELS[name]()
    torch.save(model.state_dict(), tmp_path / "weights.pth")
    again = MODELS[name]()
    again.load_state_dict(torch.load(tmp_path / "weights.pth", weights_only=True))
    batch = batch_of()
    with torch.no_grad():
        assert torch.equal(predict(model.eval(), batch)["gaze"], predict(again.eval(), batch)["gaze"])
