"""Whether a disk has room for what is about to be written, asked before anything is."""

import shutil
from pathlib import Path

from gaze_exp.errors import DataError


def require_space(folder: Path, needed: int, *, remedy: str) -> int:
    """Refuse a disk that is too small.

    Args:
        folder: that is there, on that disk.
        needed: bytes.
        remedy: what would need less, such as "render less".

    Returns:
        Bytes that are free.

    Raises:
        DataError: there is less than needed.
    """
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DataError(
            f"data.root: {folder} needs {readable_bytes(needed)} and its disk has {readable_bytes(free)} free; free "
            f"some, choose another data.root, or {remedy}"
        )
    return free


def readable_bytes(num_bytes: int) -> str:
    """A size as a person says it.

    Args:
        num_bytes: not negative.

    Returns:
        With the unit that leaves one to three digits before the point.

    >>> readable_bytes(80_500_000), readable_bytes(2_100_000_000)
    ('80 MB', '2.1 GB')
    """
    units = (("kB", 10**3), ("MB", 10**6), ("GB", 10**9), ("TB", 10**12))
    unit, size = next((each for each in units if num_bytes < 999.5 * each[1]), units[-1])
    number = num_bytes / size
    return f"{number:.1f} {unit}" if number < 10 else f"{number:.0f} {unit}"
