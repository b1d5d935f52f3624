import copy

import pytest
import torch
from dot_faces import centre_of_dark, faces
from l2cs_files import Official

from gaze_exp.errors import DataError
from gaze_exp.models.l2cs import L2CS
from gaze_exp.weights.flip_test import flip_test, mirrored
from gaze_exp.weights.load import heads_on, load_l2cs


def test_the_output_that_turns_with_the_mirror_is_horizontal():
    right = flip_test(centre_of_dark, faces())
    assert (right.horizontal, right.verdict) == (0, "right")
    assert right.correlations[0] < -0.9 < 0.9 < right.correlations[1]
    swapped = flip_test(lambda images: centre_of_dark(images).flip(-1), faces())
    assert (swapped.horizontal, swapped.verdict) == (1, "swapped")
    assert "the heads are swapped" in str(swapped)


@pytest.mark.parametrize(
    "images",
    [faces(num=4), faces(spread=0.01), faces()[:1].expand(24, -1, -1, -1)],
    ids=["few", "frontal", "one photo"],
)
def test_pictures_that_cannot_tell_leave_it_open(images):
    told = flip_test(centre_of_dark, images)
    assert told.verdict == "inconclusive"
    assert told.horizontal is None
    assert "pictures that look to both sides would" in str(told)


def test_answers_by_chance_leave_it_open():
    random = torch.Generator().manual_seed(3)
    verdicts = {flip_test(lambda x: torch.randn(len(x), 2, generator=random), faces()).verdict for _ in range(20)}
    assert verdicts == {"inconclusive"}


def teach(net, images, answers):
    """Fit the two last layers of a random trunk to answers in degrees, so that it hears of the dot."""
    net.eval()
    with torch.no_grad():
        features = net.late(net.early(net.normalise(images))).double()
    ones = torch.ones(len(features), 1, dtype=torch.double)
    design = torch.cat((features, ones), dim=1)
    solution = torch.linalg.lstsq(design.T @ design + 1e-6 * torch.eye(design.shape[1]), design.T @ answers).solution
    net.fc_angles.weight.data, net.fc_angles.bias.data = solution[:-1].T.float(), solution[-1].float()
    return net


@pytest.fixture(scope="module")
def taught():
    """A net that follows the dot, its two answers exchanged."""
    torch.manual_seed(0)
    images = faces(num=200, seed=1)
    images = torch.cat((images, images.flip(-1)))
    net = L2CS(arch="resnet18", pretrained="none", head="linear", image_size=None)
    return teach(net, images, centre_of_dark(images).flip(-1).double())


def test_a_net_taught_the_wrong_way_round_is_found_and_put_right(taught):
    unseen = faces(seed=2)
    net = copy.deepcopy(taught)
    assert heads_on(net, unseen).verdict == "swapped"
    net.swap_heads()
    assert heads_on(net, unseen).verdict == "right"


def as_bins(weight, bias, *, sigma_deg=6.0):
    """Logits of 90 bins whose softmax is a bell around the angle that a linear layer gives."""
    edges = (torch.arange(90.0) * 4 - 180)[:, None]
    return edges * weight / sigma_deg**2, (edges[:, 0] * bias - edges[:, 0] ** 2 / 2) / sigma_deg**2


@pytest.mark.parametrize("heads", ["auto", "keep"])
def test_a_file_with_its_heads_exchanged_is_put_right_unless_told_not_to(taught, tmp_path, heads):
    state = {name: tensor for name, tensor in taught.state_dict().items() if "fc_" not in name}
    for row, head in enumerate(("fc_yaw_gaze", "fc_pitch_gaze")):
        weight, bias = as_bins(taught.fc_angles.weight[row], taught.fc_angles.bias[row])
        state |= {f"{head}.weight": weight.detach(), f"{head}.bias": bias.detach()}
    torch.save(state, tmp_path / "w.pkl")
    model, report = load_l2cs(tmp_path / "w.pkl", heads=heads, images=faces(seed=2), image_size=None)
    assert report.flip.verdict == "swapped"
    assert report.heads == {"auto": "swapped after the flip test", "keep": "kept"}[heads]
    assert heads_on(model, faces(seed=3)).verdict == {"auto": "right", "keep": "swapped"}[heads]


def test_a_net_that_hears_nothing_keeps_its_heads_and_says_so(tmp_path):
    path = tmp_path / "w.pkl"
    torch.save(Official(finetune=False).state_dict(), path)
    model, report = load_l2cs(path, images=faces(num=8), image_size=None)
    assert report.heads == "kept"
    assert report.flip.verdict == "inconclusive"
    assert any("does not tell" in line for line in report.lines())
    assert torch.equal(model.fc_yaw_gaze.weight, torch.load(path)["fc_yaw_gaze.weight"])


# Mirrored photos.

SCREEN_X = torch.tensor([100.0, 850, 1600] * 3)


def test_a_yaw_that_falls_with_x_means_mirrored_photos():
    noise = torch.randn(9, generator=torch.Generator().manual_seed(0))
    assert mirrored(22 - 0.0112 * SCREEN_X + noise, SCREEN_X) == "mirrored"
    assert mirrored(22 + 0.0112 * SCREEN_X + noise, SCREEN_X) == "not mirrored"


def test_noise_few_photos_and_one_column_of_targets_do_not_tell():
    random = torch.Generator().manual_seed(0)
    told = [mirrored(5 * torch.randn(9, generator=random), SCREEN_X) for _ in range(50)]
    assert told.count("unknown") >= 48
    assert mirrored(-0.01 * SCREEN_X[:5], SCREEN_X[:5]) == "unknown"
    assert mirrored(torch.randn(9, generator=random), torch.full((9,), 864.0)) == "unknown"


def test_answers_and_targets_must_be_as_many():
    with pytest.raises(DataError, match="3 answers for 9 targets"):
        mirrored(torch.zeros(3), SCREEN_X)
