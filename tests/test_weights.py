import pickle

import pytest
import torch
import torchvision
from l2cs_files import Official, Yakhyo, lively
from safetensors.torch import save_file
from torch import nn

from gaze_exp.errors import ConfigError, DataError
from gaze_exp.models.l2cs import L2CS
from gaze_exp.weights.contents import trunk_shapes
from gaze_exp.weights.load import load_l2cs
from gaze_exp.weights.read import read_l2cs


@pytest.fixture(scope="module")
def official():
    torch.manual_seed(0)
    return lively(Official())


@pytest.fixture
def save(tmp_path):
    def write(content, name="weights.pkl"):
        torch.save(content, tmp_path / name)
        return tmp_path / name

    return write


def prefixed(state, prefix):
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


def state_without(state, *parts):
    return {name: tensor for name, tensor in state.items() if not any(part in name for part in parts)}


WRAPPINGS = {
    "plain": lambda state: state,
    "DataParallel": lambda state: prefixed(state, "module."),
    "DataParallel twice": lambda state: prefixed(state, "module.module."),
    "state_dict": lambda state: {"state_dict": prefixed(state, "model."), "epoch": 3},
    "model_state_dict": lambda state: {"epoch": 3, "model_state_dict": state, "optimizer_state_dict": {}, "loss": 0.1},
    "model": lambda state: {"model": prefixed(state, "net.module.")},
}


@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_however_a_released_file_is_wrapped_it_answers_as_its_own_class(official, save, wrapping):
    path = save(WRAPPINGS[wrapping](official.state_dict()))
    model, report = load_l2cs(path, image_size=None)
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        yaw, pitch = official(images)
        loaded = model._head_outputs(model.late(model.early(images)))
    assert torch.equal(yaw, loaded[0])
    assert torch.equal(pitch, loaded[1])
    assert report.dropped == ("fc_finetune.weight", "fc_finetune.bias")
    assert (report.arch, report.num_bins, report.num_tensors) == ("resnet18", 90, 120)
    assert not report.norm_folded
    assert not model.training


def test_the_released_resnet50_has_324_tensors_and_is_told_by_them(save):
    torch.manual_seed(0)
    state = Official("resnet50").state_dict()
    assert len(state) == 324
    found = read_l2cs(save(prefixed(state, "module.")))
    assert (found.arch, found.num_bins, len(found.trunk)) == ("resnet50", 90, 318)
    assert all(torch.equal(tensor, state[name]) for name, tensor in (found.trunk | found.heads).items())


@pytest.mark.parametrize(("arch", "number"), [("resnet18", 124), ("resnet34", 220), ("resnet50", 322)])
def test_yakhyos_files_are_told_by_their_blocks_and_their_heads_renamed(arch, number):
    """By the shapes alone: a file of zeros costs nothing."""
    with torch.device("meta"):
        state = {name: torch.zeros((), device="cpu").expand(t.shape) for name, t in Yakhyo(arch).state_dict().items()}
    assert len(state) == number
    from gaze_exp.weights.torch_file import from_state

    found = from_state(state, path="yakhyo.pt", trunk_only=False)
    assert found.arch == arch
    assert set(found.heads) == {f"fc_{a}_gaze.{p}" for a in ("yaw", "pitch") for p in ("weight", "bias")}


def test_yakhyos_first_head_becomes_yaw(save):
    torch.manual_seed(0)
    source = lively(Yakhyo())
    model, report = load_l2cs(save({"model_state_dict": source.state_dict()}, "last.ckpt"))
    assert torch.equal(model.fc_yaw_gaze.weight, source.fc_yaw.weight)
    assert torch.equal(model.fc_pitch_gaze.bias, source.fc_pitch.bias)
    assert report.dropped == ()
    assert "research only" in report.lines()[-1]


def test_heads_can_be_swapped_for_an_old_file(official, save):
    model, report = load_l2cs(save(official.state_dict()), heads="swap")
    assert torch.equal(model.fc_yaw_gaze.weight, official.fc_pitch_gaze.weight)
    assert report.heads == "swapped as asked"


def test_safetensors_are_read_too(official, tmp_path):
    save_file({name: t.contiguous() for name, t in official.state_dict().items()}, tmp_path / "w.safetensors")
    assert torch.equal(read_l2cs(tmp_path / "w.safetensors").trunk["conv1.weight"], official.conv1.weight)


def test_mpiigaze_files_bring_28_bins_of_3_degrees(save):
    model = L2CS(weights=save(prefixed(Official(num_bins=28).state_dict(), "module.")))
    assert (model.bins.number, model.bins.width_deg, model.bins.first_deg) == (28, 3.0, -42.0)


def test_another_number_of_bins_asks_for_its_geometry_and_takes_it(save):
    path = save(Official(num_bins=45).state_dict())
    with pytest.raises(ConfigError, match=r"45 bins .*model\.bin_width_deg"):
        L2CS(weights=path)
    model = L2CS(weights=path, bin_width_deg=8, first_bin_deg=-180)
    assert (model.bins.number, model.bins.last_deg) == (45, 180.0)
    with pytest.raises(ConfigError, match=r"model\.num_bins: 90, but .* heads of 45"):
        L2CS(weights=path, num_bins=90)


def test_heads_of_unequal_width_are_refused(official, save):
    state = dict(official.state_dict())
    state["fc_pitch_gaze.weight"], state["fc_pitch_gaze.bias"] = torch.zeros(28, 512), torch.zeros(28)
    with pytest.raises(DataError, match="90 and 28 bins"):
        read_l2cs(save(state))


