"""What each ray of a view hits: rays against all ellipsoids at once.

In the pixel coordinates of one view every ellipsoid is a conic, so its discriminant is a quadratic form in
them and one matrix product gives all of them. Edges are softened by their distance in pixels, which costs
one ray a pixel instead of four. F frames, P ellipsoids, N pixels.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from gaze_exp.data.synthetic.head_shape import HeadMatrices, head_matrices
from gaze_exp.data.synthetic.person import Person
from gaze_exp.data.synthetic.scene import Scene
from gaze_exp.data.synthetic.views import View

_MELT_MM = 13.0
"""Depth over which two ellipsoids melt into each other."""
_SOFT_PX, _SINK_MM = 0.8, 40.0
"""Where an ellipsoid begins to sink, and how deep it lies one pixel further out."""
_HAIR_BEHIND_MM = 40.0
"""Depth in the head frame from which hair covers the sides."""


@dataclass(frozen=True)
class Rays:
    """The rays of a view in the head frame: `origin + depth * direction`."""

    origin_mm: Tensor
    """(F, 3) the camera."""
    basis: Tensor
    """(F, 3, 3) grid -> direction; float64."""
    grid: Tensor
    """(3, N) x, y, 1 of the pixel centres at the unit plane of the normalised camera."""
    pixel_mm: float
    """Width of a pixel at the point the view looks at."""

    def band(self, start: int, stop: int) -> "Rays":
        """Some of the rays.

        Args:
            start: first ray.
            stop: one past the last.

        Returns:
            Rays that share this one's memory.
        """
        return Rays(self.origin_mm, self.basis, self.grid[:, start:stop], self.pixel_mm)

    @cached_property
    def direction(self) -> Tensor:
        """(F, 3, N) with depth 1 a unit along the normalised camera's axis."""
        return self.basis.float() @ self.grid


@dataclass(frozen=True)
class Surface:
    """The first surface along every ray."""

    rays: Rays
    coverage: Tensor
    """(F, N) share of the pixel that the person covers."""
    depth_mm: Tensor
    """(F, N) along the ray."""
    point_mm: Tensor
    """(F, 3, N) head frame."""
    normal: Tensor
    """(F, 3, N) unit, outwards, head frame."""
    hair: Tensor
    """(F, N) share that is hair."""
    clothes: Tensor
    """(F, N) share that is clothes."""
    lid_depth_mm: Tensor
    """(F, 2, N) depth of the left and the right lid, far where the ray passes it by."""


def cast_rays(scene: Scene, view: View, *, size_px: int) -> Rays:
    """Rays through the centres of the pixels of a view.

    Pixel i spans i..i+1 and its centre is at i + 0.5, so that the view is the same at any size.

    Args:
        scene: F frames.
        view: one of its views.
        size_px: side of the picture.

    Returns:
        Rays with N = size_px ** 2, row by row.
    """
    to_head = scene.head_rotation.transpose(-1, -2)
    origin_mm = -(to_head @ scene.head_position_mm[..., None])[..., 0]
    # The normalised camera moves the origin of the view to its fixed distance.
    nearer = view.camera.distance_mm / torch.linalg.vector_norm(view.origin_mm, dim=-1)
    scale = torch.stack((nearer, nearer, torch.ones_like(nearer)), dim=-1)
    basis = to_head @ view.rotation.transpose(-1, -2) * scale[:, None]
    focal_px = view.camera.focal_px(size_px)
    places = (torch.arange(size_px) + 0.5 - size_px / 2) / focal_px
    y, x = torch.meshgrid(places, places, indexing="ij")
    grid = torch.stack((x.flatten(), y.flatten(), torch.ones(size_px**2)))
    return Rays(origin_mm, basis, grid, pixel_mm=view.camera.width_mm / size_px)


