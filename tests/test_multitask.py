"""A second task: what each pixel of an eye is. Its labels, its loss, its numbers, and whether it helped."""

import h5py
import numpy as np
import pytest
import torch
from crop_samples import sample_rows, write_plain

from gaze_exp.augment import FlipAugment
from gaze_exp.comparison import compare
from gaze_exp.data.batch_loader import BatchLoader
from gaze_exp.data.crop_dataset import CropDataset
from gaze_exp.errors import ConfigError, DataError
from gaze_exp.losses import AngularMSE
from gaze_exp.metrics import MaskIoU
from gaze_exp.models.gazetr_lite import GazeTRLite
from gaze_exp.models.gazetr_multitask import GazeTRMultitask
from gaze_exp.multitask_loss import Multitask
from gaze_exp.onnx_export import compare_onnx, export_onnx
from gaze_exp.predictions import Predictions
from gaze_exp.segmentation import SegmentationScore
from gaze_exp.verdict import second_task_verdict

LITTLE = {
    "encoder": "gaze_plain8", "pretrained": False, "token_width": 16, "depth": 1, "num_heads": 2,
    "feedforward_width": 32, "head_width": 16, "dropout": 0.0,
}  # fmt: skip


def masks_of(num=6, seed=0):
    random = np.random.default_rng(seed)
    return {name: random.integers(0, 4, (num, 4, 4), np.uint8) for name in ("mask_left", "mask_right")}


def read(path, **options):
    crops = CropDataset([path] if not isinstance(path, list) else path, masks=True, **options)
    (batch,) = BatchLoader(crops, batch_size=100, num_workers=0)
    return batch


# Reading.


def test_a_batch_holds_the_masks_of_its_eyes(tmp_path):
    masks = masks_of()
    batch = read(write_plain(tmp_path / "a.h5", sample_rows(6) | masks))
    for name, mask in masks.items():
        assert batch[name].dtype == torch.uint8
        assert np.array_equal(batch[name], mask)
    swapped = read(tmp_path / "a.h5", swap_eyes=True)
    assert np.array_equal(swapped["mask_left"], masks["mask_right"])


def hybrid(path, *, kind="u1", left=0, **options):
    """A file as the other layout has it; `left` is added to the left eye's parts."""
    masks = masks_of(seed=3)
    write_plain(path, sample_rows(6))
    with h5py.File(path, "a") as file:
        group = file.create_group("segmentation")
        stored = np.where(masks["mask_left"] > 0, masks["mask_left"] + left, 0)
        group.create_dataset("masks_left_hybrid", data=stored.astype(kind), **options)
        group.create_dataset("masks_right_hybrid", data=masks["mask_right"].astype(kind), **options)
    return masks


@pytest.mark.parametrize("options", [{}, {"compression": "gzip", "chunks": (2, 4, 4)}], ids=["plain", "gzip"])
@pytest.mark.parametrize("kind", ["u1", "i8"])
@pytest.mark.parametrize("left", [0, 3])
def test_hybrid_masks_are_read_and_the_left_eyes_parts_numbered_as_the_right_ones(tmp_path, options, kind, left):
    masks = hybrid(tmp_path / "a.h5", kind=kind, left=left, **options)
    batch = read(tmp_path / "a.h5")
    for name, mask in masks.items():
        assert np.array_equal(batch[name], mask), name


def test_files_without_masks_are_unknown_beside_those_that_have_them(tmp_path):
    masks = masks_of()
    first = write_plain(tmp_path / "a.h5", sample_rows(6))
    second = write_plain(tmp_path / "b.h5", sample_rows(6, seed=1) | masks)
    third = hybrid(tmp_path / "c.h5")
    batch = read([first, second, tmp_path / "c.h5"])
    assert (batch["mask_left"][:6] == 255).all()
    assert np.array_equal(batch["mask_left"][6:12], masks["mask_left"])
    assert np.array_equal(batch["mask_left"][12:], third["mask_left"])


def test_numbers_that_are_no_part_of_an_eye_are_unknown(tmp_path):
    masks = masks_of()
    masks["mask_left"][0, 0, :2] = [9, 200]
    batch = read(write_plain(tmp_path / "a.h5", sample_rows(6) | masks))
    assert batch["mask_left"][0, 0, :2].tolist() == [255, 255]


def test_no_masks_at_all_and_masks_of_another_size_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"no masks of the eyes.*data\.masks=false"):
        read(write_plain(tmp_path / "a.h5", sample_rows(6)))
    with pytest.raises(DataError, match=r"mask_left is uint8 \(6, 3, 3\).*\(6, 4, 4\)"):
        read(write_plain(tmp_path / "b.h5", sample_rows(6) | dict.fromkeys(masks_of(), np.zeros((6, 3, 3), np.uint8))))


