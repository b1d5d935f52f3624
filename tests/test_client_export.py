"""The exported file: what the client reads, the same answers as torch, and what is told beside it."""

import json
import shutil

import client_simulator
import numpy as np
import onnx
import pytest
import torch
from client_calibration import AFFINE, GEOMETRY, GOOD, answering_model, calibrated, photos_in  # noqa: F401
from client_folder import make_client
from conftest import program

from gaze_exp.client.custom_onnx import answers_deg, client_tensor, torch_deg, write_custom_onnx
from gaze_exp.client.export import ExportWishes, as_text, export_for_client
from gaze_exp.client.int8 import choose_shift, quantise
from gaze_exp.client.onnx_contract import check_answers, drawn_deg, inspect
from gaze_exp.data.calibration_set import read_calibration_set
from gaze_exp.errors import DataError
from gaze_exp.models.l2cs import L2CS
from gaze_exp.personal.model import PersonalModel, load_personal, save_personal


@pytest.fixture(scope="module")
def data(calibrated):  # noqa: F811
    return read_calibration_set(calibrated / "dataset_clean")


@pytest.fixture(scope="module")
def model(calibrated):  # noqa: F811
    return load_personal(calibrated / "personal.pt")[0]


@pytest.fixture(scope="module")
def manifest(calibrated):  # noqa: F811
    return json.loads((calibrated / "run" / "custom_gaze.json").read_text())


@pytest.mark.parametrize("name", ["custom_gaze.onnx", "custom_gaze.int8.onnx"])
def test_the_file_is_what_the_client_reads(calibrated, name):  # noqa: F811
    path = calibrated / "run" / name
    graph = onnx.load(str(path), load_external_data=False)
    onnx.checker.check_model(graph, full_check=True)
    (face,), (gaze,) = graph.graph.input, graph.graph.output
    assert [d.dim_value for d in face.type.tensor_type.shape.dim] == [1, 3, 448, 448]
    assert [d.dim_value for d in gaze.type.tensor_type.shape.dim] == [1, 2]
    assert {each.type.tensor_type.elem_type for each in (face, gaze)} == {onnx.TensorProto.FLOAT}
    assert max(each.version for each in graph.opset_import if each.domain == "") <= 17
    assert graph.ir_version <= 9
    assert not [t for t in graph.graph.initializer if t.data_location == onnx.TensorProto.EXTERNAL]
    assert {path.name for path in (calibrated / "run").iterdir()} == {
        "custom_gaze.onnx", "custom_gaze.int8.onnx", "custom_gaze.json",
    }  # fmt: skip
    assert not [node for node in graph.graph.node if node.op_type == "BatchNormalization"]
    assert inspect(path).output == "degrees"


def test_it_says_what_it_is(calibrated):  # noqa: F811
    said = inspect(calibrated / "run" / "custom_gaze.onnx").metadata
    assert (said["output_order"], said["unit"], said["mirrored"], said["color_order"]) == (
        "yaw,pitch", "deg", "true", "RGB",
    )  # fmt: skip
    assert "yaw > 0 right, pitch > 0 down" in said["frame"]
    assert "research only" in said["licence"]
    assert said["deg_per_pixel"] == "0.0307"


def test_onnxruntime_answers_the_clients_tensor_as_torch_answers_pixels(calibrated, data, model, manifest):  # noqa: F811
    session = client_simulator.open_model(calibrated / "run" / "custom_gaze.onnx")
    pictures = data.images().permute(0, 2, 3, 1).numpy()
    answers = [session.run(None, {"face": client_simulator.tensor_of(picture)})[0][0] for picture in pictures]
    expected = torch_deg(model, data.images()).numpy()
    assert np.abs(np.array(answers) - expected).max() < 1e-3
    assert np.ptp(expected, axis=0).min() > 10  # a constant would agree with anything
    assert 0 < manifest["files"]["custom_gaze.onnx"]["largest_difference_to_torch_deg"] < 1e-3


def test_our_tensor_is_the_clients(data):
    picture = data.images()[:1]
    theirs = client_simulator.tensor_of(picture[0].permute(1, 2, 0).numpy())
    assert np.abs(client_tensor(picture).numpy() - theirs).max() < 1e-6