def cast_frame_rays(scene: Scene, *, width_px: int, height_px: int) -> Rays:
    """Rays through the centres of the pixels of the camera's own image, of one frame.

    Args:
        scene: 1 frame.
        width_px: of the image.
        height_px: of the image.

    Returns:
        Rays with N = width_px * height_px, row by row; depth is along the camera's axis.
    """
    to_head = scene.head_rotation.transpose(-1, -2)
    origin_mm = -(to_head @ scene.head_position_mm[..., None])[..., 0]
    camera_matrix = scene.rig.scaled_camera_matrix(width_px=width_px, height_px=height_px)
    (fx, _, cx), (_, fy, cy) = camera_matrix[:2].tolist()
    x, y = (torch.arange(width_px) + 0.5 - cx) / fx, (torch.arange(height_px) + 0.5 - cy) / fy
    y, x = torch.meshgrid(y, x, indexing="ij")
    grid = torch.stack((x.flatten(), y.flatten(), torch.ones(width_px * height_px)))
    pixel_mm = float(scene.head_position_mm[0, 2]) * (1 / fx + 1 / fy) / 2
    return Rays(origin_mm, to_head, grid, pixel_mm=pixel_mm)


def first_surface(person: Person, rays: Rays) -> Surface:
    """Intersect rays with a head.

    Args:
        person: whose head.
        rays: F frames of N rays.

    Returns:
        Where they hit; rays that miss have coverage 0 and a point somewhere near the head.
    """
    head = head_matrices(person).to(rays.grid.device)
    near = _near_view(head, rays)
    edge_px, depth_mm, thickness_mm = _intersect(
        rays, head.shape[near], head.centre_mm[near], outline_mm=head.outline_mm[near]
    )
    _cut_hair(person, rays, edge_px=edge_px[:, -2:], depth_mm=depth_mm[:, -2:], thickness_mm=thickness_mm)
    coverage = (0.5 + edge_px.amax(1)).clamp(0.0, 1.0)
    # Towards its outline an ellipsoid sinks into what is behind it, so that no edge ends in stairs, and
    # beside the outline it shows only where there is nothing else to see.
    outside_px = edge_px.sub_(_SOFT_PX).clamp_(max=0.0)
    depth_mm.addcmul_(outside_px, outside_px, value=_SINK_MM)
    nearest_mm = depth_mm.amin(1)
    lid_depth_mm = depth_mm[:, :2].clone()
    weight = depth_mm.sub_(nearest_mm[:, None]).mul_(-1.0 / _MELT_MM).add_(1.0).clamp_(min=0.0)
    weight.mul_(weight)
    blend = head.blend[:, near] @ weight
    # Rays that miss everything still need a finite point.
    nearest_mm = torch.where(coverage > 0, nearest_mm, rays.origin_mm.float().norm(dim=-1, keepdim=True))
    point_mm = rays.origin_mm.float()[..., None] + nearest_mm[:, None] * rays.direction
    share = 1.0 / blend[:, 11]
    return Surface(
        rays=rays,
        coverage=coverage,
        depth_mm=nearest_mm,
        point_mm=point_mm,
        normal=_normal(blend, point_mm, rays.direction),
        # In front of the skin by a hair's breadth is all hair.
        hair=(blend[:, 9] * share).sub_(0.3).mul_(5.0).clamp_(0.0, 1.0),
        clothes=(blend[:, 10] * share).sub_(0.3).mul_(5.0).clamp_(0.0, 1.0),
        lid_depth_mm=lid_depth_mm,
    )


def _near_view(head: HeadMatrices, rays: Rays) -> Tensor:
    """(P,) bool: ellipsoids that can show in some frame; lids and hair always stay, for they have a place."""
    offset_mm = (head.centre_mm - rays.origin_mm[:, None])[..., None]
    in_view = torch.linalg.solve(rays.basis[:, None], offset_mm)[..., 0]
    depth_mm = in_view[..., 2:]
    # A millimetre in units of the grid; a fifth more because near things look larger.
    reach = 1.2 * head.reach_mm / torch.linalg.vector_norm(rays.basis[:, :, 0], dim=-1, keepdim=True)
    low, high = rays.grid[:2].double().aminmax(dim=1)
    beside = torch.maximum(in_view[..., :2] - high * depth_mm, low * depth_mm - in_view[..., :2]).amax(-1)
    near = (beside < reach).any(0)
    near[:2] = near[-2:] = True
    return near


