"""Pinhole cameras and the normalisation that makes every head look straight at one.

Source: Zhang, Sugano, Bulling, "Revisiting data normalization for appearance-based gaze estimation",
ETRA 2018. Rotations act on column vectors of the camera frame (OpenCV: x right, y down, z forward).
"""

import torch
from torch import Tensor


def intrinsics(focal_px: float, *, width_px: int, height_px: int) -> Tensor:
    """Matrix of a pinhole camera whose principal point is the image centre.

    Args:
        focal_px: focal length of both axes.
        width_px: image width.
        height_px: image height.

    Returns:
        (3, 3) float64.
    """
    return torch.tensor(
        [[focal_px, 0.0, width_px / 2], [0.0, focal_px, height_px / 2], [0.0, 0.0, 1.0]], dtype=torch.float64
    )


def project(camera_matrix: Tensor, points_mm: Tensor) -> Tensor:
    """Image points of camera-frame points.

    Args:
        camera_matrix: (..., 3, 3).
        points_mm: (..., 3) in front of the camera.

    Returns:
        (..., 2) px.
    """
    homogeneous = (camera_matrix @ points_mm[..., None])[..., 0]
    return homogeneous[..., :2] / homogeneous[..., 2:]


def normalising_rotation(origin_mm: Tensor, head_x_axis: Tensor) -> Tensor:
    """Rotation camera -> normalised camera: looks at the origin, with the head's x axis level.

    Args:
        origin_mm: (..., 3) the point that comes to the image centre, camera frame.
        head_x_axis: (..., 3) x axis of the head (towards the image's right), camera frame.

    Returns:
        (..., 3, 3) with the rows right, down, forward.
    """
    forward = torch.nn.functional.normalize(origin_mm, dim=-1)
    down = torch.nn.functional.normalize(torch.linalg.cross(forward, head_x_axis, dim=-1), dim=-1)
    right = torch.nn.functional.normalize(torch.linalg.cross(down, forward, dim=-1), dim=-1)
    return torch.stack((right, down, forward), dim=-2)


def normalising_warp(
    rotation: Tensor,
    *,
    camera_matrix: Tensor,
    normal_matrix: Tensor,
    origin_mm: Tensor,
    normal_distance_mm: float,
) -> Tensor:
    """Warp of full-frame pixels to pixels of the normalised patch.

    Args:
        rotation: (..., 3, 3) from `normalising_rotation`.
        camera_matrix: (..., 3, 3) of the full frame.
        normal_matrix: (3, 3) of the normalised camera.
        origin_mm: (..., 3) the point that rotation looks at.
        normal_distance_mm: distance to which that point is scaled.

    Returns:
        (..., 3, 3) homography, full frame -> patch.
    """
    scale = torch.eye(3, dtype=rotation.dtype).expand(rotation.shape).clone()
    scale[..., 2, 2] = normal_distance_mm / torch.linalg.vector_norm(origin_mm, dim=-1)
    return normal_matrix @ scale @ rotation @ torch.linalg.inv(camera_matrix)
