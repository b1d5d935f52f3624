import pytest
import torch

from gaze_exp.data.synthetic.motion import KINDS, draw_sequence
from gaze_exp.data.synthetic.person import draw_person, random_stream
from gaze_exp.data.synthetic.renderer import render_frame
from gaze_exp.data.synthetic.rigs import EVE_RIGS, LAPTOP
from gaze_exp.errors import ConfigError


def sequence(seed=1, *, num_frames=600, fps=60, kind="image", rig=EVE_RIGS["basler"]):
    return draw_sequence(draw_person(0, number=1), rig=rig, num_frames=num_frames, fps=fps, seed=seed, kind=kind)


def speed_px(scene, fps=60):
    return torch.linalg.vector_norm(scene.target_px.diff(dim=0), dim=-1) * fps


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fps", [30, 10])
def test_a_slower_camera_sees_the_same_movement(kind, fps):
    fast, slow = sequence(num_frames=180, kind=kind), sequence(num_frames=3 * fps, fps=fps, kind=kind)
    for name in ("target_px", "head_rotation", "head_position_mm", "blink", "pupil_mm"):
        assert torch.allclose(getattr(fast, name)[:: 60 // fps], getattr(slow, name), atol=1e-9)


def test_eyes_rest_on_pictures_and_jump_between():
    speed = speed_px(sequence())
    assert (speed == 0).double().mean() > 0.7
    assert speed.max() > 5000  # a saccade
    assert 1.5 < ((speed[1:] > 0) & (speed[:-1] == 0)).sum() / 10 < 6  # jumps a second


def test_eyes_follow_what_moves_in_a_film():
    speed = speed_px(sequence(kind="video"))
    following = (speed > 1) & (speed < 500)
    assert following.double().mean() > 0.25


def test_reading_goes_right_in_small_steps_and_back_in_large_ones():
    target_px = sequence(kind="wikipedia", num_frames=1200).target_px
    steps = target_px[::6, 0].diff()
    assert (steps > 5).sum() > 3 * (steps < -5).sum() > 0
    assert target_px[-1, 1] > target_px[0, 1]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_looked_at_is_on_the_screen(kind):
    for seed in range(5):
        target_px = sequence(seed, kind=kind).target_px
        assert (target_px >= 0).all() and (target_px <= torch.tensor([1920.0, 1080.0])).all()


def test_heads_drift_slowly_and_never_jump():
    for seed in range(5):
        scene = sequence(seed)
        step_mm = torch.linalg.vector_norm(scene.head_position_mm.diff(dim=0), dim=-1)
        turn = (scene.head_rotation[1:] - scene.head_rotation[:-1]).flatten(1).norm(dim=-1)
        assert 0 < step_mm.max() < 1.0
        assert 0 < turn.max() < 0.03
        assert torch.linalg.vector_norm(scene.head_position_mm[-1] - scene.head_position_mm[0]) > 0.1


def test_blinks_close_the_eyes_for_some_frames_which_are_invalid():
    blinks = torch.cat([sequence(seed).blink for seed in range(6)])
    assert 0.01 < (blinks > 0.5).double().mean() < 0.25
    assert ((blinks > 0) & (blinks < 1)).any()
    scene = sequence(0)
    assert torch.equal(scene.valid, scene.blink < 0.5)


def test_light_stays_and_pupils_stay_in_range():
    scene = sequence()
    for name in ("light_rgb", "ambient_rgb", "background_rgb", "light_direction"):
        assert (getattr(scene, name) == getattr(scene, name)[:1]).all()
    assert (scene.pupil_mm >= 2).all() and (scene.pupil_mm <= 7).all()
    assert scene.pupil_mm.std() > 0


def test_the_same_seed_is_the_same_film():
    first, again, other = (sequence(seed, num_frames=2, rig=LAPTOP) for seed in (3, 3, 4))
    pictures = [
        render_frame(scene, width_px=80, height_px=60, noise=random_stream("film")) for scene in (first, again, other)
    ]
    assert torch.equal(pictures[0], pictures[1])
    assert not torch.equal(pictures[0], pictures[2])


def test_unknown_kinds_and_rates_are_refused():
    with pytest.raises(ConfigError, match="one of image, video, wikipedia"):
        sequence(kind="game")
    with pytest.raises(ConfigError, match="fps"):
        sequence(fps=0)
