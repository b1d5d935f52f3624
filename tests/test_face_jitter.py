"""Faces shifted and scaled in training."""

import pytest
import torch

from gaze_exp.augment import PhotometricAugment
from gaze_exp.config import build, compose
from gaze_exp.errors import ConfigError
from gaze_exp.face_jitter import FaceJitter


def dots(num=64, size=64):
    """A white square of 4 px in the middle of each face, and everything else of a batch."""
    face = torch.zeros(num, 3, size, size, dtype=torch.uint8)
    face[:, :, 30:34, 30:34] = 255
    return {"face": face, "left_eye": face.clone(), "right_eye": face.clone(), "gaze": torch.rand(num, 2)}


def centres(faces):
    """(B, 2) x, y of the light's centre, px from the middle of the picture."""
    place = torch.arange(faces.shape[-1]) - faces.shape[-1] / 2 + 0.5
    weight = faces[:, 0].float()
    total = weight.sum((1, 2))
    return torch.stack([(weight.sum(1) * place).sum(1) / total, (weight.sum(2) * place).sum(1) / total], dim=1)


def test_faces_move_by_at_most_the_shift_and_in_every_direction():
    torch.manual_seed(0)
    moved = centres(FaceJitter(shift=0.1, scale=0.0)(dots())["face"])
    assert moved.abs().max() <= 0.1 * 64 + 0.1
    assert moved.min() < -4
    assert moved.max() > 4


def test_faces_grow_and_shrink_by_at_most_the_scale():
    torch.manual_seed(0)
    light = FaceJitter(shift=0.0, scale=0.2)(dots())["face"][:, 0].sum((1, 2)) / (255 * 16)
    assert light.min() > 0.8**2 * 0.9
    assert light.min() < 0.8
    assert 1.25 < light.max() < 1.2**2 * 1.1


def test_labels_and_eyes_stay():
    batch = dots()
    jittered = FaceJitter()(batch)
    assert all(jittered[name] is batch[name] for name in ("gaze", "left_eye", "right_eye"))
    assert not torch.equal(jittered["face"], batch["face"].float())


def test_evaluation_sees_faces_as_they_are():
    batch = dots()
    assert torch.equal(FaceJitter().eval()(batch)["face"], batch["face"])


def test_the_same_seed_moves_the_same_way():
    first, second = (torch.manual_seed(3) and FaceJitter()(dots(8))["face"] for _ in range(2))
    assert torch.equal(first, second)


def test_the_config_colours_first_and_moves_then():
    made = build(compose(["task=quickstart", "augment=photometric_jitter", "run_dir=X"]).augment)
    assert isinstance(made, FaceJitter)
    assert isinstance(made.after, PhotometricAugment)


def test_a_shift_out_of_the_picture_is_refused():
    with pytest.raises(ConfigError, match=r"augment\.shift"):
        FaceJitter(shift=0.7)
