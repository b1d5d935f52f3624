from dataclasses import replace

import pytest
import torch

from gaze_exp.camera import normalising_rotation, project
from gaze_exp.data.synthetic.drawing import draw_scene, with_lids
from gaze_exp.data.synthetic.landmarks import eye_centres_px, head_box_px, landmarks_px
from gaze_exp.data.synthetic.person import draw_person, random_stream
from gaze_exp.data.synthetic.renderer import render_frame
from gaze_exp.data.synthetic.rigs import ABOVE, EVE_RIGS, LAPTOP, Rig, mirror_rig
from gaze_exp.data.synthetic.scene import mirror_scene, with_rig
from gaze_exp.data.synthetic.views import eye_views, face_view
from gaze_exp.errors import ConfigError
from gaze_exp.geometry import gaze_to_screen, screen_to_gaze

RIGS = {**EVE_RIGS, "laptop": LAPTOP}
SIZE = {"width_px": 160, "height_px": 120}


def scene_of(number, rig=ABOVE, num_frames=20, **how):
    return draw_scene(draw_person(6, number=number), rig=rig, num_frames=num_frames, seed=6, number=number, **how)


def targets_px(scene):
    """What the labels of the face and of both eyes lead back to."""
    for view in (face_view(scene), *eye_views(scene)):
        yield gaze_to_screen(
            view.gaze,
            origin_mm=view.origin_mm,
            rotation=view.rotation,
            screen_to_camera=scene.rig.screen_to_camera,
            mm_per_px=torch.full((2,), scene.rig.mm_per_px).double(),
        )


@pytest.mark.parametrize("rig", RIGS.values(), ids=RIGS)
@pytest.mark.parametrize("whole_range", [False, True])
def test_labels_lead_back_to_the_target_on_every_camera(rig, whole_range):
    for number in range(1, 4):
        scene = scene_of(number, rig, whole_range=whole_range)
        for target_px in targets_px(scene):
            assert (target_px - scene.target_px).abs().max() < 0.01


@pytest.mark.parametrize("camera", EVE_RIGS)
def test_another_camera_sees_the_same_moment(camera):
    scene = scene_of(1, EVE_RIGS["basler"])
    seen = with_rig(scene, EVE_RIGS[camera])
    for target_px in targets_px(seen):
        assert (target_px - scene.target_px).abs().max() < 0.01
    back = with_rig(seen, scene.rig)
    assert torch.allclose(back.head_position_mm, scene.head_position_mm, atol=1e-9)
    assert torch.allclose(back.head_rotation, scene.head_rotation, atol=1e-12)
    eyes_px = eye_centres_px(seen, width_px=1920, height_px=1080)
    assert (eyes_px > 0).all() and (eyes_px < torch.tensor([1920.0, 1080.0])).all()


def test_a_camera_of_another_screen_is_refused():
    with pytest.raises(ConfigError, match="another screen"):
        with_rig(scene_of(1), LAPTOP)


def test_the_cameras_of_one_screen_stand_where_their_names_say():
    screen_centre = torch.tensor([276.48, 155.52, 0.0, 1.0]).double()
    for name, side in (("webcam_l", -1), ("webcam_r", 1)):
        aside_mm = (torch.linalg.inv(EVE_RIGS[name].screen_to_camera) @ torch.tensor([0.0, 0, 0, 1]).double())[0]
        assert side * (aside_mm - screen_centre[0]) > 100
        # They are turned towards the viewer, who sits before the middle.
        viewer_mm = screen_centre - torch.tensor([0.0, 0.0, 600.0, 0.0]).double()
        x, _, z, _ = EVE_RIGS[name].screen_to_camera @ viewer_mm
        assert abs(x / z) < 0.05


# The published test vectors: screen of 0.288 mm/px, camera 10 mm above it and level, eye at (0, 100, 600) mm.
LEVEL = Rig(tilt_deg=0.0)
PUBLISHED = {
    "camera": {(960, 540): (-0.108769, 0.0), (0, 540): (-0.098854, -0.431799), (1920, 540): (-0.098854, 0.431799)},
    "normalised": {
        (960, 540): (-0.273918, 0.0),
        (0, 540): (-0.248480, -0.444114),
        (960, 0): (-0.016259, 0.0),
        (0, 0): (-0.014795, -0.427635),
    },
}


@pytest.mark.parametrize("frame", PUBLISHED)
def test_the_published_vectors_come_out_and_lead_back(frame):
    origin_mm = torch.tensor([0.0, 100.0, 600.0]).double()
    level = torch.tensor([1.0, 0.0, 0.0]).double()
    rotation = normalising_rotation(origin_mm, level) if frame == "normalised" else torch.eye(3).double()
    geometry = {
        "origin_mm": origin_mm,
        "rotation": rotation,
        "screen_to_camera": LEVEL.screen_to_camera,
        "mm_per_px": torch.full((2,), LEVEL.mm_per_px).double(),
    }
    for target, expected in PUBLISHED[frame].items():
        target_px = torch.tensor(target).double()
        gaze = screen_to_gaze(target_px, **geometry)
        assert gaze.tolist() == pytest.approx(expected, abs=1e-6)
        assert (gaze_to_screen(gaze, **geometry) - target_px).abs().max() < 0.01
    beside = gaze_to_screen(screen_to_gaze(torch.tensor([-500.0, 540.0]).double(), **geometry), **geometry)
    assert (beside * LEVEL.mm_per_px).tolist() == pytest.approx([-144.0, 155.52], abs=0.003)
    assert LEVEL.nearest_px(beside).tolist() == pytest.approx([0.0, 540.0], abs=0.01)


