"""A user's calibration photos -> dataset_clean: face crops, labels, a manifest and a contact sheet."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from gaze_exp.config import build
from gaze_exp.errors import ConfigError

if TYPE_CHECKING:
    from gaze_exp.calibration_crops import Cutting
    from gaze_exp.calibration_prepare import PreparedSet
    from gaze_exp.data.sources.calibration import CalibrationFolder, CalibrationSource

log = logging.getLogger(__name__)

_MOST_LINES = 10


def run(cfg: DictConfig) -> None:
    """Prepare `data.calibration_dir` into `data.root`; the photos are only read.

    Args:
        cfg: the run; `faces`, `crop` and `screen` say how.

    Raises:
        ConfigError: no detector, or a choice that makes no sense.
        DataError: a folder or its labels cannot be used.
    """
    from gaze_exp.calibration_prepare import prepare
    from gaze_exp.data.progress import progress
    from gaze_exp.data.sources.calibration import read_calibration_folder

    if "calibration_dir" not in cfg.data:
        raise ConfigError("data: has no folder of calibration photos; data=calibration (of task=l2cs_prepare) has")
    source: CalibrationSource = build(cfg.data, key="data")
    cutting = _cutting(cfg)
    found = read_calibration_folder(source.calibration_dir)
    _say_found(found, cutting)
    with progress(len(found.photos), what="prepare", unit="photos") as advance:
        written = prepare(found, source, cutting, on_photo=advance)
    _say_written(written, num_found=len(found.photos), already=len(found.dropped), cfg=cfg)


def _cutting(cfg: DictConfig) -> "Cutting":
    from gaze_exp.calibration_crops import Cutting
    from gaze_exp.faces.crop_rule import RULES
    from gaze_exp.faces.finder import open_finder

    if cfg.crop not in RULES:
        raise ConfigError(f"crop: {cfg.crop!r} is no rule; {' or '.join(RULES)} is")
    faces = cfg.faces
    if isinstance(faces.size_px, bool) or not isinstance(faces.size_px, int) or not 32 <= faces.size_px <= 2048:
        raise ConfigError(f"faces.size_px: {faces.size_px!r} is no crop size; 448, from 32 to 2048, is the client's")
    if faces.client_quirk not in {None, True, False}:
        raise ConfigError(f"faces.client_quirk: {faces.client_quirk!r} is no choice; true, false or null is")
    finder = open_finder(
        faces.detector, mesh=faces.mesh, min_confidence=faces.min_confidence, client_quirk=faces.client_quirk
    )
    return Cutting(
        finder=finder,
        geometry=build(cfg.screen, key="screen"),
        rule=cfg.crop,
        size_px=faces.size_px,
        mirrored=str(cfg.finetune.mirrored).lower() != "false",
    )


def _say_found(found: "CalibrationFolder", cutting: "Cutting") -> None:
    detector, quirk = cutting.finder.facts["detector"], cutting.finder.facts["client_quirk"]
    log.info("prepare: %s: %d photos with labels", found.path, len(found.photos))
    log.info(
        "prepare: detector %s (%s, boxes %s%s), crop=%s, %d px",
        detector["file"], detector["kind"], detector["boxes"], ", read as the client reads them" if quirk else "",
        cutting.rule, cutting.size_px,
    )  # fmt: skip


def _say_written(written: "PreparedSet", *, num_found: int, already: int, cfg: DictConfig) -> None:
    import torch

    from gaze_exp.data.allowed_fits import allowed_fits
    from gaze_exp.data.calibration_set import MANIFEST, SHEET

    if written.dropped:
        log.warning("prepare: %d of %d files left out:", len(written.dropped), num_found + already)
        for one in written.dropped[:_MOST_LINES]:
            log.warning("  %s: %s", one.file, one.reason)
        if len(written.dropped) > _MOST_LINES:
            log.warning("  and %d more in %s", len(written.dropped) - _MOST_LINES, Path(written.folder, MANIFEST))
    for notice in written.notices:
        log.info("prepare: %s", notice)
    rows = written.rows
    target = torch.tensor([row.target for row in rows])
    target_px = torch.tensor([(row.target_x_px, row.target_y_px) for row in rows], dtype=torch.float64)
    num_sessions = len({row.session for row in rows})
    allowed = allowed_fits(target_px, target, min_targets=cfg.finetune.min_targets, min_photos=cfg.finetune.min_photos)
    log.info(
        "prepare: %d photos of %d targets in %d session%s -> %s",
        len(rows), allowed.num_targets, num_sessions, "s" * (num_sessions != 1), written.folder,
    )  # fmt: skip
    for fit, reason in allowed.reasons.items():
        log.info("prepare: no %s: %s", fit, reason)
    tests = "targets" + " and sessions" * (num_sessions > 1)
    log.info("prepare: that allows %s; held-out %s can test it", ", ".join(allowed.names), tests)
    log.info("prepare: look at %s", Path(written.folder, SHEET))