def test_without_being_asked_for_there_are_no_masks(tmp_path):
    crops = CropDataset([write_plain(tmp_path / "a.h5", sample_rows(6) | masks_of())])
    assert "mask_left" not in next(iter(BatchLoader(crops, batch_size=4)))


def test_a_mirrored_eye_takes_its_mask_along(tmp_path):
    batch = read(write_plain(tmp_path / "a.h5", sample_rows(6) | masks_of()))
    flipped = FlipAugment(1.0)(batch)
    assert torch.equal(flipped["mask_left"], batch["mask_right"].flip(-1))
    assert torch.equal(flipped["mask_right"], batch["mask_left"].flip(-1))


# Model and loss.


def batch_of(num=4):
    random = torch.Generator().manual_seed(0)

    def images(size):
        return torch.randint(0, 256, (num, 3, size, size), dtype=torch.uint8, generator=random)

    mask = torch.randint(0, 4, (2, num, 32, 32), generator=random).to(torch.uint8)
    mask[:, 1] = 255
    pupil = torch.tensor([3.0, torch.nan, 5.0, 4.0])
    return {
        "face": images(64), "left_eye": images(32), "right_eye": images(32),
        "gaze": torch.rand(num, 2, generator=random) - 0.5, "valid": torch.tensor([True, True, True, False]),
        "subject": torch.tensor([0, 0, 1, 1]), "row": torch.arange(num),
        "mask_left": mask[0], "mask_right": mask[1], "pupil_left_mm": pupil, "pupil_right_mm": pupil.flip(0),
    }  # fmt: skip


def answer(model, batch):
    return model(batch["face"], batch["left_eye"], batch["right_eye"])


def made(**options):
    torch.manual_seed(0)
    return GazeTRMultitask(**LITTLE, pupil=True, **options)


@pytest.mark.parametrize("autocast", [False, True], ids=["float32", "bf16"])
def test_every_parameter_gets_a_gradient_from_the_three_tasks(autocast):
    model, batch = made(), batch_of()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        output = answer(model, batch)
        total = Multitask(AngularMSE(), pupil_weight=0.1)(output, batch)["total"]
    total.backward()
    assert output["mask_left_logits"].shape == (4, 4, 32, 32)
    assert output["pupil_left_mm"].shape == (4,)
    assert {value.dtype for value in output.values()} == {torch.float32}
    assert total.isfinite()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def test_its_gaze_is_that_of_the_model_without_a_second_task():
    batch, model = batch_of(), made()
    torch.manual_seed(0)
    plain = GazeTRLite(**LITTLE)
    assert torch.allclose(answer(model.eval(), batch)["gaze"], answer(plain.eval(), batch)["gaze"], atol=1e-6)


def test_with_weight_zero_the_gaze_learns_as_without_the_second_task():
    batch, model = batch_of(), made()
    torch.manual_seed(0)
    plain = GazeTRLite(**LITTLE)
    Multitask(AngularMSE(), segmentation_weight=0.0)(answer(model, batch), batch)["total"].backward()
    AngularMSE()(answer(plain, batch), batch)["total"].backward()
    theirs = dict(model.named_parameters())
    for name, parameter in plain.named_parameters():
        assert torch.allclose(theirs[name].grad, parameter.grad, atol=1e-6), name


def test_unknown_pixels_and_pupils_count_nothing():
    model, batch = made().eval(), batch_of()
    whole = Multitask(AngularMSE())(answer(model, batch), batch)
    known = torch.tensor([0, 2, 3])
    part = {key: value[known] for key, value in batch.items()}
    of_part = Multitask(AngularMSE())(answer(model, part), part)
    assert float(whole["segmentation"]) == pytest.approx(float(of_part["segmentation"]), rel=1e-5)
    output = answer(model, batch)
    error = (output["pupil_left_mm"] - batch["pupil_left_mm"]).abs().nansum()
    error = error + (output["pupil_right_mm"] - batch["pupil_right_mm"]).abs().nansum()
    assert float(whole["pupil"]) == pytest.approx(error.item() / 6, rel=1e-5)


def test_a_batch_without_labels_of_a_task_gives_zero_and_a_zero_gradient():
    model, batch = made(), batch_of()
    bare = {key: value for key, value in batch.items() if not key.startswith(("mask", "pupil"))}
    losses = Multitask(AngularMSE(), pupil_weight=1.0)(answer(model, bare), bare)
    losses["total"].backward()
    assert losses["segmentation"] == losses["pupil"] == 0
    assert all((p.grad == 0).all() for p in model.decoder.parameters())


