"""Render a whole data set into a folder: in parallel, resumable, and never half there.

Each file appears under its own name only when it is whole, and the manifest only when all files are. A
rendering that was stopped goes on with the files that are missing.
"""

import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path

from gaze_exp.atomic_write import atomic_write
from gaze_exp.data.synthetic.crop_layout import Recording, crop_jobs, recordings
from gaze_exp.data.synthetic.jobs import alone_in, run_jobs
from gaze_exp.data.synthetic.motion import Movement
from gaze_exp.data.synthetic.rigs import Rig

log = logging.getLogger(__name__)

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class RenderPlan:
    """All that decides the pixels and labels of a data set."""

    num_train_persons: int
    num_val_persons: int
    num_test_persons: int
    frames_per_person: int
    face_size: int
    face_width_mm: float
    eye_size: int
    scene_seed: int
    camera: str
    rig: Rig
    movement: Movement | None = None
    """Of people who move; None draws every frame apart."""
    masks: bool = False

    @property
    def recordings(self) -> list[Recording]:
        """The persons, numbered through."""
        return recordings(
            num_train=self.num_train_persons,
            num_val=self.num_val_persons,
            num_test=self.num_test_persons,
            seed=self.scene_seed,
        )


def is_complete(folder: Path, plan: RenderPlan) -> bool:
    """Whether a folder holds the whole data set.

    Args:
        folder: where it was rendered.
        plan: what was to be rendered.

    Returns:
        True when the manifest is there and every file has the size that it says.
    """
    sizes = _sizes(folder)
    paths = [recording.path(folder, camera=plan.camera) for recording in plan.recordings]
    return all(path.is_file() and path.stat().st_size == sizes.get(_name(path, folder)) for path in paths)


def render_crops(folder: Path, plan: RenderPlan) -> None:
    """Render what is missing in a folder.

    Args:
        folder: made if it is not there.
        plan: what to render.

    Raises:
        DataError: the folder cannot be written, or the disk is too small.
    """
    with alone_in(folder):
        if is_complete(folder, plan):  # another process was faster
            return
        expected = _sizes(folder)
        jobs = crop_jobs(
            folder,
            plan.recordings,
            rig=plan.rig,
            num_frames=plan.frames_per_person,
            face_size=plan.face_size,
            face_width_mm=plan.face_width_mm,
            eye_size=plan.eye_size,
            camera=plan.camera,
            masks=plan.masks,
            movement=plan.movement,
        )
        missing = [job for job in jobs if not _is_whole(job.path, expected.get(_name(job.path, folder)))]
        (folder / MANIFEST).unlink(missing_ok=True)
        log.info("rendering %d persons, %d frames, into %s", len(missing), sum(j.num_frames for j in missing), folder)
        run_jobs(missing, folder=folder)
        _write_manifest(folder, plan, [job.path for job in jobs])


def _is_whole(path: Path, size: int | None) -> bool:
    """Whether a file is there, and as large as the manifest says where there is one."""
    return path.is_file() and size in {None, path.stat().st_size}


def _write_manifest(folder: Path, plan: RenderPlan, paths: list[Path]) -> None:
    sizes = {_name(path, folder): path.stat().st_size for path in paths}
    with atomic_write(folder / MANIFEST) as temporary:
        temporary.write_text(json.dumps({"plan": asdict(plan), "bytes": sizes}, indent=1), encoding="utf-8")


def _sizes(folder: Path) -> dict[str, int]:
    """Size of each file as the manifest says it; nothing where there is no manifest."""
    try:
        return json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["bytes"]
    except (OSError, ValueError, KeyError):
        return {}


def _name(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()
