"""Write people in any layout: one plan, one folder, resumable, whole or refused."""

import logging
from collections.abc import Callable
from pathlib import Path

from gaze_exp.data.synthetic.calibration_layout import calibration_jobs
from gaze_exp.data.synthetic.crop_layout import crop_jobs
from gaze_exp.data.synthetic.eve_layout import eve_jobs
from gaze_exp.data.synthetic.jobs import LOCK, Job, alone_in, run_jobs
from gaze_exp.data.synthetic.set_plan import MANIFEST, SHEET, SetPlan, claim, described, write_manifest

log = logging.getLogger(__name__)

JOBS: dict[str, Callable[[Path, SetPlan], list[Job]]] = {
    "crops": lambda root, plan: crop_jobs(
        root,
        plan.recordings,
        num_frames=plan.frames,
        face_size=plan.face_size,
        eye_size=plan.eye_size,
        masks=plan.masks,
        movement=plan.movement,
    ),
    "eve": lambda root, plan: eve_jobs(
        root, plan.recordings, num_steps=plan.steps, num_frames=plan.frames, frame_width_px=plan.frame_width
    ),
    "calibration": lambda root, plan: calibration_jobs(
        root,
        plan.recordings,
        num_targets=plan.targets,
        num_sessions=plan.sessions,
        num_photos=plan.frames,
        photo_width_px=plan.photo_width,
        mirrored=plan.mirrored,
    ),
}


def write_set(root: Path, plan: SetPlan) -> None:
    """Write what is missing of a data set.

    Args:
        root: made if it is not there; may hold nothing but an earlier part of the same set.
        plan: what to write.

    Raises:
        DataError: the folder holds something else, cannot be written, or its disk is too small.
    """
    with alone_in(root):
        if claim(root, plan):
            log.info("synthetic: all of it is in %s already", root)
            return
        jobs = JOBS[plan.layout](root, plan)
        missing = [job for job in jobs if not job.path.exists()]
        done, total = len(jobs) - len(missing), len(jobs)
        log.info("synthetic: %s into %s; %d of %d parts are there already", plan.layout, root, done, total)
        run_jobs(missing, folder=root)
        sizes = {
            path.relative_to(root).as_posix(): path.stat().st_size
            for path in sorted(root.rglob("*"))
            if path.is_file() and path.name not in {LOCK, MANIFEST, SHEET}
        }
        write_manifest(root, described(plan) | {"bytes": sizes})
