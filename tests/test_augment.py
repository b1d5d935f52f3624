import math

import pytest
import torch

from gaze_exp.augment import FlipAugment, PhotometricAugment, blur, colour_matrix
from gaze_exp.errors import ConfigError

CROPS = ("face", "left_eye", "right_eye")
OFF = {
    "brightness": 0.0,
    "contrast": 0.0,
    "saturation": 0.0,
    "hue": 0.0,
    "greyscale_probability": 0.0,
    "blur_probability": 0.0,
    "noise_probability": 0.0,
}


def batch_of(num=6, face_size=48, eye_size=24):
    random = torch.Generator().manual_seed(0)

    def images(size):
        return torch.randint(0, 256, (num, size, size, 3), dtype=torch.uint8, generator=random).permute(0, 3, 1, 2)

    return {
        "face": images(face_size),
        "left_eye": images(eye_size),
        "right_eye": images(eye_size),
        "gaze": torch.rand(num, 2, generator=random) - 0.5,
        "head": torch.rand(num, 2, generator=random) - 0.5,
        "valid": torch.ones(num, dtype=torch.bool),
        "subject": torch.zeros(num, dtype=torch.int64),
        "row": torch.arange(num),
    }


def flat_batch(num=8, level=128):
    batch = batch_of(num)
    return batch | {name: torch.full_like(batch[name], level) for name in CROPS}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


# Flip.


def test_flip_negates_yaw_and_swaps_eyes():
    batch = batch_of()
    flipped = FlipAugment(1.0)(batch)
    assert torch.equal(flipped["face"], batch["face"].flip(-1))
    assert torch.equal(flipped["left_eye"], batch["right_eye"].flip(-1))
    assert torch.equal(flipped["right_eye"], batch["left_eye"].flip(-1))
    for key in ("gaze", "head"):
        assert torch.equal(flipped[key], batch[key] * torch.tensor([1.0, -1.0]))
    assert torch.equal(flipped["row"], batch["row"])


def test_flip_twice_is_the_identity():
    batch, flip = batch_of(), FlipAugment(1.0)
    assert same(flip(flip(batch)), batch)


def test_flip_of_some_rows_leaves_the_others_and_keeps_pictures_and_labels_together():
    batch = batch_of(200, face_size=4, eye_size=2)
    torch.manual_seed(0)
    flipped = FlipAugment(0.3)(batch)
    chosen = (flipped["gaze"] != batch["gaze"]).any(1)
    assert 30 < chosen.sum() < 90
    mirrored = FlipAugment(1.0)(batch)
    for key in (*CROPS, "gaze", "head"):
        assert torch.equal(flipped[key][chosen], mirrored[key][chosen]), key
        assert torch.equal(flipped[key][~chosen], batch[key][~chosen]), key


def test_flip_works_without_head_and_keeps_unknown_heads_unknown():
    batch = batch_of()
    batch["head"][0] = math.nan
    assert FlipAugment(1.0)(batch)["head"][0].isnan().all()
    del batch["head"]
    assert "head" not in FlipAugment(1.0)(batch)


def test_photometric_flips_as_flip_does():
    batch = batch_of()
    assert same(PhotometricAugment(**OFF, flip_probability=1.0)(batch), FlipAugment(1.0)(batch))


# Photometric.


def test_it_changes_nothing_in_evaluation():
    batch = batch_of()
    assert PhotometricAugment(flip_probability=1.0).eval()(batch) is batch


def test_with_everything_off_pictures_stay_as_they_are():
    batch = batch_of()
    assert same(PhotometricAugment(**OFF)(batch), batch)


def test_only_pictures_change_and_the_given_batch_stays_whole():
    batch = batch_of()
    before = {key: value.clone() for key, value in batch.items()}
    augmented = PhotometricAugment()(batch)
    assert same(batch, before)
    for key in batch.keys() - set(CROPS):
        assert torch.equal(augmented[key], batch[key]), key
    for key in CROPS:
        assert augmented[key].dtype == torch.float32
        assert augmented[key].shape == batch[key].shape
        assert augmented[key].min() >= 0
        assert augmented[key].max() <= 255
        assert not torch.equal(augmented[key], batch[key].float())


