"""What is on the screen of a synthetic EVE step: the small video that gaze can be refined with. F frames."""

import numpy as np
import torch
from torch import Tensor

from gaze_exp.data.synthetic.person import random_stream

WIDTH_PX, HEIGHT_PX = 128, 72


def stimulus(target_px: Tensor, *, kind: str, seed: int, screen_px: tuple[int, int]) -> np.ndarray:
    """Draw what a person looked at: a still picture, something that moves under the gaze, or lines of text.

    Args:
        target_px: (F, 2) what both eyes look at, px of the screen.
        kind: `image`, `video` or `wikipedia`.
        seed: another seed, another picture.
        screen_px: width and height of the screen.

    Returns:
        (F, 72, 128, 3) uint8 RGB.
    """
    place = target_px.float() * torch.tensor([WIDTH_PX / screen_px[0], HEIGHT_PX / screen_px[1]])
    stream = random_stream(seed, "stimulus")
    if kind == "wikipedia":
        pictures = _page(stream).expand(len(place), 3, HEIGHT_PX, WIDTH_PX)
    else:
        pictures = _blobs(stream).expand(len(place), 3, HEIGHT_PX, WIDTH_PX)
        # A video draws the eye along; a still picture has something wherever they rested.
        spots = place if kind == "video" else place.mean(0, keepdim=True).expand_as(place)
        pictures = pictures + _spot(spots)
    return (255 * pictures.clamp(0.0, 1.0)).to(torch.uint8).permute(0, 2, 3, 1).numpy()


def _blobs(stream: torch.Generator) -> Tensor:
    """(3, H, W) soft colours."""
    coarse = torch.rand(1, 3, 5, 8, generator=stream) * 0.7
    return torch.nn.functional.interpolate(coarse, size=(HEIGHT_PX, WIDTH_PX), mode="bicubic")[0]


def _spot(place_px: Tensor) -> Tensor:
    """(F, 1, H, W) a bright spot."""
    y, x = torch.meshgrid(torch.arange(HEIGHT_PX), torch.arange(WIDTH_PX), indexing="ij")
    away = (x - place_px[:, 0, None, None]).square() + (y - place_px[:, 1, None, None]).square()
    return torch.exp(-away / 32.0)[:, None]


def _page(stream: torch.Generator) -> Tensor:
    """(3, H, W) a white page with dark lines of words."""
    page = torch.ones(3, HEIGHT_PX, WIDTH_PX)
    words = (torch.rand(HEIGHT_PX // 4, WIDTH_PX, generator=stream) > 0.2).float()
    page[:, 2 : 2 + 4 * (HEIGHT_PX // 4) : 4, 10:118] -= 0.75 * words[:, 10:118]
    return page
