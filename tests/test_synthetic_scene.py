from dataclasses import replace

import pytest
import torch

from gaze_exp.data.synthetic.drawing import draw_scene
from gaze_exp.data.synthetic.eyes import iris_depth_mm
from gaze_exp.data.synthetic.person import draw_person, mirror_person
from gaze_exp.data.synthetic.rigs import ABOVE, BELOW, Rig
from gaze_exp.data.synthetic.scene import eye_centres, mirror_scene, optical_axes
from gaze_exp.data.synthetic.views import eye_views, face_view
from gaze_exp.geometry import angle_between, angular_error, gaze_to_screen, vector_to_pitch_yaw


def people(num, num_frames=40, rig=ABOVE):
    for number in range(1, num + 1):
        person = draw_person(3, number=number)
        yield draw_scene(person, rig=rig, num_frames=num_frames, seed=3, number=number)


def one_scene(num_frames=40, **changes):
    scene = next(people(1, num_frames))
    return replace(scene, person=replace(scene.person, **changes))


def views_of(scene):
    return face_view(scene), *eye_views(scene)


def looking_at(scene, x_px, y_px):
    return replace(scene, target_px=torch.tensor([[x_px, y_px]]).double().expand(scene.num_frames, 2))


@pytest.mark.parametrize("rig", [ABOVE, BELOW], ids=["above", "below"])
def test_labels_lead_back_to_the_target(rig):
    for scene in people(5, rig=rig):
        for view in views_of(scene):
            target_px = gaze_to_screen(
                view.gaze,
                origin_mm=view.origin_mm,
                rotation=view.rotation,
                screen_to_camera=scene.rig.screen_to_camera,
                mm_per_px=torch.full((2,), scene.rig.mm_per_px).double(),
            )
            assert (target_px - scene.target_px).abs().max() < 0.01


def test_a_level_camera_above_the_screen_is_the_published_rig():
    expected = torch.tensor([[-1.0, 0, 0, 276.48], [0, 1, 0, 10], [0, 0, -1, 0], [0, 0, 0, 1]]).double()
    assert torch.allclose(Rig(tilt_deg=0.0).screen_to_camera, expected)
    assert Rig().camera_matrix[0].tolist() == [1780.6, 0.0, 960.0]


@pytest.mark.parametrize("rig", [ABOVE, BELOW], ids=["above", "below"])
def test_every_head_is_in_the_picture(rig):
    for scene in people(5, num_frames=200, rig=rig):
        x, y, z = scene.head_position_mm.unbind(-1)
        assert (z > 0).all()
        assert (scene.rig.focal_px * x / z).abs().max() < 960
        assert (scene.rig.focal_px * y / z).abs().max() < 540


def test_the_viewers_left_edge_is_negative_yaw_and_the_top_edge_larger_pitch():
    scene = one_scene()
    for left, right in zip(views_of(looking_at(scene, 0, 540)), views_of(looking_at(scene, 1920, 540)), strict=True):
        assert (left.gaze[:, 1] < right.gaze[:, 1]).all()
    assert face_view(looking_at(scene, 0, 540)).gaze[:, 1].mean() < -0.2
    assert face_view(looking_at(scene, 1920, 540)).gaze[:, 1].mean() > 0.2
    top, bottom = face_view(looking_at(scene, 960, 0)), face_view(looking_at(scene, 960, 1080))
    assert (top.gaze[:, 0] > bottom.gaze[:, 0]).all()


def test_the_left_eye_is_at_the_right_of_the_picture():
    scene = one_scene()
    left, right = eye_views(scene)
    assert (left.origin_mm[:, 0] > right.origin_mm[:, 0]).all()


def test_a_head_that_faces_the_camera_has_head_angles_zero():
    scene = one_scene(num_frames=1)
    straight = replace(
        scene, head_rotation=torch.eye(3).double()[None], head_position_mm=torch.tensor([[0.0, 0.0, 600.0]]).double()
    )
    assert face_view(straight).head.abs().max() < 0.1  # the face's centre is a little below the eyes
    turned = torch.tensor([[0.8, 0.0, -0.6], [0.0, 1.0, 0.0], [0.6, 0.0, 0.8]]).double()[None]  # to its left
    assert face_view(replace(straight, head_rotation=turned)).head[0, 1] == pytest.approx(-0.6435, abs=0.03)


