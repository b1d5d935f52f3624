"""Augmentation of a whole batch on its device: one random draw a sample, shared by its three crops.

A window of T frames, (B, T, ...) for (B, ...), is one sample: its frames share every draw but the noise of a
pixel, because a video does not flicker.

Training only: in eval mode both modules hand the batch back as it is. What is drawn comes from torch's
global CPU generator, whatever the device, so seeding it repeats a step and drawing never waits for a GPU.

Shapes: B batch, H W pixels of any of the crops.
"""

import math
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gaze_exp.augment_flip import FlipAugment, check_probabilities
from gaze_exp.batch import GazeBatch
from gaze_exp.errors import ConfigError

CROPS = ("face", "left_eye", "right_eye")
MID_GREY = 127.5
RGB_TO_YIQ = ((0.299, 0.587, 0.114), (0.596, -0.274, -0.322), (0.211, -0.523, 0.312))
NOISE_BANK_SIZE = 2**22
NOISE_ROW_SHIFT = 4099
"""Distance of two samples' noise in the bank; a prime, so that picture rows do not line up."""

INVISIBLE_SIGMA_PX = 0.25
"""A Gaussian this narrow moves less than a thousandth of a pixel's value to its neighbour."""


class PhotometricAugment(nn.Module):
    """Colour, greyscale, blur and sensor noise; the labels stay.

    Brightness, contrast, saturation and hue become one 3x4 colour matrix a sample. Each is drawn evenly
    between its two ends. The three crops of a sample share colour, blur and noise level; the noise itself
    differs from pixel to pixel and from crop to crop.

    Args:
        brightness: largest change of the brightness factor around 1.
        contrast: largest change of the contrast factor around 1; the pivot is mid-grey.
        saturation: largest change of the saturation factor around 1.
        hue: largest turn of the hue, as a fraction of a full turn.
        greyscale_probability: of losing all colour.
        blur_probability: of a Gaussian blur.
        blur_sigma: largest sigma as a fraction of the crop's side: 0.006 is 1.3 px of a 224 px face and
            0.7 px of a 112 px eye, so each picture loses the same share of its detail.
        noise_probability: of sensor noise.
        noise_std: largest standard deviation of the noise, grey levels of 0..255.
        flip_probability: of mirroring, labels and eyes included (`FlipAugment`).

    Raises:
        ConfigError: a probability outside 0..1 or a negative strength.
    """

    noise_bank: Tensor

    def __init__(
        self,
        *,
        brightness: float = 0.3,
        contrast: float = 0.3,
        saturation: float = 0.3,
        hue: float = 0.02,
        greyscale_probability: float = 0.1,
        blur_probability: float = 0.2,
        blur_sigma: float = 0.006,
        noise_probability: float = 0.5,
        noise_std: float = 6.0,
        flip_probability: float = 0.0,
    ) -> None:
        super().__init__()
        check_probabilities(
            greyscale_probability=greyscale_probability,
            blur_probability=blur_probability,
            noise_probability=noise_probability,
        )
        _check_strengths(
            brightness=brightness,
            contrast=contrast,
            saturation=saturation,
            hue=hue,
            blur_sigma=blur_sigma,
            noise_std=noise_std,
        )
        self.flip = FlipAugment(flip_probability)
        self.brightness, self.contrast, self.saturation, self.hue = brightness, contrast, saturation, hue
        self.greyscale_probability = greyscale_probability
        self.blur_probability, self.blur_sigma = blur_probability, blur_sigma
        self.noise_probability, self.noise_std = noise_probability, noise_std
        # Fresh normal numbers cost more than everything else together on a CPU. The bank is the same in
        # every run; where a batch starts in it is drawn.
        bank = torch.randn(NOISE_BANK_SIZE if noise_std else 0, generator=torch.Generator().manual_seed(0))
        self.register_buffer("noise_bank", bank, persistent=False)

    @property
    def is_identity(self) -> bool:
        """Whether the pictures come out as they went in."""
        colour = (self.brightness, self.contrast, self.saturation, self.hue, self.greyscale_probability)
        blur = self.blur_probability * self.blur_sigma
        return not (any(colour) or blur or self.noise_probability * self.noise_std)

    @torch.no_grad()
    def forward(self, batch: GazeBatch) -> GazeBatch:
        """Augment the crops of a batch.

        Args:
            batch: crops (B, 3, H, W) uint8 or float, 0..255.

        Returns:
            The batch with its crops as float32 (B, 3, H, W), 0..255; as they came in eval mode, or where
            nothing is asked for.
        """
        if not self.training:
            return batch
        batch = self.flip(batch)
        if self.is_identity:
            return batch
        # bf16 would round the colours; a training step runs in autocast.
        with torch.autocast(batch["face"].device.type, enabled=False), torch.autocast("cpu", enabled=False):
            return self._augment(batch)

    def _augment(self, batch: GazeBatch) -> GazeBatch:
        """Draw once, and treat the three crops alike."""
        num_samples, device = len(batch["face"]), batch["face"].device
        num_frames = batch["face"].shape[1] if batch["face"].ndim == 5 else 1
        draws = (*self._draw_colour(num_samples), *self._draw_blur(num_samples), self._draw_noise(num_samples))
        matrix, offset, is_blurred, sigma, noise_std = (x.repeat_interleave(num_frames, dim=0) for x in draws)
        blurred_rows = is_blurred.nonzero()[:, 0]
        sigma = sigma[blurred_rows]
        matrix, offset, blurred_rows, sigma, noise_std = (
            x.to(device, non_blocking=True) for x in (matrix, offset, blurred_rows, sigma, noise_std)
        )
        augmented = dict(batch)
        for name in CROPS:
            # Planar on purpose: the three steps below are two to four times faster on it on a CPU.
            given = cast("Tensor", augmented[name])
            images = given.flatten(0, -4).contiguous().float()
            images = torch.baddbmm(offset, matrix, images.flatten(2)).view_as(images)
            if len(blurred_rows):
                blurred = blur(images[blurred_rows], sigma=sigma, max_sigma=self.blur_sigma)
                images.index_copy_(0, blurred_rows, blurred)
            if self.noise_std:
                self._add_noise(images, noise_std)
            augmented[name] = images.clamp_(0, 255).view_as(given)
        return cast("GazeBatch", augmented)

    def _draw_colour(self, num_samples: int) -> tuple[Tensor, Tensor]:
        """Draw a colour matrix (B, 3, 3) and an offset (B, 3, 1), grey levels."""
        uniform = torch.rand(5, num_samples)
        brightness, contrast, saturation = (
            1 + strength * (2 * draw - 1)
            for strength, draw in zip((self.brightness, self.contrast, self.saturation), uniform, strict=False)
        )
        turn = self.hue * (2 * uniform[3] - 1)
        saturation = torch.where(uniform[4] < self.greyscale_probability, 0.0, saturation)
        matrix = colour_matrix(gain=brightness * contrast, saturation=saturation, turn=turn)
        offset = MID_GREY * (1 - contrast)
        return matrix, offset[:, None, None].expand(-1, 3, 1)

    def _draw_blur(self, num_samples: int) -> tuple[Tensor, Tensor]:
        """Draw who is blurred, (B,) bool, and the sigmas (B,), fractions of the crop's side."""
        uniform = torch.rand(2, num_samples)
        return uniform[0] < self.blur_probability, self.blur_sigma * uniform[1]

    def _draw_noise(self, num_samples: int) -> Tensor:
        """Draw the noise's standard deviation (B, 1), 0 where there is none; its sign turns the bank over."""
        uniform = torch.rand(2, num_samples)
        std = self.noise_std * (2 * uniform[1] - 1)
        return torch.where(uniform[0] < self.noise_probability, std, 0.0)[:, None]

    def _add_noise(self, images: Tensor, noise_std: Tensor) -> None:
        """Add noise from a random place of the bank, in place: (B, 3, H, W) and (B, 1)."""
        num_samples, num_values = len(images), images[0].numel()
        spare = self.noise_bank.numel() - num_values
        shift = min(NOISE_ROW_SHIFT, spare // (2 * num_samples))
        if shift < 1:  # a picture as large as the bank
            noise = torch.randn_like(images).flatten(1)
        else:
            start = int(torch.randint(spare - shift * num_samples, ()))
            noise = self.noise_bank.as_strided((num_samples, num_values), (shift, 1), start)
        images.flatten(1).addcmul_(noise, noise_std)


def colour_matrix(*, gain: Tensor, saturation: Tensor, turn: Tensor) -> Tensor:
    """Matrix that scales, saturates and turns the hue of RGB colours.

    Args:
        gain: (B,) factor on everything.
        saturation: (B,) factor on the colour; 0 leaves grey.
        turn: (B,) of the hue, as a fraction of a full turn.

    Returns:
        (B, 3, 3) for column vectors RGB.

    Source: the YIQ colour space: Y is the luminance, and hue is the angle in the plane of I and Q.
    """
    to_yiq = torch.tensor(RGB_TO_YIQ)
    cosine, sine = (saturation * f(2 * math.pi * turn) for f in (torch.cos, torch.sin))
    inner = torch.zeros(len(gain), 3, 3)
    inner[:, 0, 0] = 1.0
    inner[:, 1, 1], inner[:, 1, 2], inner[:, 2, 1], inner[:, 2, 2] = cosine, -sine, sine, cosine
    return gain[:, None, None] * (torch.linalg.inv(to_yiq) @ inner @ to_yiq)


def blur(images: Tensor, *, sigma: Tensor, max_sigma: float) -> Tensor:
    """Blur each picture with its own Gaussian.

    Args:
        images: (K, 3, H, W) float.
        sigma: (K,) fraction of the side W.
        max_sigma: none is larger; it sets the size of the kernel.

    Returns:
        (K, 3, H, W); the border repeats its last pixel.
    """
    side_px = images.shape[-1]
    if max_sigma * side_px < INVISIBLE_SIGMA_PX:
        return images
    radius = math.ceil(2 * max_sigma * side_px)
    place = torch.arange(-radius, radius + 1, device=images.device, dtype=images.dtype)
    sigma_px = (sigma * side_px).clamp(min=1e-3)[:, None]
    # Cut at e^-30: products of smaller taps are denormal numbers, on which a CPU takes five times as long.
    line = torch.softmax((-0.5 * (place / sigma_px) ** 2).clamp(min=-30.0), dim=1)
    # One square kernel instead of a row and a column: at these sizes a second pass costs more than the taps.
    kernels = (line[:, :, None] * line[:, None, :]).repeat_interleave(3, dim=0)[:, None]
    padded = F.pad(images, (radius,) * 4, mode="replicate").flatten(0, 1)[None]
    return F.conv2d(padded, kernels, groups=kernels.shape[0])[0].view_as(images)


def _check_strengths(**values: float) -> None:
    for name, value in values.items():
        if value < 0.0:
            raise ConfigError(f"augment.{name}: {value} is negative; give 0 (off) or more")
