from dataclasses import replace

import pytest
import torch

from gaze_exp.data.synthetic.drawing import draw_scene, with_lids
from gaze_exp.data.synthetic.eyes import iris_depth_mm
from gaze_exp.data.synthetic.masks import IRIS, PUPIL, SCLERA, eye_mask
from gaze_exp.data.synthetic.person import draw_person
from gaze_exp.data.synthetic.renderer import render
from gaze_exp.data.synthetic.rigs import ABOVE
from gaze_exp.data.synthetic.scene import eye_centres, optical_axes
from gaze_exp.data.synthetic.views import eye_views

SIZE_PX = 112


def scene_of(number, num_frames=12):
    scene = draw_scene(draw_person(5, number=number), rig=ABOVE, num_frames=num_frames, seed=5, number=number)
    return with_lids(scene, blink=0.0)


def wide_open(scene):
    lids = {"upper_lid_mm": (9.5, 9.5), "lower_lid_mm": (9.5, 9.5), "fissure_half_width_mm": 17.0, "lid_follow": 1.0}
    return replace(scene, person=replace(scene.person, **lids))


def in_view(view, point_mm):
    """(F, 2) px of camera-frame points in a normalised view, by its rotation and distance alone."""
    x, y, z = (view.rotation @ point_mm[..., None])[..., 0].unbind(-1)
    distance_mm = torch.linalg.vector_norm(view.origin_mm, dim=-1)
    focal_px = view.camera.focal_px(SIZE_PX) * distance_mm / view.camera.distance_mm
    return torch.stack((x, y), dim=-1) / z[:, None] * focal_px[:, None] + SIZE_PX / 2


def centre_of(mask):
    places = torch.arange(SIZE_PX).double() + 0.5
    weight = mask.double()
    centre = torch.stack(((weight.sum(1) * places).sum(1), (weight.sum(2) * places).sum(1)), dim=-1)
    return centre / weight.sum((1, 2))[:, None]


def test_the_iris_of_the_mask_is_where_geometry_puts_it():
    errors = []
    for number in range(1, 7):
        scene = wide_open(scene_of(number))
        centres_mm = scene.to_camera(eye_centres(scene.person) + iris_depth_mm(scene.person) * optical_axes(scene))
        for eye, view in enumerate(eye_views(scene)):
            mask = eye_mask(scene, view, size_px=SIZE_PX)
            errors.append(torch.linalg.vector_norm(centre_of(mask >= IRIS) - in_view(view, centres_mm[:, eye]), dim=-1))
    errors = torch.cat(errors)
    assert errors.median() < 0.5
    assert errors.max() < 1.5


def test_masks_of_a_closed_eye_are_empty():
    for number in range(1, 5):
        closed = with_lids(scene_of(number), blink=1.0)
        for view in eye_views(closed):
            assert not eye_mask(closed, view, size_px=SIZE_PX).any()


def test_a_falling_lid_covers_more_and_more():
    scene = scene_of(1)
    left, _ = eye_views(scene)
    seen = [int((eye_mask(with_lids(scene, blink=b), left, size_px=SIZE_PX) > 0).sum()) for b in (0.0, 0.3, 0.6, 0.9)]
    assert seen == sorted(seen, reverse=True)
    assert seen[0] > 2 * seen[2] > 0


def test_the_labels_nest():
    scene = wide_open(scene_of(2))
    for view in eye_views(scene):
        mask = eye_mask(scene, view, size_px=SIZE_PX)
        assert mask.dtype == torch.uint8
        num = {label: (mask == label).sum((1, 2)) for label in (SCLERA, IRIS, PUPIL)}
        assert all((count > 0).all() for count in num.values())
        pupil, iris = centre_of(mask == PUPIL), centre_of(mask >= IRIS)
        assert torch.linalg.vector_norm(pupil - iris, dim=-1).max() < 1.5


def test_the_pupil_has_the_size_of_its_label():
    scene = replace(
        wide_open(scene_of(3, num_frames=6)), pupil_mm=torch.tensor([2.0, 3.0, 4.0, 5.0, 6.0, 7.0]).double()
    )
    left, _ = eye_views(scene)
    mask = eye_mask(scene, left, size_px=SIZE_PX)
    share = (mask == PUPIL).sum((1, 2)) / (mask >= IRIS).sum((1, 2))
    expected = (scene.pupil_mm / 2 / scene.person.iris_radius_mm) ** 2
    assert share.tolist() == pytest.approx(expected.tolist(), abs=0.06)


def test_the_mask_is_of_the_same_pixels_as_the_picture():
    scene = wide_open(scene_of(4, num_frames=4))
    left, _ = eye_views(scene)
    mask = eye_mask(scene, left, size_px=SIZE_PX)
    blind = replace(scene, screen_rgb=0 * scene.screen_rgb)
    dark = render(replace(blind, person=replace(scene.person, iris_rgb=(0.0,) * 3)), left, size_px=SIZE_PX).int()
    bright = render(replace(blind, person=replace(scene.person, iris_rgb=(1.0,) * 3)), left, size_px=SIZE_PX).int()
    changed = (bright - dark).sum(-1) > 150
    differs = changed != (mask == IRIS)
    assert differs.sum() < 0.12 * (mask == IRIS).sum()
