"""What a calibration is large enough for: fewer targets, fewer parameters."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

FEWEST_FOR_AFFINE = 3
_LINES: dict[tuple[str, ...], str] = {
    ("pitch",): "all have the same x",
    ("yaw",): "all have the same y",
    (): "all lie near one point",
}


@dataclass(frozen=True)
class AllowedFits:
    """What may be fitted to a calibration, and why the rest may not."""

    num_photos: int
    num_targets: int
    axes: tuple[str, ...]
    """Of yaw and pitch, those along which the targets differ: only there can a scale be learnt."""
    affine: bool
    finetune: bool
    reasons: dict[str, str] = field(default_factory=dict)
    """Fit that is not allowed -> what is missing."""

    @property
    def names(self) -> list[str]:
        """Of the fits that are allowed, the simplest first."""
        scales = [f"scale of {axis}" for axis in self.axes] if not self.affine else []
        return ["offset", *scales] + ["affine"] * self.affine + ["fine-tune"] * self.finetune

    def __str__(self) -> str:
        """For example `10 photos of 5 targets allow offset, affine; no fine-tune: 5 of the 9 targets that it needs`."""
        told = f"{self.num_photos} photos of {self.num_targets} targets allow {', '.join(self.names)}"
        return "; ".join([told, *(f"no {fit}: {reason}" for fit, reason in self.reasons.items())])


def allowed_fits(
    target_px: Tensor, target: Tensor, *, min_targets: int = 9, min_photos: int = 20, smallest_spread_px: float = 40.0
) -> AllowedFits:
    """Judge a calibration by the number and the spread of its targets.

    Args:
        target_px: (N, 2) px.
        target: (N,) ids, photos of one target share one.
        min_targets: that a fine-tune needs.
        min_photos: likewise.
        smallest_spread_px: standard deviation below which targets are taken for equal along a direction.

    Returns:
        What it allows.

    >>> line = torch.tensor([[500.0, 100.0], [500.0, 500.0], [500.0, 900.0]])
    >>> allowed_fits(line, torch.arange(3)).names
    ['offset', 'scale of pitch']
    """
    ids = target.unique().tolist()
    centres = torch.stack([target_px[target == one].double().mean(0) for one in ids])
    num_photos, num_targets = len(target), len(ids)
    enough = num_targets >= FEWEST_FOR_AFFINE
    centred = centres - centres.mean(0)
    spread = centred.square().mean(0).sqrt()
    axes = tuple(name for name, px in zip(("yaw", "pitch"), spread.tolist(), strict=True) if px >= smallest_spread_px)
    off_line_px = float(torch.linalg.svdvals(centred)[-1]) / num_targets**0.5 if enough else 0.0
    affine = enough and off_line_px >= smallest_spread_px
    reasons = {}
    if not enough:
        reasons["affine"] = f"{num_targets} of the {FEWEST_FOR_AFFINE} targets that it needs"
    elif not affine:
        reasons["affine"] = f"the targets {_LINES.get(axes, 'lie on one line')}"
    short = [
        f"{have} of the {need} {what} that it needs"
        for what, have, need in (("targets", num_targets, min_targets), ("photos", num_photos, min_photos))
        if have < need
    ]
    if short or not affine:
        reasons["fine-tune"] = " and ".join(short) or reasons["affine"]
    return AllowedFits(
        num_photos=num_photos,
        num_targets=num_targets,
        axes=axes if enough else (),
        affine=affine,
        finetune="fine-tune" not in reasons,
        reasons=reasons,
    )