@pytest.mark.parametrize("mirrored", [True, False])
@pytest.mark.parametrize("head", ["linear", "bins"])
def test_heads_and_mirrors_are_inside_of_the_graph(data, tmp_path, head, mirrored):
    torch.manual_seed(1)
    net = L2CS(arch="resnet18", head=head, pretrained="none", image_size=64).eval()
    images = data.images()[:2]
    with torch.no_grad():
        native = net.angles_deg(net.late(net.early(net.normalise(images)))).double()
    path = write_custom_onnx(PersonalModel(net, mirrored=mirrored, affine=AFFINE), tmp_path / "a.onnx", size_px=448)
    client = native * torch.tensor([-1.0 if mirrored else 1.0, -1.0])
    expected = client @ AFFINE[:, :2].double().T + AFFINE[:, 2].double()
    assert torch.allclose(answers_deg(path, images), expected, atol=1e-3)


def test_the_manifest_tells_what_a_hand_back_and_a_reader_need(calibrated, manifest):  # noqa: F811
    assert manifest["geometry"] == dict(vars(GEOMETRY))
    assert manifest["mirrored"] is True
    assert (manifest["crop"], manifest["base_weights_sha256"], manifest["split_sha256"]) == ("client", "ba5e", "5917")
    assert manifest["table"] == [{"method": "fine-tuned", "mean_deg": 1.5}]
    assert "research only" in manifest["licence"]
    assert len(manifest["targets_px"]) == 9
    assert len(manifest["checkpoint_sha256"]) == 64
    for name, entry in manifest["files"].items():
        assert (calibrated / "run" / name).stat().st_size == entry["bytes"]
        assert entry["latency"][0]["min_ms"] > 0
    text = "\n".join(as_text(manifest))
    assert "custom_gaze.int8.onnx" in text
    assert f"{manifest['files']['custom_gaze.int8.onnx']['difference_to_float32_deg']['mean']:.2f}" in text


def test_eight_bits_cost_what_the_table_says(calibrated, data, manifest):  # noqa: F811
    both = [answers_deg(calibrated / "run" / name, data.images()) for name in manifest["files"]]
    entry = manifest["files"]["custom_gaze.int8.onnx"]
    assert entry["bytes"] < 0.3 * manifest["files"]["custom_gaze.onnx"]["bytes"]
    apart = both[1] - both[0]
    assert 0.01 < entry["difference_to_float32_deg"]["mean"] <= entry["difference_without_shift_deg"]["mean"] < 5
    without = apart - torch.tensor(entry["shift_deg"])
    assert entry["difference_without_shift_deg"]["mean"] == pytest.approx(float(without.norm(dim=1).mean()), abs=1e-3)
    errors = (both[1] - data.angles_deg).norm(dim=1)
    assert entry["error_on_its_own_photos_deg"]["mean"] == pytest.approx(float(errors.mean()), abs=1e-3)


def test_the_shift_of_a_target_comes_from_the_others():
    raw = torch.zeros(4, 2, dtype=torch.float64)
    truth = torch.tensor([[5.0, 0], [7, 0], [8, 0], [8, 0]], dtype=torch.float64)
    made = choose_shift(raw, truth, target=torch.tensor([0, 0, 1, 1]))
    assert made.held_out_deg[:, 0].tolist() == [8, 8, 6, 6]
    assert made.shift_deg.tolist() == [7, 0]


def test_a_shift_that_does_not_carry_over_is_left_out():
    raw = torch.zeros(4, 2, dtype=torch.float64)
    truth = torch.tensor([[5.0, 0], [5, 0], [-5, 0], [-5, 0]], dtype=torch.float64)
    for target in (torch.tensor([0, 0, 1, 1]), torch.zeros(4, dtype=torch.int64)):
        made = choose_shift(raw, truth, target=target)
        assert made.shift_deg.tolist() == [0, 0]
        assert torch.equal(made.held_out_deg, raw)