def test_without_kappa_the_optical_axes_meet_the_target():
    scene = one_scene(kappa_nasal_deg=(0.0, 0.0), kappa_up_deg=(0.0, 0.0))
    to_target = scene.target_mm[:, None] - scene.to_camera(eye_centres(scene.person))
    axes = optical_axes(scene) @ scene.head_rotation.transpose(-1, -2)
    assert angle_between(axes, to_target).max() < 1e-9


def test_kappa_turns_the_optical_axes_outwards_and_down_by_its_angle():
    straight = one_scene(kappa_nasal_deg=(0.0, 0.0), kappa_up_deg=(0.0, 0.0))
    bent = replace(straight, person=replace(straight.person, kappa_nasal_deg=(4.0, 5.0), kappa_up_deg=(0.0, 0.0)))
    before, after = optical_axes(straight), optical_axes(bent)
    assert angle_between(before, after).rad2deg().mean(0).tolist() == pytest.approx([4.0, 5.0], abs=1e-6)
    assert (after[:, 0, 0] > before[:, 0, 0]).all()  # the left eye lies at +x: outwards is +x
    assert (after[:, 1, 0] < before[:, 1, 0]).all()
    raised = replace(straight, person=replace(straight.person, kappa_up_deg=(2.0, 2.0)))
    assert (optical_axes(raised)[..., 1] > before[..., 1]).all()


def test_a_mirrored_scene_has_negated_yaw_and_swapped_eyes():
    scene = one_scene()
    mirrored = mirror_scene(scene)
    flip = torch.tensor([1.0, -1.0])
    face, left, right = views_of(scene)
    mirrored_face, mirrored_left, mirrored_right = views_of(mirrored)
    for view, other in ((face, mirrored_face), (left, mirrored_right), (right, mirrored_left)):
        assert torch.allclose(view.gaze * flip, other.gaze, atol=1e-12)
        assert torch.allclose(view.head * flip, other.head, atol=1e-12)
    assert mirror_person(mirrored.person) == scene.person


def test_the_same_seed_draws_the_same_and_another_another():
    first, again = (draw_scene(draw_person(0, number=1), rig=ABOVE, num_frames=5, seed=0, number=1) for _ in range(2))
    other = draw_scene(draw_person(1, number=1), rig=ABOVE, num_frames=5, seed=1, number=1)
    assert first.person == again.person != other.person
    assert torch.equal(first.target_px, again.target_px)
    assert not torch.equal(first.target_px, other.target_px)


def test_heads_and_eyes_stay_within_what_necks_and_sockets_allow():
    for scene in people(5, num_frames=200):
        head = vector_to_pitch_yaw(-scene.head_rotation[..., 2]).rad2deg()
        assert head.abs().max() < 40
        eyes = vector_to_pitch_yaw(optical_axes(scene)).rad2deg()
        assert eyes.abs().max() < 48


def test_no_constant_comes_within_ten_degrees():
    gaze = torch.cat([face_view(scene).gaze for scene in people(20)])
    assert angular_error(gaze, gaze.mean(0).expand_as(gaze)).rad2deg().mean() > 10


def test_kappa_is_spread_over_persons_as_it_is_over_people():
    drawn = [draw_person(4, number=number) for number in range(1, 401)]
    nasal, up = (torch.tensor([getattr(p, name) for p in drawn]) for name in ("kappa_nasal_deg", "kappa_up_deg"))
    assert nasal.mean() == pytest.approx(4.5, abs=0.2)
    assert nasal.std() == pytest.approx(1.45, abs=0.2)
    assert ((nasal > 3) & (nasal < 6)).double().mean() > 0.6
    assert (nasal > 1).double().mean() > 0.97
    assert up.mean() == pytest.approx(0.0, abs=0.2)
    assert up.std() == pytest.approx(1.4, abs=0.15)
    assert (up.abs() < 2).double().mean() > 0.8
    # Both eyes of a person go up or down together; what they share aside is a part of it.
    alike = [float(torch.corrcoef(kappa.T)[0, 1]) for kappa in (nasal, up)]
    assert 0.5 < alike[0] < 0.85 < alike[1]


def test_a_longer_eye_moves_its_iris_further_with_every_degree():
    short, long = (one_scene(eyeball_radius_mm=radius_mm).person for radius_mm in (11.5, 12.5))
    assert iris_depth_mm(long) / iris_depth_mm(short) == pytest.approx(1.117, abs=0.01)