def test_another_arch_than_asked_for_is_refused_by_both_names(official, save):
    with pytest.raises(ConfigError, match=r"model\.arch: resnet50, but .*weights\.pkl holds a resnet18"):
        L2CS(arch="resnet50", weights=save(official.state_dict()))


@pytest.mark.parametrize(
    ("changed", "match"),
    [
        (lambda s: state_without(s, "layer3.1.conv2"), r"misses layer3\.1\.conv2\.weight of the 120 tensors"),
        (lambda s: state_without(s, "bn2"), r"misses .*bn2.* and \d+ more of the 120"),
        (lambda s: s | {"layer1.0.bn1.weight": torch.zeros(256)}, r"layer1\.0\.bn1\.weight \(256,\) have other shapes"),
        (lambda s: state_without(s, "layer4.1"), r"no ResNet .*\(2, 2, 2, 1\) basic blocks"),
        (lambda s: {"features.0.0.weight": torch.zeros(3)}, r"no ResNet .*features\.0\.0\.weight"),
        (lambda s: state_without(s, "fc_pitch_gaze"), r"misses fc_pitch_gaze\.weight, fc_pitch_gaze\.bias: no heads"),
        (lambda s: s | {"attention.weight": torch.zeros(3)}, r"has attention\.weight, which L2CS-Net has not"),
        (lambda s: {"state_dict": {}}, "holds no tensors by name"),
        (lambda s: [torch.zeros(3)], "holds no tensors by name"),
    ],
)  # fmt: skip
def test_what_is_missing_or_strange_is_named(official, save, changed, match):
    with pytest.raises(DataError, match=match) as caught:
        read_l2cs(save(changed(dict(official.state_dict()))))
    assert "weights.pkl" in str(caught.value)


def test_a_missing_batch_counter_is_no_loss(official, save):
    found = read_l2cs(save(state_without(official.state_dict(), "num_batches_tracked")))
    assert set(found.trunk) == set(trunk_shapes("resnet18"))


def test_a_classifier_is_a_trunk_to_start_from_and_nothing_else(save):
    torch.manual_seed(0)
    classifier = torchvision.models.resnet18(weights=None)
    path = save(classifier.state_dict(), "resnet18.pth")
    with pytest.raises(DataError, match=r"'fc' of 1000 outputs .*model\.pretrained=imagenet"):
        L2CS(weights=path)
    model = L2CS(weights=path, pretrained="imagenet")
    assert torch.equal(model.layer4[1].conv2.weight, classifier.layer4[1].conv2.weight)
    assert model.bins.number == 90


# Files that are no weights.


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "is empty; download it again"),
        (b"<!DOCTYPE html><html><title>Google Drive - Quota exceeded</title>", "is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 95592144\n", "Git LFS pointer"),
        (b"garbage that is no pickle at all", "refused|cannot be read"),
        (b"PK\x03\x04 cut short", "refused|cannot be read"),
    ],
)
@pytest.mark.parametrize("name", ["w.pkl", "w.pt"])
def test_what_was_downloaded_instead_of_weights_is_named(tmp_path, name, content, match):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=match) as caught:
        read_l2cs(tmp_path / name)
    assert name in str(caught.value)


@pytest.mark.parametrize("name", ["w.onnx", "w.safetensors"])
def test_files_of_other_kinds_are_looked_at_as_closely(tmp_path, name):
    for content, match in ((b"", "is empty"), (b"<html>", "web page"), (b"garbage" * 20, "cannot be read")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=match):
            read_l2cs(tmp_path / name)


def test_a_file_cut_short_is_refused(official, save):
    path = save(official.state_dict())
    path.write_bytes(path.read_bytes()[:100_000])
    with pytest.raises(DataError, match=r"weights\.pkl: cannot be read as weights"):
        read_l2cs(path)


class Malicious:
    """On loading, an ordinary pickle would run this."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return open, (str(self.target), "w")


@pytest.mark.parametrize("writer", [torch.save, lambda content, path: path.write_bytes(pickle.dumps(content))])
def test_code_in_a_pickle_is_refused_and_not_run(tmp_path, writer):
    writer({"state_dict": Malicious(tmp_path / "pwned")}, tmp_path / "w.pkl")
    with pytest.raises(DataError, match="refused and nothing in it was run"):
        read_l2cs(tmp_path / "w.pkl")
    assert not (tmp_path / "pwned").exists()


def test_a_whole_pickled_model_is_refused_with_the_remedy(save):
    with pytest.raises(DataError, match="a saved state_dict is right"):
        read_l2cs(save(nn.Linear(2, 2)))


def test_half_precision_is_cast_and_nan_refused(official, save):
    halves = {name: t.half() if t.is_floating_point() else t for name, t in official.state_dict().items()}
    found = read_l2cs(save(halves))
    assert all(t.dtype == torch.float32 for t in found.trunk.values() if t.is_floating_point())
    assert torch.allclose(found.trunk["conv1.weight"], official.conv1.weight, atol=1e-3)
    for bad in (float("nan"), float("inf")):
        spoilt = {name: t.clone() for name, t in official.state_dict().items()}
        spoilt["layer2.0.bn1.bias"][3] = bad
        with pytest.raises(DataError, match=r"layer2\.0\.bn1\.bias holds NaN or infinite"):
            read_l2cs(save(spoilt))
