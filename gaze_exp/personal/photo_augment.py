"""One photo of a face, as it might have been taken: light, focus, sensor noise, a crop a little off. The label stays.

Every view has a number, and its number and the seed alone decide how it looks: banks of features, folds and
resumed runs see the same views.
"""

import threading
import zlib
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor


class PhotoAugment:
    """Brightness, contrast, saturation, Gaussian blur, ISO noise and small shifts, by albumentations.

    Args:
        brightness: largest relative change, as the next two.
        contrast: likewise.
        saturation: likewise.
        blur_sigma_px: largest, at 448 px; smaller crops are blurred less.
        iso_noise: largest intensity.
        shift: largest, as a part of the crop's side; the border is reflected. A detector that jitters does no more.
    """

    def __init__(
        self,
        *,
        brightness: float = 0.2,
        contrast: float = 0.2,
        saturation: float = 0.3,
        blur_sigma_px: float = 1.5,
        iso_noise: float = 0.3,
        shift: float = 0.022,
    ) -> None:
        self.brightness = brightness
        self.contrast = contrast
        self.saturation = saturation
        self.blur_sigma_px = blur_sigma_px
        self.iso_noise = iso_noise
        self.shift = shift
        self._of_thread = threading.local()  # albumentations keeps its random state in the transform

    def view(self, photo: Tensor, *, number: int, seed: int) -> Tensor:
        """Draw one view of a photo.

        Args:
            photo: (3, S, S) uint8 RGB.
            number: of the view, unique in the run.
            seed: of the run.

        Returns:
            (3, S, S) uint8 RGB.
        """
        transform = self._transform(photo.shape[-1])
        transform.set_random_seed(zlib.crc32(f"{seed} {number}".encode()))
        drawn = transform(image=np.ascontiguousarray(photo.permute(1, 2, 0).numpy()))["image"]
        return torch.from_numpy(np.ascontiguousarray(drawn)).permute(2, 0, 1)

    def _transform(self, size_px: int) -> Any:
        known = getattr(self._of_thread, "transforms", {})
        if size_px not in known:
            known[size_px] = self._compose(size_px)
            self._of_thread.transforms = known
        return known[size_px]

    def _compose(self, size_px: int) -> Any:
        import albumentations as A

        shift_px = round(self.shift * size_px)
        around_one = ((1 - by, 1 + by) for by in (self.brightness, self.contrast, self.saturation))
        brightness, contrast, saturation = around_one
        sigma_px = max(self.blur_sigma_px * size_px / 448, 0.1)
        return A.Compose(
            [
                A.Affine(
                    translate_px={"x": (-shift_px, shift_px), "y": (-shift_px, shift_px)},
                    border_mode=cv2.BORDER_REFLECT_101,
                    p=1.0,
                ),
                A.ColorJitter(brightness=brightness, contrast=contrast, saturation=saturation, hue=(0.0, 0.0), p=1.0),
                A.GaussianBlur(blur_limit=0, sigma_limit=(0.1, sigma_px), p=0.3),
                A.ISONoise(color_shift=(0.01, 0.03), intensity=(0.05, max(self.iso_noise, 0.05)), p=0.3),
            ]
        )
