"""From linear light to the picture that a program gets: lens, shutter, sensor, compression. F frames, H x W pixels."""

import cv2
import numpy as np
import torch
from torch import Tensor

from gaze_exp.data.synthetic.scene import Scene

_STEPS = 5
"""Moments averaged while the shutter is open."""
_LEAST_BLUR_PX = 0.4
"""Blur that no one would see is skipped."""


def expose(
    scene: Scene, light: Tensor, *, blur_px: Tensor, noise: torch.Generator | None, lens: bool = False
) -> Tensor:
    """Turn light into screen values.

    Args:
        scene: F frames.
        light: (F, 3, H, W) linear; overwritten.
        blur_px: (F, 2) way of the picture, right and down, while the shutter is open.
        noise: random numbers of the sensor; None for a sensor without noise, which also shows no blur.
        lens: darken the corners.

    Returns:
        (F, H, W, 3) uint8 RGB; the square root is the camera's curve.
    """
    if noise is not None and float(blur_px.abs().max()) > _LEAST_BLUR_PX:
        light = _smear(light, blur_px.float())
    if lens:
        light = light * _vignette(light.shape[-2:])
    picture = light.clamp_(1e-6, 1.0).sqrt_().permute(0, 2, 3, 1).contiguous()
    if noise is not None:
        grain = torch.randn(picture.shape, generator=noise, device=noise.device).to(picture.device)
        picture += scene.noise.float()[:, None, None, None] * grain
    return picture.mul_(255.0).add_(0.5).clamp_(0.0, 255.0).to(torch.uint8)


def compress(pictures: Tensor, quality: Tensor) -> Tensor:
    """Store pictures as JPEG and read them back.

    Args:
        pictures: (F, H, W, 3) uint8 RGB.
        quality: (F,) int64 1..100; 0 leaves a picture as it is.

    Returns:
        (F, H, W, 3) uint8 RGB.
    """
    stored = [_compress(picture, int(q)) for picture, q in zip(pictures.cpu().numpy(), quality, strict=True)]
    return torch.from_numpy(np.stack(stored)).to(pictures.device)


def _compress(picture: np.ndarray, quality: int) -> np.ndarray:
    if quality == 0:
        return picture
    # OpenCV takes blue for the first colour.
    _, code = cv2.imencode(".jpg", picture[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, quality))
    return np.asarray(cv2.imdecode(code, cv2.IMREAD_COLOR))[..., ::-1].copy()


def _smear(light: Tensor, blur_px: Tensor) -> Tensor:
    """Average of the picture at some moments, moved by parts of a pixel."""
    height, width = light.shape[-2:]
    way = 2.0 * blur_px / torch.tensor([width, height], device=light.device)
    total = torch.zeros_like(light)
    for moment in torch.linspace(-0.5, 0.5, _STEPS).tolist():
        move = torch.eye(2, 3, device=light.device).repeat(len(light), 1, 1)
        move[:, :, 2] = -moment * way
        grid = torch.nn.functional.affine_grid(move, list(light.shape), align_corners=False)
        total += torch.nn.functional.grid_sample(light, grid, padding_mode="border", align_corners=False)
    return total / _STEPS


def _vignette(shape: torch.Size) -> Tensor:
    """(H, W) light that reaches the corners: a quarter less there."""
    height, width = shape
    y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    return 1.0 - 0.125 * (x * x + y * y)
