"""How people sit through a calibration: one seat, a head that follows in part, few blinks."""

import pytest
import torch

from gaze_exp.data.synthetic.calibration_layout import draw_targets
from gaze_exp.data.synthetic.person import draw_person, random_stream
from gaze_exp.data.synthetic.renderer import render_frame
from gaze_exp.data.synthetic.rigs import LAPTOPS
from gaze_exp.data.synthetic.scene import optical_axes
from gaze_exp.data.synthetic.sitting import draw_sitting
from gaze_exp.data.synthetic.views import face_view
from gaze_exp.geometry import gaze_to_screen, vector_to_pitch_yaw


def sitting(number=1, session=0, num_photos=32, width_px=640):
    targets_px = draw_targets(32, num_photos, random_stream("targets", number, session))
    return draw_sitting(
        draw_person(5, number=number),
        rig=LAPTOPS[width_px],
        target_px=targets_px,
        seed=5,
        number=number,
        session=session,
    )


def from_screen_mm(scene):
    """(F, 3) heads in the frame of the screen."""
    to_screen = torch.linalg.inv(scene.rig.screen_to_camera)
    return scene.head_position_mm @ to_screen[:3, :3].T + to_screen[:3, 3]


def test_a_sitting_is_one_seat_with_a_few_centimetres_of_drift():
    for number in range(1, 21):
        scene = sitting(number)
        away_mm = scene.head_position_mm - scene.head_position_mm.mean(0)
        assert 1.0 < away_mm.norm(dim=-1).mean() < 40.0
        assert away_mm.norm(dim=-1).max() < 80.0
        # What is near in time is near in space.
        step_mm = (scene.head_position_mm[1:] - scene.head_position_mm[:-1]).norm(dim=-1)
        assert step_mm.max() < 25.0


def test_sittings_differ_in_seat_and_light_and_lie_within_45_to_75_cm():
    scenes = [sitting(number, session) for number in range(1, 21) for session in range(2)]
    distance_mm = torch.stack([-from_screen_mm(scene)[:, 2].mean() for scene in scenes])
    assert 440 < distance_mm.min() < 500 and 700 < distance_mm.max() < 760
    apart_mm = [
        (a.head_position_mm.mean(0) - b.head_position_mm.mean(0)).norm()
        for a, b in zip(scenes[::2], scenes[1::2], strict=True)
    ]
    assert torch.stack(apart_mm).median() > 40.0
    for first, second in zip(scenes[::2], scenes[1::2], strict=True):
        assert (first.light_rgb == first.light_rgb[0]).all()
        assert not torch.equal(first.light_rgb[0], second.light_rgb[0])


def test_a_head_goes_part_of_the_way_and_the_same_part_in_every_sitting():
    for number in range(1, 11):
        shares = []
        for session in range(2):
            scene = sitting(number, session, num_photos=128)
            head = vector_to_pitch_yaw(-scene.head_rotation[..., 2])[:, 1]
            gaze = vector_to_pitch_yaw(scene.target_mm - scene.head_position_mm)[:, 1]
            away = gaze - gaze.mean()
            shares.append(float((away * head).sum() / away.square().sum()))
        assert all(0.05 < share < 0.6 for share in shares)
        assert shares[0] == pytest.approx(shares[1], abs=0.1)


def test_blinks_are_few_and_eyes_stay_in_their_sockets():
    scenes = [sitting(number) for number in range(1, 41)]
    assert 0 < torch.cat([scene.blink for scene in scenes]).gt(0).double().mean() < 0.04
    turned = torch.cat([vector_to_pitch_yaw(optical_axes(scene)) for scene in scenes]).rad2deg()
    assert turned.abs().max() < 48


@pytest.mark.parametrize("width_px", LAPTOPS)
def test_labels_lead_back_to_the_pointer(width_px):
    scene = sitting(2, width_px=width_px)
    view = face_view(scene)
    target_px = gaze_to_screen(
        view.gaze,
        origin_mm=view.origin_mm,
        rotation=view.rotation,
        screen_to_camera=scene.rig.screen_to_camera,
        mm_per_px=torch.full((2,), scene.rig.mm_per_px).double(),
    )
    assert (target_px - scene.target_px).abs().max() < 0.01


def test_the_small_picture_is_the_middle_of_the_wide_one():
    small, wide = (sitting(num_photos=1, width_px=width_px) for width_px in (640, 1920))
    assert torch.equal(small.head_position_mm, wide.head_position_mm)
    small, wide = render_frame(small, width_px=240, height_px=180), render_frame(wide, width_px=320, height_px=180)
    difference = (small.int() - wide[:, :, 40:280].int()).abs().float()
    # They differ in the corners alone, which the lens darkens.
    assert difference[:, 60:120, 80:160].mean() < 3.0
    assert difference.mean() < 6.0
