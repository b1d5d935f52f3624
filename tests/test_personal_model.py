"""A user's model: its signs, its file, and what is refused as one."""

import pickle

import pytest
import torch
from calibration_samples import random_net

from gaze_exp.errors import DataError
from gaze_exp.personal.model import PersonalModel, load_personal, save_personal

FACES = torch.randint(0, 256, (2, 3, 48, 48), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def pointing(yaw_native, pitch_native):
    """A net that always answers the same native degrees."""
    net = random_net(head="linear")
    net.fc_angles.weight.zero_()
    net.fc_angles.bias.copy_(torch.tensor([yaw_native, pitch_native]))
    return net


@pytest.mark.parametrize(("mirrored", "yaw"), [(True, -10.0), (False, 10.0)])
def test_image_left_is_screen_left_in_a_mirrored_photo_only_and_up_is_never_down(mirrored, yaw):
    answer = PersonalModel(pointing(10.0, 5.0), mirrored=mirrored)(FACES)
    assert answer.tolist() == [[yaw, -5.0]] * 2


def test_the_affine_map_stands_behind_the_signs():
    affine = torch.tensor([[2.0, 0.5, 1.0], [0.0, 1.0, -1.0]])
    answer = PersonalModel(pointing(10.0, 5.0), mirrored=True, affine=affine)(FACES)
    assert answer.tolist() == [[-10 * 2 - 5 * 0.5 + 1, -6.0]] * 2


def test_pixels_and_the_clients_tensor_give_the_same():
    model = PersonalModel(random_net(), mirrored=True)
    mean, std = (torch.tensor(x).view(1, 3, 1, 1) for x in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    assert torch.allclose(model(FACES), model.from_normalised((FACES / 255 - mean) / std), atol=1e-4)


@pytest.mark.parametrize("head", ["bins", "linear"])
def test_a_saved_model_comes_back_to_the_last_bit(tmp_path, head):
    model = PersonalModel(random_net(head=head), mirrored=False, affine=torch.randn(2, 3))
    facts = {"geometry": {"center_x": 864.0}, "table": [{"mean_deg": 1.5}], "verdict": {"better": True}}
    again, told = load_personal(save_personal(tmp_path / "checkpoints" / "personal.pt", model, facts))
    assert torch.equal(again(FACES), model(FACES))
    assert told == facts
    assert not again.mirrored
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["personal.pt"]


class Malicious:
    def __reduce__(self):
        return (print, ("executed",))


def test_what_is_no_personal_model_is_refused_by_name_and_never_executed(tmp_path, capsys):
    path = tmp_path / "personal.pt"
    with pytest.raises(DataError, match=r"personal\.pt: is not there; checkpoints/personal\.pt of a run"):
        load_personal(path)
    for content in (b"", b"<!DOCTYPE html>", pickle.dumps(Malicious())):
        path.write_bytes(content)
        with pytest.raises(DataError, match="cannot be read as a personal model"):
            load_personal(path)
    torch.save({"state_dict": {}}, path)
    with pytest.raises(DataError, match="is no personal model of this version"):
        load_personal(path)
    assert "executed" not in capsys.readouterr().out
