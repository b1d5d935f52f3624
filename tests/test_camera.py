import pytest
import torch

from gaze_exp.camera import intrinsics, normalising_rotation, normalising_warp, project

CAMERA = intrinsics(1780.6, width_px=1920, height_px=1080)
NORMAL = intrinsics(960.0, width_px=256, height_px=256)


def random_points(num, seed=0):
    """In front of the camera, 450 to 750 mm away."""
    generator = torch.Generator().manual_seed(seed)
    points = torch.randn(num, 3, generator=generator, dtype=torch.float64) * torch.tensor([60.0, 40.0, 50.0])
    return points + torch.tensor([0.0, 20.0, 600.0])


def test_a_point_on_the_axis_comes_to_the_middle_of_the_picture():
    assert project(CAMERA, torch.tensor([0.0, 0.0, 500.0]).double()).tolist() == [960.0, 540.0]


def test_right_and_down_in_space_are_right_and_down_in_the_picture():
    x, y = project(CAMERA, torch.tensor([10.0, 20.0, 1000.0]).double()).tolist()
    assert (x, y) == pytest.approx((960 + 17.806, 540 + 35.612))


def test_the_normalised_camera_looks_at_the_origin_with_a_level_head():
    origins, axes = random_points(50), torch.nn.functional.normalize(random_points(50, seed=1), dim=-1)
    rotation = normalising_rotation(origins, axes)
    forward = (rotation @ origins[..., None])[..., 0]
    assert forward[:, :2].abs().max() < 1e-9
    assert (forward[:, 2] > 0).all()
    assert (rotation @ axes[..., None])[:, 1].abs().max() < 1e-12
    assert torch.allclose(rotation @ rotation.transpose(-1, -2), torch.eye(3, dtype=torch.float64).expand(50, 3, 3))
    assert torch.allclose(torch.linalg.det(rotation), torch.ones(50, dtype=torch.float64))


def test_a_head_before_the_camera_is_not_turned():
    rotation = normalising_rotation(torch.tensor([0.0, 0.0, 600.0]), torch.tensor([1.0, 0.0, 0.0]))
    assert torch.equal(rotation, torch.eye(3))


def test_the_warp_takes_the_picture_of_a_point_to_its_place_in_the_patch():
    origin, points = torch.tensor([40.0, 70.0, 620.0]).double(), random_points(50)
    rotation = normalising_rotation(origin, torch.tensor([1.0, 0.1, 0.05]).double())
    warp = normalising_warp(
        rotation, camera_matrix=CAMERA, normal_matrix=NORMAL, origin_mm=origin, normal_distance_mm=600.0
    )
    place = torch.nn.functional.pad(project(CAMERA, points), (0, 1), value=1.0)
    place = (warp @ place[..., None])[..., 0]
    # The patch is the picture of a camera whose depth axis is scaled so that the origin is 600 mm away.
    in_patch = (rotation @ points[..., None])[..., 0] * torch.tensor([1, 1, 600 / float(origin.norm())])
    assert torch.allclose(place[:, :2] / place[:, 2:], project(NORMAL, in_patch))
    centre = warp @ torch.nn.functional.pad(project(CAMERA, origin), (0, 1), value=1.0)
    assert (centre[:2] / centre[2]).tolist() == pytest.approx((128.0, 128.0))
