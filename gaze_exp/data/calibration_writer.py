"""Write the folder `dataset_clean`: built beside, renamed when whole; only a set of ours is ever replaced."""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gaze_exp.data.calibration_set import FORMAT, LABELS, MANIFEST, SHEET, LabelRow, labels_text, read_manifest
from gaze_exp.errors import DataError


@contextmanager
def new_set_folder(root: str | Path) -> Iterator[Path]:
    """Give a folder to fill; it takes the name `root` on a clean exit and is removed otherwise.

    Args:
        root: not there, empty, or an earlier set of ours, which is replaced.

    Yields:
        An empty folder beside it.

    Raises:
        DataError: `root` holds something else, or cannot be written.
    """
    root = Path(root).expanduser().resolve()
    old, temporary = (root.with_name(f".{root.name}.{end}") for end in ("old", f"{os.getpid()}.partial"))
    try:
        if old.is_dir() and not root.exists():  # a run was killed between the two renames below
            old.rename(root)
        _refuse_others(root)
        temporary.mkdir(parents=True)
        try:
            yield temporary
            if root.exists():
                shutil.rmtree(old, ignore_errors=True)
                root.rename(old)
            temporary.rename(root)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise DataError(f"data.root: cannot write {root}: {reason}; choose another data.root") from error


def _refuse_others(root: Path) -> None:
    if not root.exists():
        return
    if not root.is_dir():
        raise DataError(f"data.root: {root} is a file; the name of a new folder would be right")
    there = {path.name for path in root.iterdir() if not path.name.startswith(".")}
    ours: set[str] = set()
    with contextlib.suppress(DataError):
        ours = set(read_manifest(root).get("files", []))
    strange = sorted(there - ours)
    if strange:
        more = f" and {len(strange) - 3} more" if len(strange) > 3 else ""
        raise DataError(
            f"data.root: {root} holds what no earlier prepare has written: {', '.join(strange[:3])}{more}; choose a "
            "new folder, or move that away"
        )


def write_labels(folder: Path, rows: Sequence[LabelRow], *, facts: dict[str, Any]) -> None:
    """Write `labels.csv` and `manifest.json` beside the crops.

    Args:
        folder: from `new_set_folder`, the crops in it.
        rows: one a crop.
        facts: for the manifest; `geometry` and `size_px` among them.
    """
    (folder / LABELS).write_text(labels_text(rows), encoding="utf-8")
    files = [LABELS, MANIFEST, SHEET, *(row.filename for row in rows)]
    manifest = {"format": FORMAT, **facts, "files": files}
    text = json.dumps(manifest, indent=2, allow_nan=False)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")