def test_a_point_beside_the_screen_is_reported_at_its_edge():
    points_px = torch.tensor([[-500.0, 540.0], [2000.0, -3.0], [960.0, 1200.0], [5.0, 6.0]])
    assert LEVEL.nearest_px(points_px).tolist() == [[0.0, 540.0], [1920.0, 0.0], [960.0, 1080.0], [5.0, 6.0]]


@pytest.mark.parametrize("rig", RIGS.values(), ids=RIGS)
def test_a_mirrored_scene_has_negated_yaw_and_swapped_eyes_on_every_camera(rig):
    scene = scene_of(2, rig)
    mirrored = mirror_scene(scene)
    flip = torch.tensor([1.0, -1.0])
    (face, left, right), (face_m, left_m, right_m) = ((face_view(s), *eye_views(s)) for s in (scene, mirrored))
    for view, other in ((face, face_m), (left, right_m), (right, left_m)):
        assert torch.allclose(view.gaze * flip, other.gaze, atol=1e-12)
        assert torch.allclose(view.head * flip, other.head, atol=1e-12)
    assert mirror_rig(mirrored.rig) == scene.rig


@pytest.mark.parametrize("rig", [EVE_RIGS["webcam_l"], LAPTOP], ids=["webcam_l", "laptop"])
def test_the_frame_of_a_mirrored_scene_is_the_mirrored_frame(rig):
    scene = scene_of(3, rig, num_frames=2)
    shown = render_frame(scene, **SIZE, mirrored=True).int()
    assert torch.equal(shown, render_frame(scene, **SIZE).flip(2).int())
    difference = (render_frame(mirror_scene(scene), **SIZE).int() - shown).abs()
    assert difference.float().mean() < 0.05
    assert (difference > 8).float().mean() < 0.002


def test_a_frame_is_the_same_at_any_size():
    scene = scene_of(4, LAPTOP, num_frames=1)
    large, small = (render_frame(scene, width_px=w, height_px=h)[0].float() for w, h in ((320, 240), (160, 120)))
    shrunk = torch.nn.functional.avg_pool2d(large.permute(2, 0, 1), 2).permute(1, 2, 0)
    assert (shrunk - small).abs().mean() < 2.0


def test_landmarks_are_points_of_the_face_in_the_right_order():
    scene = scene_of(5, LAPTOP, num_frames=30, whole_range=True)
    points, box, eyes = (f(scene, width_px=640, height_px=480) for f in (landmarks_px, head_box_px, eye_centres_px))
    assert points.shape == (30, 68, 2)
    assert (points >= box[:, None, :2]).all() and (points <= box[:, None, 2:]).all()
    between = torch.linalg.vector_norm(eyes[:, 0] - eyes[:, 1], dim=-1)
    # 37..42 is the eye at the image's left, the subject's right.
    for start, eye in ((36, 1), (42, 0)):
        away = torch.linalg.vector_norm(points[:, start : start + 6].mean(1) - eyes[:, eye], dim=-1)
        assert (away / between).max() < 0.1
    assert (points[:, 8, 1] > points[:, 57, 1]).all()  # chin below mouth
    assert (points[:, 0, 0] < points[:, 16, 0]).all()


def test_the_whole_range_is_covered_and_not_left():
    scene = scene_of(7, LAPTOP, num_frames=500, whole_range=True)
    depth_mm = scene.head_position_mm[:, 2]
    assert 400 <= depth_mm.min() < 420 and 880 < depth_mm.max() <= 900
    box = head_box_px(scene, width_px=640, height_px=480)
    assert (box > 0).all() and (box < torch.tensor([640.0, 480.0, 640.0, 480.0])).all()


def test_noise_blur_and_compression_come_with_the_sensor_only():
    scene = with_lids(scene_of(8, LAPTOP, num_frames=1), blink=0.0)
    clean = render_frame(scene, **SIZE)
    shaken = replace(scene, blur_mm=torch.tensor([[40.0, 0.0]]).double(), noise=0 * scene.noise)
    sharp, smeared = (
        render_frame(replace(s, jpeg_quality=0 * s.jpeg_quality), **SIZE, noise=random_stream("n")).int()
        for s in (replace(shaken, blur_mm=0 * shaken.blur_mm), shaken)
    )
    assert torch.equal(render_frame(shaken, **SIZE), clean)
    assert torch.equal(sharp, clean.int())
    detail = [(p[:, :, 1:] - p[:, :, :-1]).abs().float().mean() for p in (sharp, smeared)]
    assert detail[1] < 0.8 * detail[0]
    coarse = replace(scene, jpeg_quality=torch.tensor([5]), noise=0 * scene.noise, blur_mm=0 * scene.blur_mm)
    assert (render_frame(coarse, **SIZE, noise=random_stream("n")).int() - sharp).abs().float().mean() > 1


def test_the_principal_point_is_where_the_camera_looks():
    rig = EVE_RIGS["basler"]
    assert project(rig.camera_matrix, torch.tensor([0.0, 0.0, 500.0]).double()).tolist() == [959.33, 579.31]
    half = rig.scaled_camera_matrix(width_px=960, height_px=540)
    assert half[0].tolist() == pytest.approx([890.3, 0.0, 479.665])