def test_a_negative_weight_is_refused():
    with pytest.raises(ConfigError, match=r"loss\.pupil_weight"):
        Multitask(AngularMSE(), pupil_weight=-1.0)


@pytest.mark.slow
def test_it_exports_its_gaze(tmp_path):
    model, batch = made().eval(), batch_of()
    torch.nn.init.normal_(model.head.angles.weight, std=0.3)
    path = export_onnx(model, batch, tmp_path / "model.onnx")
    assert compare_onnx(path, model, [batch]) < 1e-4


# Numbers.


def logits_of(classes):
    return torch.nn.functional.one_hot(torch.as_tensor(classes).long(), 4).movedim(-1, 1).float()


def test_the_iou_of_a_class_is_what_both_call_it_over_what_either_does():
    true = torch.tensor([[[0, 0], [1, 2]], [[1, 255], [2, 2]]], dtype=torch.uint8)
    said = torch.tensor([[[0, 1], [1, 2]], [[1, 3], [2, 0]]])
    iou = {"background": 1 / 3, "sclera": 2 / 3, "iris": 2 / 3, "pupil": None}
    metric = MaskIoU()
    metric.update(logits_of(said), true)
    assert float(metric.compute()) == pytest.approx(np.mean([1 / 3, 2 / 3, 2 / 3]))
    score = SegmentationScore()
    eye, subject = torch.zeros(2, 3, 2, 2, dtype=torch.uint8), torch.tensor([0, 1])
    batch = {"left_eye": eye, "right_eye": eye, "mask_left": true, "mask_right": torch.full_like(true, 255)}
    logits = {"mask_left_logits": logits_of(said), "mask_right_logits": logits_of(said)}
    score(batch | {"subject": subject}, logits)
    found = score.summary()
    assert found["iou"] == {k: v if v is None else pytest.approx(v, abs=1e-6) for k, v in iou.items()}
    assert found["num_eyes"] == 2
    assert found["pixel_accuracy"] == pytest.approx(5 / 7, abs=1e-6)
    assert found["ci95"][0] <= found["miou"] <= found["ci95"][1]
    assert score.picture().shape[2] == 3


def test_nothing_known_gives_no_number():
    score = SegmentationScore()
    score({"subject": torch.zeros(1)}, {"gaze": torch.zeros(1, 2)})
    assert score.summary() is None
    assert score.picture() is None
    assert MaskIoU().compute().isnan()


def predictions_of(error_deg, *, rows=None, subject=None):
    error_rad = torch.deg2rad(torch.tensor(error_deg))
    num = len(error_rad)
    return Predictions(
        predicted=torch.stack((error_rad, torch.zeros(num)), dim=1), target=torch.zeros(num, 2),
        valid=torch.ones(num, dtype=torch.bool), subject=torch.tensor(subject or [0] * num),
        row=torch.tensor(rows or list(range(num))), subjects=["a", "b", "c"],
    )  # fmt: skip


def test_two_models_are_compared_on_the_frames_that_both_answered():
    ours = predictions_of([1.0, 2.0, 3.0, 9.0], rows=[5, 3, 8, 1], subject=[0, 0, 1, 1])
    theirs = predictions_of([4.0, 2.0, 2.0], rows=[8, 5, 3], subject=[2, 2, 2])
    found = compare(ours, theirs, name="other")
    assert found["num_frames"] == 3
    assert found["mean"] == pytest.approx(2.0, abs=1e-4)
    assert found["other"]["mean"] == pytest.approx(8 / 3, abs=1e-4)
    assert found["gain"]["mean"] == pytest.approx(2 / 3, abs=1e-4)
    assert found["gain"]["per_subject"] == {"a": pytest.approx(0.5, abs=1e-4), "b": pytest.approx(1.0, abs=1e-4)}
    low, high = found["gain"]["ci95"]
    assert low == pytest.approx(0.5, abs=1e-4)  # the persons alone are drawn, and their pairs stay together
    assert high == pytest.approx(1.0, abs=1e-4)
    assert second_task_verdict(found["gain"]).startswith("Yes")


def test_predictions_on_other_data_are_no_comparison():
    ours = predictions_of([1.0, 2.0])
    with pytest.raises(DataError, match="none of these frames"):
        compare(ours, predictions_of([1.0], rows=[7]), name="other")
    other = predictions_of([1.0, 2.0])
    other.target[:] = 0.5
    with pytest.raises(DataError, match="other labels"):
        compare(ours, other, name="other")
