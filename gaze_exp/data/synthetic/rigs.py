"""Rigs: a camera that has been calibrated against a screen. EVE's four cameras and a laptop's.

Camera frame OpenCV, screen frame from the top-left pixel corner (x right, y down, z away from the viewer), mm.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Rig:
    """A camera that has been calibrated against a screen. The defaults are EVE's Basler and its 25 inch."""

    focal_px: float = 1780.6
    width_px: int = 1920
    height_px: int = 1080
    screen_px: tuple[int, int] = (1920, 1080)
    mm_per_px: float = 0.288
    camera_gap_mm: float = 10.0
    """From the edge of the picture to the camera."""
    camera_below: bool = False
    """Below the screen instead of above it."""
    tilt_deg: float = -12.0
    """How far the camera looks up."""
    camera_aside_mm: float = 0.0
    """From the middle of the edge towards the viewer's right."""
    pan_deg: float = 0.0
    """How far the camera looks to the viewer's left."""
    focal_y_px: float | None = None
    """Where it differs from `focal_px`."""
    principal_px: tuple[float, float] | None = None
    """Where it is not the middle of the image."""

    @property
    def camera_matrix(self) -> Tensor:
        """(3, 3) float64."""
        x, y = self.principal_px or (self.width_px / 2, self.height_px / 2)
        focal_y_px = self.focal_px if self.focal_y_px is None else self.focal_y_px
        return torch.tensor([[self.focal_px, 0.0, x], [0.0, focal_y_px, y], [0.0, 0.0, 1.0]], dtype=torch.float64)

    def scaled_camera_matrix(self, *, width_px: int, height_px: int) -> Tensor:
        """Intrinsics of the same camera whose image was resized.

        Args:
            width_px: new width.
            height_px: new height.

        Returns:
            (3, 3) float64.
        """
        scale = torch.tensor([width_px / self.width_px, height_px / self.height_px, 1.0], dtype=torch.float64)
        return scale[:, None] * self.camera_matrix

    @property
    def screen_mm(self) -> Tensor:
        """(2,) width and height of the picture."""
        return torch.tensor(self.screen_px, dtype=torch.float64) * self.mm_per_px

    def nearest_px(self, point_px: Tensor) -> Tensor:
        """What an eye tracker reports: points beside the screen are moved to its edge.

        Args:
            point_px: (..., 2).

        Returns:
            (..., 2) px on the screen.
        """
        return point_px.clamp(min=0.0).minimum(torch.tensor(self.screen_px).to(point_px))

    @property
    def screen_to_camera(self) -> Tensor:
        """(4, 4) screen frame -> camera frame, mm; the screen's x runs to the image's left."""
        width_mm, height_mm = self.screen_mm.tolist()
        top_mm = -height_mm - self.camera_gap_mm if self.camera_below else self.camera_gap_mm
        transform = torch.diag(torch.tensor([-1.0, 1.0, -1.0, 1.0], dtype=torch.float64))
        transform[:3, 3] = torch.tensor([width_mm / 2 + self.camera_aside_mm, top_mm, 0.0], dtype=torch.float64)
        tilt, pan = torch.tensor([self.tilt_deg, self.pan_deg], dtype=torch.float64).deg2rad()
        turn, swing = torch.eye(4, dtype=torch.float64), torch.eye(4, dtype=torch.float64)
        turn[1, 1] = turn[2, 2] = tilt.cos()
        turn[1, 2], turn[2, 1] = tilt.sin(), -tilt.sin()
        swing[0, 0] = swing[2, 2] = pan.cos()
        swing[0, 2], swing[2, 0] = -pan.sin(), pan.sin()
        return turn @ swing @ transform


def mirror_rig(rig: Rig) -> Rig:
    """The rig that a mirror shows.

    Args:
        rig: any rig.

    Returns:
        The same rig where it is symmetric itself.
    """
    principal_px = rig.principal_px and (rig.width_px - rig.principal_px[0], rig.principal_px[1])
    return replace(rig, camera_aside_mm=-rig.camera_aside_mm, pan_deg=-rig.pan_deg, principal_px=principal_px)


ABOVE = Rig()
BELOW = Rig(camera_below=True, tilt_deg=18.0)

EVE_RIGS = {
    "basler": Rig(focal_px=1780.60, focal_y_px=1779.85, principal_px=(959.33, 579.31)),
    "webcam_l": Rig(focal_px=1414.0, camera_gap_mm=22.0, camera_aside_mm=-190.0, pan_deg=-17.0),
    "webcam_c": Rig(focal_px=1435.0, camera_gap_mm=26.0, camera_aside_mm=45.0, pan_deg=4.0),
    "webcam_r": Rig(focal_px=1483.0, camera_gap_mm=22.0, camera_aside_mm=190.0, pan_deg=17.0),
}
"""One 25 inch 1920x1080 screen, four cameras above it."""

LAPTOP = Rig(
    focal_px=560.0,
    width_px=640,
    height_px=480,
    screen_px=(1728, 1117),
    mm_per_px=344.2 / 1728,
    camera_gap_mm=6.0,
    tilt_deg=-4.0,
)
"""A 16 inch laptop; its screen is measured in points, as a window's coordinates are."""

LAPTOPS = {640: LAPTOP, 1920: replace(LAPTOP, focal_px=1260.0, width_px=1920, height_px=1080)}
"""Width of the photos -> rig. The same camera: the small picture is the middle of the wide one."""
