"""How well a model says what each pixel of an eye is: intersection over union a class, and pictures.

Shapes: B batch, h w pixels of an eye, K = 4 classes.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gaze_exp import draw
from gaze_exp.batch import GazeBatch, GazeOutput
from gaze_exp.evaluation import draw_persons
from gaze_exp.metrics import MASK_CLASSES, mask_confusion

NUM_PICTURES = 12


class SegmentationScore:
    """Collects the masks of a pass over a data set: called with every batch and what the model answered."""

    def __init__(self) -> None:
        self.confusion: dict[int, Tensor] = {}
        self.pictures: list[draw.Image] = []
        self.num_eyes = 0

    def __call__(self, batch: GazeBatch, output: GazeOutput) -> None:
        """Count the pixels of one batch, and keep the eyes of its first row with a mask."""
        if "mask_left" in batch and "mask_left_logits" in output:
            self._add(batch["left_eye"], batch["mask_left"], output["mask_left_logits"], batch["subject"])
            self._add(batch["right_eye"], batch["mask_right"], output["mask_right_logits"], batch["subject"])

    def _add(self, eyes: Tensor, mask: Tensor, logits: Tensor, subject: Tensor) -> None:
        answer, mask, subject = logits.argmax(dim=1).cpu(), mask.cpu(), subject.cpu()
        is_known = (mask < len(MASK_CLASSES)).flatten(1).any(dim=1)
        self.num_eyes += int(is_known.sum())
        for person in subject[is_known].unique().tolist():
            counted = mask_confusion(answer[subject == person], mask[subject == person])
            self.confusion[person] = self.confusion.get(person, torch.zeros_like(counted)) + counted
        if len(self.pictures) < NUM_PICTURES and bool(is_known.any()):
            row = int(is_known.nonzero()[0])
            self.pictures.append(triptych(draw.rgb_image(eyes[row]), mask[row].numpy(), answer[row].numpy()))

    def summary(self, *, seed: int = 0) -> dict[str, Any] | None:
        """Numbers for metrics.json; None where no mask was seen.

        Args:
            seed: of the bootstrap over persons.

        Returns:
            `miou` with `ci95`, `iou` by class (null for a class that is nowhere), `pixel_accuracy`, `num_eyes`.
        """
        if not self.num_eyes:
            return None
        of_person = torch.stack([self.confusion[person] for person in sorted(self.confusion)]).double().numpy()
        total = of_person.sum(axis=0)
        draws = draw_persons(len(of_person), seed=seed)
        resampled = [float(np.nanmean(class_iou(np.tensordot(times, of_person, axes=1)))) for times in draws]
        interval = [round(float(x), 6) for x in np.quantile(resampled, [0.025, 0.975])]
        iou = class_iou(total)
        return {
            "miou": round(float(np.nanmean(iou)), 6),
            "ci95": interval if len(of_person) > 1 else None,
            "iou": {
                name: round(float(value), 6) if np.isfinite(value) else None
                for name, value in zip(MASK_CLASSES, iou, strict=True)
            },
            "pixel_accuracy": round(float(total.trace() / total.sum()), 6),
            "num_eyes": self.num_eyes,
        }

    def picture(self) -> draw.Image | None:
        """The kept eyes in one picture: as it is, what is true, what was answered; None where there is none."""
        return draw.grid(self.pictures, num_columns=3, gap_px=12) if self.pictures else None


def class_iou(confusion: NDArray[np.float64]) -> NDArray[np.float64]:
    """Intersection over union of each class.

    Args:
        confusion: (K, K) pixels, true class by answered class.

    Returns:
        (K,); NaN for a class that is neither there nor answered.
    """
    both = np.diag(confusion)
    either = confusion.sum(axis=0) + confusion.sum(axis=1) - both
    return np.divide(both, either, out=np.full(len(both), np.nan), where=either > 0)


def triptych(eye: draw.Image, true: NDArray[Any], answered: NDArray[Any]) -> draw.Image:
    """An eye, what its pixels are, and what was answered.

    Args:
        eye: (h, w, 3) uint8 RGB.
        true: (h, w) classes.
        answered: (h, w) classes.

    Returns:
        Three pictures side by side.
    """
    large = draw.enlarged(eye, to_px=96)
    factor = len(large) // len(eye)
    overlays = [
        draw.mask_overlay(large, mask.repeat(factor, 0).repeat(factor, 1).astype(np.uint8)) for mask in (true, answered)
    ]
    return draw.grid([large, *overlays], num_columns=3, gap_px=2)