def test_the_global_seed_repeats_a_draw():
    augment, batch = PhotometricAugment(noise_probability=1.0, blur_probability=0.5), batch_of()
    results = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        results.append(augment(batch))
    assert same(results[0], results[1])
    assert not same(results[0], results[2])


def test_two_modules_share_their_noise_so_that_a_resumed_run_repeats_it():
    torch.manual_seed(5)
    first = PhotometricAugment()
    torch.manual_seed(6)
    assert torch.equal(first.noise_bank, PhotometricAugment().noise_bank)
    assert not first.state_dict()


def test_one_draw_a_sample_is_shared_by_its_three_crops_and_differs_between_samples():
    augmented = PhotometricAugment(**OFF | {"brightness": 0.4, "contrast": 0.4})(flat_batch(level=60))
    colours = torch.stack([augmented[name].mean((2, 3)) for name in CROPS])
    assert torch.allclose(colours[0], colours[1], atol=1e-3)
    assert torch.allclose(colours[0], colours[2], atol=1e-3)
    assert len(colours[0, :, 0].round(decimals=2).unique()) == 8


def test_brightness_stays_within_its_strength():
    augmented = PhotometricAugment(**OFF | {"brightness": 0.2})(flat_batch(num=500, level=100))
    levels = augmented["face"][:, 0, 0, 0]
    assert levels.min() >= 80
    assert levels.max() <= 120
    assert levels.min() < 85
    assert levels.max() > 115


def test_contrast_turns_around_mid_grey():
    augmented = PhotometricAugment(**OFF | {"contrast": 0.5})(flat_batch(level=0))
    assert augmented["face"][:, 0, 0, 0].max() <= 127.5 * 0.5
    batch = flat_batch()
    batch |= {name: torch.full_like(batch[name], 127.5, dtype=torch.float32) for name in CROPS}
    assert torch.allclose(PhotometricAugment(**OFF | {"contrast": 0.5})(batch)["face"], batch["face"], atol=1e-3)


def test_greyscale_makes_the_channels_equal_to_the_luminance():
    batch = batch_of()
    grey = PhotometricAugment(**OFF | {"greyscale_probability": 1.0})(batch)["left_eye"]
    luminance = torch.einsum("c,bchw->bhw", torch.tensor([0.299, 0.587, 0.114]), batch["left_eye"].float())
    for channel in range(3):
        assert torch.allclose(grey[:, channel], luminance, atol=1e-2)


def test_hue_and_saturation_leave_grey_alone():
    augmented = PhotometricAugment(**OFF | {"saturation": 0.9, "hue": 0.5})(flat_batch(level=90))
    assert torch.allclose(augmented["face"], torch.full_like(augmented["face"], 90.0), atol=0.05)


def test_a_full_turn_of_the_hue_is_the_identity_and_a_third_moves_red_to_green():
    one = torch.ones(1)
    assert torch.allclose(colour_matrix(gain=one, saturation=one, turn=one)[0], torch.eye(3), atol=1e-5)
    red = torch.tensor([1.0, 0.0, 0.0])
    turned = [colour_matrix(gain=one, saturation=one, turn=turn * one)[0] @ red for turn in (1 / 3, -1 / 3)]
    assert {int(colour.argmax()) for colour in turned} == {1, 2}


def test_noise_has_its_level_and_differs_between_pixels_crops_and_samples():
    augment = PhotometricAugment(**OFF | {"noise_probability": 1.0}, noise_std=10.0)
    torch.manual_seed(0)
    augmented = augment(flat_batch(num=64))
    noise = {name: augmented[name] - 128 for name in CROPS}
    levels = noise["face"].flatten(1).std(1)
    assert levels.max() <= 10.5
    assert levels.max() > 8
    # The same level in each crop of a sample, whatever the pixels.
    assert torch.allclose(levels, noise["left_eye"].flatten(1).std(1), rtol=0.15)
    assert correlation(noise["left_eye"][0], noise["right_eye"][0]) < 0.1
    assert correlation(noise["face"][0], noise["face"][1]) < 0.1
    assert correlation(noise["face"][0, 0], noise["face"][0, 1]) < 0.1


