"""From a copy of the EVE release to checked crop files: what the action and the data module both call."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gaze_exp.data.sources.eve_convert import convert, manifest, person_files, recordings_of
from gaze_exp.data.sources.eve_parts import write_json
from gaze_exp.data.sources.eve_release import find_recordings
from gaze_exp.data.sources.eve_step import Settings
from gaze_exp.data.sources.eve_survey import survey
from gaze_exp.data.sources.eve_verify import verify
from gaze_exp.data.synthetic.jobs import alone_in
from gaze_exp.errors import ConfigError, DataError
from gaze_exp.processes.cores import num_cores

log = logging.getLogger(__name__)

MANIFEST = "manifest.json"
_MOST_LINES = 20


@dataclass(frozen=True)
class Preparation:
    """What to convert, and how."""

    source: Path
    root: Path
    settings: Settings
    camera: str = "basler"
    """One camera, or `all`."""
    persons: tuple[str, ...] = ()
    """Only these, by their folders' names."""
    workers: int | None = None
    """Processes; None for one a core, 0 to stay in this one."""


def prepare(plan: Preparation) -> dict[str, Any]:
    """Convert what is missing, look at it, and write the manifest.

    Args:
        plan: what to convert.

    Returns:
        The manifest.

    Raises:
        ConfigError: source and root are the same, or a camera that EVE has not.
        DataError: a source or a disk that will not do, or crops that are not what the videos show.
    """
    if plan.source.resolve() == plan.root.resolve():
        raise ConfigError(f"data.root: {plan.root} is the release itself; another folder for the crop files is right")
    workers = num_cores() if plan.workers is None else plan.workers
    release = find_recordings(plan.source, camera=plan.camera, persons=plan.persons)
    with alone_in(plan.root):
        files = person_files(release, plan.root)
        looked = survey(recordings_of(files))
        _tell("eve: %s", looked["warnings"])
        states = convert(files, root=plan.root, settings=plan.settings, workers=workers)
        told = manifest(states, release=release, source=plan.source, settings=plan.settings, survey=looked)
        _report(told)
        if not told["counts"]["kept"]:
            raise DataError(f"data.source: no frame of {plan.source} is left ({_reasons(told)}); see the lines above")
        told["verified"] = verify(files, settings=plan.settings)
        log.info("eve: %d random rows are what their videos show", told["verified"]["rows"])
        write_json(plan.root / MANIFEST, told)
    return told


def _report(told: dict[str, Any]) -> None:
    """Say what became of the frames, and what was left out."""
    counts = told["counts"]
    log.info(
        "eve: %s of %s frames of %d recordings of %d persons kept (%s)",
        f"{counts['kept']:,}", f"{counts['frames']:,}", counts["recordings"], counts["persons"], _reasons(told),
    )  # fmt: skip
    _tell("eve: skipped %s", [f"{each['recording']}: {each['reason']}" for each in told["skipped"]])
    _tell("eve: %s", told["warnings"])
    if told["ignored"]:
        log.info("eve: ignored %s", "; ".join(told["ignored"][:_MOST_LINES]))
    for question, answer in told["survey"]["findings"].items():
        log.info("eve: %s: %s", question, answer)


def _reasons(told: dict[str, Any]) -> str:
    dropped = told["counts"]["dropped"]
    return ", ".join(f"{count:,} {reason}" for reason, count in dropped.items()) or "nothing dropped"


def _tell(form: str, lines: Sequence[str]) -> None:
    for line in lines[:_MOST_LINES]:
        log.warning(form, line)
    if len(lines) > _MOST_LINES:
        log.warning("eve: and %d more like it; %s has all", len(lines) - _MOST_LINES, MANIFEST)