def test_the_client_draws_what_torch_means(calibrated, model, tmp_path):  # noqa: F811
    """From a photo to a pixel: crop, resize, tensor, graph, polynomial and screen, all by the simulated client."""
    numbers = {"yaw_gain": 1.628664, "yaw_offset": 0.0, "pitch_gain": 1.628664, "pitch_offset": -0.025}
    folder = make_client(tmp_path / "client")
    content = {
        "models": {"l2cs_path": "models/custom_gaze.onnx"},
        "calibration": {"models": {"l2cs": numbers}},
    }
    (folder / "config.json").write_text(json.dumps(content))
    shutil.copy(calibrated / "run" / "custom_gaze.onnx", folder / "models")
    client = client_simulator.Client(folder, window_px=(1728, 1117))
    errors = []
    for _, frame, box, target in photos_in(calibrated / "people" / "participant_001" / "calibration_data"):
        pixel = client.look(frame, box)
        face = torch.from_numpy(client_simulator.face_picture(frame, box)).permute(2, 0, 1)[None]
        with torch.no_grad():
            meant = GEOMETRY.to_pixels(model(face).double())[0]
        assert pixel == pytest.approx(meant.tolist(), abs=0.05)
        errors.append(np.hypot(*np.subtract(pixel, target)))
    assert np.mean(errors) < 60  # of 1728: it looks where the person looked


def test_a_graph_that_differs_from_torch_never_gets_its_name(calibrated, data, model, tmp_path):  # noqa: F811
    with pytest.raises(DataError, match=r"refused\.onnx: differs from torch.*export_client\.tolerance_deg"):
        export_for_client(
            model, {}, data, folder=tmp_path, checkpoint_sha256="", wishes=ExportWishes(tolerance_deg=1e-12, int8=False)
        )
    assert [path.name for path in tmp_path.iterdir()] == ["custom_gaze.refused.onnx"]


def test_photos_of_another_screen_are_refused(data, model, tmp_path):
    facts = {"geometry": dict(vars(GEOMETRY)) | {"deg_per_pixel": 0.05}}
    with pytest.raises(DataError, match=r"data\.root must be the photos of the fine-tune"):
        export_for_client(model, facts, data, folder=tmp_path, checkpoint_sha256="", wishes=ExportWishes())
    assert not list(tmp_path.iterdir())


class Angles(torch.nn.Module):
    """Something of another maker."""

    def __init__(self, outputs, size_px=448, dtype=torch.float32):
        super().__init__()
        self.outputs, self.dtype = outputs, dtype
        self.layers = torch.nn.ModuleList([torch.nn.Linear(3, size) for size in outputs])

    def forward(self, face):
        return tuple(layer(face.mean((2, 3))).to(self.dtype) for layer in self.layers)


def other_file(path, outputs, *, size_px=448, channels=3, opset=17, dtype=torch.float32, **options):
    torch.onnx.export(
        Angles(outputs, dtype=dtype), (torch.zeros(1, channels, size_px, size_px),), str(path), dynamo=False,
        opset_version=opset, **options,
    )  # fmt: skip
    return path


@pytest.mark.parametrize(
    ("outputs", "options", "said"),
    [
        ((28, 28), {}, "28 and 28 bins.*right for 90 only"),
        ((1, 1), {}, "-180 degrees for ever"),
        ((3,), {}, "3 numbers"),
        ((2,), {"dtype": torch.float64}, "float64"),
        ((2,), {"size_px": 224}, r"224.*one float32 \[1, 3, 448, 448\].*faces\.size_px=448"),
    ],
)
def test_files_that_the_client_cannot_use_are_refused(tmp_path, outputs, options, said):
    path = other_file(tmp_path / "other.onnx", outputs, **options)
    with pytest.raises(DataError, match=said) as error:
        inspect(path)
    assert str(path) in str(error.value)


def test_two_outputs_of_ninety_bins_are_read_as_the_client_reads_them(tmp_path, data):
    path = other_file(tmp_path / "base.onnx", (90, 90))
    found = inspect(path)
    assert found.output == "bins"
    session = client_simulator.open_model(path)
    name = session.get_inputs()[0].name
    images = data.images()[:2]
    for ours, image in zip(drawn_deg(found, images).tolist(), images, strict=True):
        tensor = client_simulator.tensor_of(image.permute(1, 2, 0).numpy())
        assert client_simulator.decode_outputs(session.run(None, {name: tensor})) == pytest.approx(ours, abs=1e-3)


