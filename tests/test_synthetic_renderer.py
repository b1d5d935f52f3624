from dataclasses import replace

import pytest
import torch

from gaze_exp.camera import intrinsics, normalising_warp, project
from gaze_exp.data.synthetic.drawing import draw_scene
from gaze_exp.data.synthetic.eyes import iris_depth_mm
from gaze_exp.data.synthetic.person import draw_person, random_stream
from gaze_exp.data.synthetic.renderer import render
from gaze_exp.data.synthetic.rigs import ABOVE
from gaze_exp.data.synthetic.scene import eye_centres, mirror_scene, optical_axes
from gaze_exp.data.synthetic.views import eye_views, face_view

SIZE_PX = 96


def scene_of(number, num_frames=8):
    return draw_scene(draw_person(0, number=number), rig=ABOVE, num_frames=num_frames, seed=0, number=number)


def pictures(scene, size_px=SIZE_PX, noise=None):
    left, right = eye_views(scene)
    views = {"face": face_view(scene), "left": left, "right": right}
    return {name: render(scene, view, size_px=size_px, noise=noise) for name, view in views.items()}


def patch_px(scene, view, points_mm, size_px):
    """Places of camera-frame points in a patch, by way of the full frame and the published warp."""
    normal_matrix = intrinsics(view.camera.focal_px(size_px), width_px=size_px, height_px=size_px)
    warp = normalising_warp(
        view.rotation,
        camera_matrix=scene.rig.camera_matrix,
        normal_matrix=normal_matrix,
        origin_mm=view.origin_mm,
        normal_distance_mm=view.camera.distance_mm,
    )
    frame_px = torch.nn.functional.pad(project(scene.rig.camera_matrix, points_mm), (0, 1), value=1.0)
    place = (warp @ frame_px[..., None])[..., 0]
    return place[:, :2] / place[:, 2:]


def test_the_iris_is_where_geometry_puts_it():
    scene = scene_of(1, num_frames=24)
    open_wide = replace(
        scene.person, upper_lid_mm=(9.5, 9.5), lower_lid_mm=(9.5, 9.5), fissure_half_width_mm=17.0, lid_follow=1.0
    )
    scene = replace(
        scene, person=open_wide, ambient_rgb=torch.full_like(scene.ambient_rgb, 0.4), light_rgb=0 * scene.light_rgb
    )
    bright = replace(scene, person=replace(open_wide, iris_rgb=(1.0, 1.0, 1.0)))
    dark = replace(scene, person=replace(open_wide, iris_rgb=(0.0, 0.0, 0.0)))
    centres_mm = eye_centres(open_wide) + iris_depth_mm(open_wide) * optical_axes(scene)
    for eye, view in enumerate(eye_views(scene)):
        expected_px = patch_px(scene, view, scene.to_camera(centres_mm)[:, eye], SIZE_PX)
        # What changes with the colour of the iris is the iris.
        shown = (render(bright, view, size_px=SIZE_PX).int() - render(dark, view, size_px=SIZE_PX).int()).sum(-1)
        weight = (shown > 100).double()
        places = torch.arange(SIZE_PX).double() + 0.5
        found_px = torch.stack(((weight.sum(1) * places).sum(1), (weight.sum(2) * places).sum(1)), dim=-1)
        found_px /= weight.sum((1, 2))[:, None]
        error_px = torch.linalg.vector_norm(found_px - expected_px, dim=-1)
        assert error_px.median() < 0.5
        assert error_px.max() < 1.5


def test_the_iris_moves_with_the_gaze():
    scene = scene_of(2, num_frames=1)
    gap = []
    for x_px in (100.0, 1820.0):
        looks = replace(scene, target_px=torch.tensor([[x_px, 540.0]]).double())
        iris_mm = eye_centres(scene.person) + iris_depth_mm(scene.person) * optical_axes(looks)
        left, _ = eye_views(looks)
        gap.append(patch_px(looks, left, looks.to_camera(iris_mm)[:, 0], SIZE_PX)[0])
        assert render(looks, left, size_px=SIZE_PX).float().std() > 10
    # The viewer's left edge of the screen is at the right of the picture.
    assert gap[0][0] - gap[1][0] > 10


def test_a_mirrored_scene_is_the_flipped_picture_with_swapped_eyes():
    scene = scene_of(3)
    seen, mirrored = pictures(scene), pictures(mirror_scene(scene))
    for name, other in (("face", "face"), ("left", "right"), ("right", "left")):
        difference = (seen[name].flip(2).int() - mirrored[other].int()).abs().float()
        # Hair has strands and an iris spokes that run one way; everything else is exact.
        assert difference.mean() < 0.5
        assert (difference > 24).float().mean() < 0.01


@pytest.mark.parametrize("name", ["face", "left", "right"])
def test_the_view_is_the_same_at_any_size(name):
    scene = scene_of(4, num_frames=2)
    large, small = pictures(scene, 128)[name], pictures(scene, 64)[name]
    shrunk = torch.nn.functional.avg_pool2d(large.permute(0, 3, 1, 2).float(), 2).permute(0, 2, 3, 1)
    assert (shrunk - small.float()).abs().mean() < 3.0
    moved = shrunk.roll(1, dims=2)
    assert (moved - small.float()).abs().mean() > 1.3 * (shrunk - small.float()).abs().mean()


def test_the_same_seed_gives_the_same_pixels_and_another_noise_others():
    first, again, other = (
        pictures(scene_of(5), 32, noise=random_stream(seed, "noise")) for seed in ("one", "one", "two")
    )
    for name, picture in first.items():
        assert torch.equal(picture, again[name])
        assert not torch.equal(picture, other[name])


def test_people_look_different_in_the_same_frame():
    scene = scene_of(6, num_frames=1)
    faces = [render(replace(scene, person=draw_person(0, number=n)), face_view(scene), size_px=32) for n in range(6)]
    for index, face in enumerate(faces):
        for other in faces[:index]:
            assert (face.int() - other.int()).abs().float().mean() > 3


def test_lids_follow_the_gaze_down():
    scene = scene_of(7, num_frames=1)
    white = []
    for y_px in (0.0, 1080.0):
        looks = replace(scene, target_px=torch.tensor([[960.0, y_px]]).double())
        left, _ = eye_views(looks)
        dark = replace(looks, person=replace(looks.person, iris_rgb=(0.0, 0.0, 0.0)))
        bright = replace(looks, person=replace(looks.person, iris_rgb=(1.0, 1.0, 1.0)))
        change = render(bright, left, size_px=SIZE_PX).int() - render(dark, left, size_px=SIZE_PX).int()
        white.append(int((change.sum(-1) > 60).sum()))
    looking_up, looking_down = white
    assert looking_down < looking_up


def test_every_face_fills_the_middle_of_its_crop():
    for number in range(8, 12):
        scene = scene_of(number, num_frames=4)
        lit = replace(scene, background_rgb=torch.tensor([0.0, 1.0, 0.0]).double().expand(4, 2, 3))
        face = render(lit, face_view(lit), size_px=32)
        green = (face[..., 1] > 250) & (face[..., 0] < 8) & (face[..., 2] < 8)
        assert not green[:, 10:22, 10:22].any()
