"""Which photos belong together: the same target on the screen, the same sitting."""

from collections.abc import Sequence

import torch
from torch import Tensor


def group_targets(target_px: Tensor, *, same_target_px: float) -> Tensor:
    """Number the targets: points nearer than a distance are one, and so are those that a chain connects.

    No two targets are then nearer to each other than that: what is learnt on one tells little about another.

    Args:
        target_px: (N, 2) px.
        same_target_px: the distance.

    Returns:
        (N,) int64 ids from 0, row by row over the screen: from the top, then from the left.

    >>> points = torch.tensor([[0.0, 0.0], [900.0, 0.0], [30.0, 0.0], [5.0, 700.0]])
    >>> group_targets(points, same_target_px=80.0).tolist()
    [0, 1, 0, 2]
    """
    near = torch.cdist(target_px.double(), target_px.double()) < same_target_px
    group = torch.arange(len(target_px))
    for _ in range(len(target_px)):
        # Everyone takes the least number among its neighbours until nothing changes.
        least = torch.where(near, group, len(target_px)).amin(-1) if len(group) else group
        if torch.equal(least, group):
            break
        group = least
    ids = group.unique().tolist()
    centres = [target_px[group == one].double().mean(0).tolist() for one in ids]
    in_order = sorted(range(len(ids)), key=lambda i: (round(centres[i][1] / max(same_target_px, 1.0)), centres[i][0]))
    number = {ids[old]: new for new, old in enumerate(in_order)}
    return torch.tensor([number[one] for one in group.tolist()], dtype=torch.int64)


def group_sessions(times_ms: Sequence[int | None], *, gap_min: float) -> Tensor:
    """Number the sittings: a pause longer than the gap begins another.

    Args:
        times_ms: (N,) since 1970, in any order; None where it is not known.
        gap_min: minutes.

    Returns:
        (N,) int64 ids from 0 in the order of time; photos without a time are a session of their own, the last.

    >>> group_sessions([1_000_000, 1_060_000, 90_000_000, None], gap_min=10.0).tolist()
    [0, 0, 1, 2]
    """
    known = sorted({time for time in times_ms if time is not None})
    session_of: dict[int | None, int] = {}
    for index, time in enumerate(known):
        before = known[index - 1] if index else time
        session_of[time] = session_of.get(before, 0) + (time - before > gap_min * 60_000)
    session_of[None] = max(session_of.values(), default=-1) + 1
    return torch.tensor([session_of[time] for time in times_ms], dtype=torch.int64)