def _intersect(rays: Rays, shape: Tensor, centre_mm: Tensor, *, outline_mm: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Signed distance to the outline in pixels, positive inside, and depth of the near side: (F, P, N).

    Also (F, N) how far the ray runs through the last ellipsoid.
    """
    # |A (o + t B m - c)|^2 = 1 with m = (x, y, 1) on the grid.
    slope = shape @ rays.basis[:, None]
    start = (shape @ (rays.origin_mm[:, None] - centre_mm)[..., None])[..., 0]
    square = slope.transpose(-1, -2) @ slope
    line = (slope.transpose(-1, -2) @ start[..., None])[..., 0]
    constant = (start * start).sum(-1)[..., None, None] - 1.0
    discriminant = line[..., :, None] * line[..., None, :] - constant * square
    # The linear form as a quadratic one: m has a 1 in it.
    linear = torch.zeros_like(square)
    linear[..., 2] = line
    linear[..., 2, :] += line
    forms = torch.cat((square, linear / 2, discriminant), dim=1)
    x, y, one = rays.grid
    monomials = torch.stack((x * x, y * y, one, 2 * x * y, 2 * x, 2 * y))
    rows, columns = [0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]
    a, b, d = (forms[..., rows, columns].float() @ monomials).chunk(3, dim=1)
    inverse = a.reciprocal_()
    edge_px = (d * inverse).mul_((outline_mm / (2 * rays.pixel_mm))[:, None])
    # The square root of exactly zero takes twenty times as long.
    root = d.clamp_(min=1e-12).sqrt_()
    thickness_mm = 2.0 * root[:, -1] * inverse[:, -1]
    return edge_px, root.add_(b).neg_().mul_(inverse), thickness_mm


def _cut_hair(person: Person, rays: Rays, *, edge_px: Tensor, depth_mm: Tensor, thickness_mm: Tensor) -> None:
    """Cut the two last ellipsoids in place: one ends at the hairline, the other behind the face."""
    origin_mm = rays.origin_mm.float()[..., None]
    x, y, _ = (origin_mm + depth_mm[:, :1] * rays.direction).unbind(1)
    front_px = (0.007 * x * x - person.hairline_mm - y) / (1.5 * rays.pixel_mm)

    # What grows behind the face is solid: the ray enters it at its outside or at the plane of the cut.
    to_plane_mm = (_HAIR_BEHIND_MM - origin_mm[:, 2]) / rays.direction[:, 2]
    end_mm = depth_mm[:, 1] + thickness_mm
    entry_mm = torch.maximum(depth_mm[:, 1], to_plane_mm)
    y = origin_mm[:, 1] + entry_mm * rays.direction[:, 1]
    behind_px = torch.minimum(40.0 - y, end_mm - entry_mm) / (1.5 * rays.pixel_mm)

    trimmed_px = torch.stack((front_px, behind_px), dim=1)
    edge_px.copy_(torch.minimum(edge_px, trimmed_px))
    # Near its edge the hair sinks below the skin instead of ending in stairs.
    depth_mm[:, 1] = entry_mm
    depth_mm += 40.0 * (0.5 - trimmed_px).clamp_(0.0, 1.0)


def _normal(blend: Tensor, point_mm: Tensor, direction: Tensor) -> Tensor:
    """(F, 3, N) unit gradient at the points."""
    x, y, z = point_mm.unbind(1)
    xx, yy, zz, xy, xz, yz, cx, cy, cz = blend[:, :9].unbind(1)
    gradient = torch.stack(
        (xx * x + xy * y + xz * z - cx, xy * x + yy * y + yz * z - cy, xz * x + yz * y + zz * z - cz), dim=1
    )
    normal = gradient * gradient.square().sum(1, keepdim=True).clamp_(min=1e-12).rsqrt_()
    # Beside an outline the gradient can point away from the camera; nothing visible does.
    away = (normal * direction).sum(1, keepdim=True).clamp_(min=0.0) / direction.square().sum(1, keepdim=True)
    return normal - away * direction