def test_weights_in_another_file_are_refused(calibrated, tmp_path):  # noqa: F811
    graph = onnx.load(str(calibrated / "run" / "custom_gaze.onnx"))
    path = tmp_path / "two.onnx"
    onnx.save(graph, str(path), save_as_external_data=True, location="two.onnx.data")
    with pytest.raises(DataError, match=r"another file \(two\.onnx\.data\)"):
        inspect(path)


def test_a_late_opset_is_told(tmp_path):
    assert "opset 18 is above 17" in inspect(other_file(tmp_path / "late.onnx", (2,), opset=18)).notes[0]


@pytest.mark.parametrize("content", [b"", b"<html>", b"version https://git-lfs.github.com/spec/v1\n"])
def test_what_is_no_onnx_file_is_refused(tmp_path, content):
    (tmp_path / "no.onnx").write_bytes(content)
    with pytest.raises(DataError, match=r"no\.onnx"):
        inspect(tmp_path / "no.onnx")
    with pytest.raises(DataError, match="is not there"):
        inspect(tmp_path / "missing.onnx")


def test_radians_and_turned_signs_are_refused(calibrated, data):  # noqa: F811
    found = inspect(calibrated / "run" / "custom_gaze.onnx")
    labels = data.angles_deg
    check_answers(found, labels + 1, labels)
    with pytest.raises(DataError, match="radians"):
        check_answers(found, torch.deg2rad(labels), labels)
    with pytest.raises(DataError, match="yaw grows when the user looks the other way"):
        check_answers(found, labels * torch.tensor([-1.0, 1.0]), labels)
    with pytest.raises(DataError, match="pitch grows"):
        check_answers(found, labels * torch.tensor([1.0, -1.0]), labels)
    with pytest.raises(DataError, match="NaN"):
        check_answers(found, labels * torch.nan, labels)
    check_answers(found, torch.deg2rad(labels), labels / 20)  # a narrow set cannot tell


def test_a_bins_head_survives_eight_bits(data, tmp_path):
    model = answering_model(data, head="bins")
    path = write_custom_onnx(model, tmp_path / "bins.onnx", size_px=448)
    images = data.images()[:3]
    float32_deg = answers_deg(path, images)
    quantise(path, tmp_path / "bins.int8.onnx", images, float32_deg=float32_deg, target=torch.arange(3))
    apart = answers_deg(tmp_path / "bins.int8.onnx", images) - float32_deg
    assert apart.norm(dim=1).max() < 1.0


def export(*overrides, cwd):
    quick = ("export_client.int8=false", "export_client.latency_threads=[]")
    return program("actions=[export_client]", "hardware=cpu", *quick, *overrides, cwd=cwd)


def test_the_program_exports_a_checkpoint_on_the_photos_it_was_made_from(calibrated, tmp_path):  # noqa: F811
    done = export(f"checkpoint={calibrated / 'personal.pt'}", cwd=tmp_path)
    assert done.code == 0, done.err
    assert "on 9 real crops" in done.out
    assert "next: task=l2cs_handback" in done.out
    assert "force=true" not in done.out
    assert done.read("custom_gaze.json")["files"].keys() == {"custom_gaze.onnx"}
    assert not (done.folder / "custom_gaze.int8.onnx").exists()


def test_the_program_says_at_once_that_a_model_is_no_proof_of_a_gain(calibrated, data, tmp_path):  # noqa: F811
    model, facts = load_personal(calibrated / "personal.pt")
    doubtful = GOOD | {"better": False, "text": "they cannot be told apart."}
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    save_personal(tmp_path / "run" / "checkpoints" / "personal.pt", model, facts | {"verdict": doubtful})
    done = export(
        f"checkpoint={tmp_path / 'run'}", "data=dataset_clean", f"data.root={data.folder}", cwd=tmp_path / "a"
    )
    assert done.code == 0, done.err
    assert "will want force=true, since it was not better than the affine baseline" in done.out


def test_the_program_without_a_model_or_photos_says_what_is_missing(calibrated, tmp_path):  # noqa: F811
    done = export(cwd=tmp_path / "a")
    assert (done.code, "checkpoint: nothing given" in done.err) == (2, True), done.err
    done = export(
        f"checkpoint={calibrated / 'personal.pt'}", "data=dataset_clean", "data.root=nowhere", cwd=tmp_path / "b"
    )
    assert (done.code, "nowhere" in done.err) == (2, True), done.err