def correlation(a, b):
    return torch.corrcoef(torch.stack((a.flatten(), b.flatten())))[0, 1].abs()


def test_noise_reaches_the_share_of_samples_it_shall():
    torch.manual_seed(0)
    augmented = PhotometricAugment(**OFF | {"noise_probability": 0.25}, noise_std=10.0)(flat_batch(num=400))
    noisy = augmented["face"][:, 0].flatten(1).std(1) > 0.01
    assert 60 < noisy.sum() < 140


def test_noise_of_pictures_larger_than_its_bank_still_comes():
    augment = PhotometricAugment(**OFF | {"noise_probability": 1.0}, noise_std=10.0)
    augment.noise_bank = augment.noise_bank[:100]
    assert augment(flat_batch(num=2))["face"].std() > 0.1


def test_blur_is_the_gaussian_it_says():
    """A point becomes the Gaussian's own values, an independent formula."""
    image = torch.zeros(1, 3, 101, 101)
    image[:, :, 50, 50] = 1000.0
    sigma_px = 1.5
    blurred = blur(image, sigma=torch.tensor([sigma_px / 101]), max_sigma=3 / 101)
    assert blurred.sum(dim=(2, 3)) == pytest.approx(torch.full((1, 3), 1000.0), rel=1e-4)
    peak = 1000 / (2 * math.pi * sigma_px**2)
    for down, right in ((0, 0), (1, 0), (0, 2), (2, 2)):
        expected = peak * math.exp(-(down**2 + right**2) / (2 * sigma_px**2))
        assert blurred[0, 1, 50 + down, 50 + right].item() == pytest.approx(expected, rel=1e-2)


def test_blur_keeps_flat_pictures_and_their_borders():
    image = torch.full((2, 3, 40, 40), 77.0)
    assert torch.allclose(blur(image, sigma=torch.tensor([0.0, 0.05]), max_sigma=0.05), image, atol=1e-3)


def test_blur_takes_the_same_share_of_the_side_from_every_crop():
    """The same scene at half the size, blurred by the same draw, is the blurred scene at half the size."""
    ramp = torch.sin(torch.arange(192) / 192 * 12).mul(100).add(128)
    large = ramp.expand(1, 3, 192, 192)
    small = torch.nn.functional.avg_pool2d(large, 2)
    sigma = torch.tensor([0.02])
    of_large = torch.nn.functional.avg_pool2d(blur(large, sigma=sigma, max_sigma=0.02), 2)
    of_small = blur(small, sigma=sigma, max_sigma=0.02)
    inner = slice(12, -12)
    change = (of_small - small)[..., inner].abs().max()
    assert change > 1
    assert (of_large - of_small)[..., inner].abs().max() < 0.15 * change


def test_bf16_autocast_does_not_coarsen_the_pixels():
    batch = flat_batch(level=129)
    augment = PhotometricAugment(**OFF | {"hue": 0.4})
    with torch.autocast("cpu", dtype=torch.bfloat16):
        augmented = augment(batch)["face"]
    assert torch.allclose(augmented, torch.full_like(augmented, 129.0), atol=0.05)


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("greyscale_probability", 1.5, "no probability"),
        ("flip_probability", -0.1, "no probability"),
        ("noise_std", -1.0, "negative"),
        ("brightness", -0.3, "negative"),
    ],
)
def test_impossible_strengths_are_refused_by_name(option, value, says):
    with pytest.raises(ConfigError, match=f"augment.{option}: {value} is {says}"):
        PhotometricAugment(**{option: value})
