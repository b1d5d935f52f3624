"""From a user's calibration photos to a set of face crops with labels: crop all, group, write."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from gaze_exp.calibration_crops import Cropped, Cutting, crop_name, crop_photo
from gaze_exp.data.calibration_set import SHEET, LabelRow
from gaze_exp.data.calibration_sheet import contact_sheet
from gaze_exp.data.calibration_writer import new_set_folder, write_labels
from gaze_exp.data.sources.calibration import CalibrationFolder, CalibrationSource, Dropped, Photo
from gaze_exp.data.target_groups import group_sessions, group_targets
from gaze_exp.draw import Image, png_bytes
from gaze_exp.errors import DataError
from gaze_exp.faces.crop_rule import MARGIN
from gaze_exp.processes.cores import num_cores, one_torch_thread
from gaze_exp.screen import ScreenGeometry


@dataclass(frozen=True)
class PreparedSet:
    """What was written."""

    folder: Path
    rows: list[LabelRow]
    dropped: list[Dropped]
    notices: list[str]


def prepare(
    found: CalibrationFolder,
    source: CalibrationSource,
    cutting: Cutting,
    *,
    on_photo: Callable[[int], None] = lambda _: None,
    num_threads: int | None = None,
) -> PreparedSet:
    """Write the set of a folder of photos.

    Args:
        found: from `read_calibration_folder`.
        source: where to write, and what counts as the same.
        cutting: how.
        on_photo: told 1 after each photo.
        num_threads: one a core when not given.

    Returns:
        What was written.

    Raises:
        DataError: no photo is left, or the folder cannot or must not be written.
    """
    with new_set_folder(source.root) as folder:

        def work(photo: Photo) -> Cropped | Dropped:
            try:
                return crop_photo(photo, cutting, folder=folder)
            except DataError as error:
                return Dropped(photo.path.name, str(error))
            finally:
                on_photo(1)

        with one_torch_thread(), ThreadPoolExecutor(num_threads or num_cores()) as pool:
            try:
                results = list(pool.map(work, found.photos))
            finally:
                pool.shutdown(wait=False, cancel_futures=True)  # Ctrl-C waits for the photos at hand alone
        done = [one for one in results if isinstance(one, Cropped)]
        dropped = found.dropped + [one for one in results if isinstance(one, Dropped)]
        if not done:
            told = "; ".join(f"{one.file}: {one.reason}" for one in dropped[:3])
            raise DataError(f"{found.path}: no photo is left of {len(dropped)} ({told}); nothing was written")
        rows = label_rows(done, source, cutting.geometry)
        written = PreparedSet(Path(source.root), rows, dropped, notices_of(done, rows, cutting))
        write_labels(folder, rows, facts=_facts(found, source, cutting, written=written))
        (folder / SHEET).write_bytes(png_bytes(_sheet(done, rows, cutting)))
    return written


def label_rows(done: Sequence[Cropped], source: CalibrationSource, geometry: ScreenGeometry) -> list[LabelRow]:
    """Angles, sessions and target ids of the photos that are left."""
    target_px = torch.tensor([one.photo.target_px for one in done], dtype=torch.float64)
    angles = geometry.to_degrees(target_px).tolist()
    targets = group_targets(target_px, same_target_px=source.same_target_px).tolist()
    sessions = group_sessions([one.photo.time_ms for one in done], gap_min=source.session_gap_min).tolist()
    return [
        LabelRow(
            filename=crop_name(one.photo),
            yaw=round(yaw, 6),
            pitch=round(pitch, 6),
            target_x_px=one.photo.target_px[0],
            target_y_px=one.photo.target_px[1],
            session=session,
            target=target,
            box_left_px=round(one.face.left, 2),
            box_top_px=round(one.face.top, 2),
            box_right_px=round(one.face.right, 2),
            box_bottom_px=round(one.face.bottom, 2),
            confidence=round(one.face.confidence, 4),
            time_ms=-1 if one.photo.time_ms is None else one.photo.time_ms,
            source=one.photo.path.name,
        )
        for one, (yaw, pitch), session, target in zip(done, angles, sessions, targets, strict=True)
    ]


def notices_of(done: Sequence[Cropped], rows: Sequence[LabelRow], cutting: Cutting) -> list[str]:
    """What a user should know, though nothing was left out for it."""
    told = []
    several = [one.photo.path.name for one in done if one.num_faces > 1]
    if several:
        told.append(f"more than one face in {len(several)} photos, the largest was taken: {', '.join(several[:3])}")
    if not cutting.finder.mesh:
        told.append("the box is the detector's; the client crops by its face mesh: faces.mesh=FILE makes it the same")
    sizes = sorted({f"{one.size_px[0]}x{one.size_px[1]}" for one in done})
    if len(sizes) > 1:
        told.append(f"photos of {len(sizes)} sizes ({', '.join(sizes[:4])}): the camera was set differently")
    far = [row.source for row in rows if max(abs(row.yaw), abs(row.pitch)) > 60]
    if far:
        told.append(f"{len(far)} labels are more than 60 degrees off ({far[0]}): does screen=... fit your screen?")
    undated = [row.source for row in rows if row.time_ms < 0]
    if undated:
        told.append(f"{len(undated)} photos without a time count as one session: {', '.join(undated[:3])}")
    told += _on_targets(rows)
    return told


def _on_targets(rows: Sequence[LabelRow]) -> list[str]:
    """Whether chains of near pointers have swallowed the targets."""
    ids = [row.target for row in rows]
    largest = max(set(ids), key=ids.count)
    x, y = ([getattr(r, name) for r in rows if r.target == largest] for name in ("target_x_px", "target_y_px"))
    reach_px = max(max(x) - min(x), max(y) - min(y))
    if reach_px < 300:
        return []
    return [
        f"one target stretches over {reach_px:.0f} px with {len(x)} photos, because its pointers follow close on each "
        "other; if they were targets of their own, data.same_target_px=40 keeps them apart"
    ]


def _facts(
    found: CalibrationFolder, source: CalibrationSource, cutting: Cutting, *, written: PreparedSet
) -> dict[str, Any]:
    used = {row.source for row in written.rows}
    return {
        "calibration_dir": str(found.path),
        "geometry": asdict(cutting.geometry),
        "label": "yaw, pitch in degrees, right and down positive: (px - center) * deg_per_pixel",
        "size_px": cutting.size_px,
        "crop": cutting.rule,
        "margin": MARGIN,
        **cutting.finder.facts,
        "photos": len(written.rows),
        "targets": len({row.target for row in written.rows}),
        "sessions": len({row.session for row in written.rows}),
        "same_target_px": source.same_target_px,
        "session_gap_min": source.session_gap_min,
        "dropped": [asdict(one) for one in written.dropped],
        "notices": written.notices,
        "sha256": {photo.path.name: photo.sha256 for photo in found.photos if photo.path.name in used},
    }


def _sheet(done: Sequence[Cropped], rows: Sequence[LabelRow], cutting: Cutting) -> Image:
    return contact_sheet(
        [one.preview for one in done],
        captions=[f"{r.filename[-24:]}  {r.yaw:+.1f} {r.pitch:+.1f} deg  s{r.session} t{r.target}" for r in rows],
        targets_px=[one.photo.target_px for one in done],
        geometry=cutting.geometry,
        mirrored=cutting.mirrored,
    )
