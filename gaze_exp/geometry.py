"""Gaze angles, vectors, rays and screen points. The one implementation of each formula.

Convention (docs/conventions.md): OpenCV camera frame, x right, y down, z away from the camera. A gaze is
the unit vector from the eye to the target. `(pitch, yaw)` in radians, in that order; pitch > 0 is up,
yaw > 0 is to the left of the image (the subject's right); looking into the camera is (0, 0) = (0, 0, -1).
Screen points are pixels from the top-left corner, x right, y down; the screen is the plane z = 0 of its
own frame, in millimetres. Leading dimensions broadcast everywhere.
"""

import torch
from torch import Tensor


def pitch_yaw_to_vector(gaze: Tensor) -> Tensor:
    """Turn angles into the unit vector from the eye to the target.

    Args:
        gaze: (..., 2) pitch, yaw in radians.

    Returns:
        (..., 3) unit vector `-(cos p sin y, sin p, cos p cos y)`.

    Source: Zhang et al., MPIIGaze, the vector of its released labels; EVE's `models/common`, negated.

    Example:
        >>> pitch_yaw_to_vector(torch.tensor([0.2, 0.4]))
        tensor([-0.3817, -0.1987, -0.9027])
    """
    pitch, yaw = gaze.unbind(-1)
    return -torch.stack((pitch.cos() * yaw.sin(), pitch.sin(), pitch.cos() * yaw.cos()), dim=-1)


def vector_to_pitch_yaw(vector: Tensor) -> Tensor:
    """Turn a direction of any length into angles; the inverse of `pitch_yaw_to_vector`.

    Args:
        vector: (..., 3) direction from the eye to the target, not zero.

    Returns:
        (..., 2) pitch, yaw in radians.
    """
    x, y, z = vector.unbind(-1)
    # atan2 keeps its precision and gradient near +-90 degrees, where asin loses both. ONNX has no hypot.
    level = torch.linalg.vector_norm(torch.stack((x, z), dim=-1), dim=-1)
    return torch.stack((torch.atan2(-y, level), torch.atan2(-x, -z)), dim=-1)


def angle_between(a: Tensor, b: Tensor) -> Tensor:
    """Angle between two vectors, exact down to zero, with a finite gradient everywhere.

    `acos` of the dot product gives NaN for one perfect prediction in ten in float32, and clamping it
    floors the error and drops the gradient; `atan2` of cross and dot does neither.

    Args:
        a: (..., 3) vector of any length.
        b: (..., 3) vector of any length.

    Returns:
        (...) angle in radians, 0..pi.
    """
    cross = torch.linalg.vector_norm(torch.linalg.cross(a, b, dim=-1), dim=-1)
    return torch.atan2(cross, (a * b).sum(-1))


def angular_error(predicted: Tensor, target: Tensor) -> Tensor:
    """Angle between two gazes, in float32 or better whatever comes in.

    Args:
        predicted: (..., 2) pitch, yaw in radians.
        target: (..., 2) pitch, yaw in radians.

    Returns:
        (...) angle in radians.

    Example:
        >>> a, b = torch.deg2rad(torch.tensor([[30.0, 0.0], [30.0, 10.0]]))
        >>> round(float(torch.rad2deg(angular_error(a, b))), 4)
        8.6575
    """
    # Normalised vectors in bf16 turn 3.54 degrees into 2.99.
    predicted, target = (x.float() if x.element_size() < 4 else x for x in (predicted, target))
    return angle_between(pitch_yaw_to_vector(predicted), pitch_yaw_to_vector(target))


def transform_points(transform: Tensor, points: Tensor) -> Tensor:
    """Map points by a rigid transform.

    Args:
        transform: (..., 4, 4).
        points: (..., 3), same unit as the transform's translation.

    Returns:
        (..., 3).
    """
    return (transform[..., :3, :3] @ points[..., None])[..., 0] + transform[..., :3, 3]


def screen_to_gaze(
    target_px: Tensor, *, origin_mm: Tensor, rotation: Tensor, screen_to_camera: Tensor, mm_per_px: Tensor
) -> Tensor:
    """Gaze angles of an eye that looks at a screen point.

    Args:
        target_px: (..., 2) screen point, px.
        origin_mm: (..., 3) gaze origin, camera frame, mm.
        rotation: (..., 3, 3) camera -> normalised camera.
        screen_to_camera: (..., 4, 4) screen frame -> camera frame, mm.
        mm_per_px: (2,) or (..., 2).

    Returns:
        (..., 2) pitch, yaw in radians in the normalised camera.

    Source: EVE, `camera_transformation` and `*_R` of its data files; verified by third parties on real files.
    """
    target_mm = torch.cat((target_px * mm_per_px, torch.zeros_like(target_px[..., :1])), dim=-1)
    direction = transform_points(screen_to_camera, target_mm) - origin_mm
    return vector_to_pitch_yaw((rotation @ direction[..., None])[..., 0])


def gaze_to_screen(
    gaze: Tensor, *, origin_mm: Tensor, rotation: Tensor, screen_to_camera: Tensor, mm_per_px: Tensor
) -> Tensor:
    """Screen point where a gaze ray meets the screen plane; the inverse of `screen_to_gaze`.

    Args:
        gaze: (..., 2) pitch, yaw in radians in the normalised camera.
        origin_mm: (..., 3) gaze origin, camera frame, mm.
        rotation: (..., 3, 3) camera -> normalised camera.
        screen_to_camera: (..., 4, 4) screen frame -> camera frame, mm.
        mm_per_px: (2,) or (..., 2).

    Returns:
        (..., 2) px, unclamped: a point beside the screen is a result too.
    """
    to_screen = torch.linalg.inv(screen_to_camera)
    direction_camera = rotation.transpose(-1, -2) @ pitch_yaw_to_vector(gaze)[..., None]
    direction = (to_screen[..., :3, :3] @ direction_camera)[..., 0]
    origin = transform_points(to_screen, origin_mm)
    distance = -origin[..., 2:] / direction[..., 2:]
    return (origin + distance * direction)[..., :2] / mm_per_px
