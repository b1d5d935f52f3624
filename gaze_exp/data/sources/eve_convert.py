"""The EVE release -> crop files: plan, disk, many processes, one manifest."""

import hashlib
import logging
import multiprocessing
import signal
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Any

from gaze_exp.data.disk_space import readable_bytes, require_space
from gaze_exp.data.progress import Advance, progress
from gaze_exp.data.sources.eve_labels import has_gaze, num_rows
from gaze_exp.data.sources.eve_parts import PersonFile, claim
from gaze_exp.data.sources.eve_release import Recording, Release, split_of
from gaze_exp.data.sources.eve_step import Settings
from gaze_exp.errors import DataError
from gaze_exp.processes.worker_process import end_with_parent

log = logging.getLogger(__name__)

_FPS = {"basler": 60}
_OTHER_FPS = 30
_LABEL_BYTES = 1400
Task = tuple[PersonFile, int | None]
"""A file, and the number of the step to convert; None to put the steps together."""


def person_files(release: Release, root: Path) -> list[PersonFile]:
    """The crop files that a release makes.

    Args:
        release: what is there.
        root: the folder of the crop files.

    Returns:
        One a person and camera. Persons of the test split are taken without labels where they have none.
    """
    files = []
    for (person, _), group in groupby(release.recordings, lambda each: (each.person, each.camera)):
        recordings = tuple(group)
        labelled = split_of(person) != "test" or any(has_gaze(each.path(".h5")) for each in recordings)
        files.append(PersonFile(root, recordings, labelled))
    return files


def convert(files: Sequence[PersonFile], *, root: Path, settings: Settings, workers: int) -> list[dict[str, Any]]:
    """Convert what is missing.

    Args:
        files: of the same root.
        root: their folder; made if it is not there.
        settings: what to keep, and how large.
        workers: processes at once; 0 stays in this one.

    Returns:
        The state of every file, in order.

    Raises:
        DataError: a full disk, another conversion's folder, or (under `strict`) a source with a fault.
    """
    claim(root, settings)
    frames = {file: _num_frames(file) for file in files if file.done() is None}
    log.info("eve: %d files to make from %s frames; %d are there already", len(frames), f"{sum(frames.values()):,}",
             len(files) - len(frames))  # fmt: skip
    _require_space(root, frames, settings)
    with progress(sum(frames.values()), what="converting") as advance:
        if workers == 0:
            for task in _tasks(frames):
                advance(_work(task, settings))
        else:
            _in_processes(frames, settings, workers=workers, advance=advance)
    states = [file.done() for file in files]
    missing = [str(file.path) for file, state in zip(files, states, strict=True) if state is None]
    if missing:
        raise DataError(f"{missing[0]}: its source has changed meanwhile; the same command again converts it anew")
    return [state for state in states if state is not None]


def _num_frames(file: PersonFile) -> int:
    return sum(num_rows(recording.path(".h5")) for recording in file.recordings)


def _tasks(files: Sequence[PersonFile] | dict[PersonFile, int]) -> Iterator[Task]:
    for file in files:
        yield from ((file, number) for number in file.waiting())
        yield file, None


def _work(task: Task, settings: Settings) -> int:
    """Do one task; returns how many frames it brought."""
    file, number = task
    if number is not None:
        return file.convert(number, settings)
    file.join(settings)
    return 0


def _in_processes(files: dict[PersonFile, int], settings: Settings, *, workers: int, advance: Advance) -> None:
    """Convert steps side by side, persons one after the other, so that few lie in parts at a time."""
    # Spawned: a forked process would inherit torch's threads, HDF5's locks and a lock on the folder.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_be_a_worker)
    try:
        _feed(pool, files, settings, at_once=2 * workers, advance=advance)
    except BrokenProcessPool as error:
        raise DataError(
            "eve: a converting process was killed, most likely for want of memory; fewer workers "
            "(data.workers) need less, and the same command goes on where it stopped"
        ) from error
    except BaseException:
        for process in multiprocessing.active_children():
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _feed(
    pool: ProcessPoolExecutor, files: dict[PersonFile, int], settings: Settings, *, at_once: int, advance: Advance
) -> None:
    steps = (task for task in _tasks(files) if task[1] is not None)
    left = {file: len(file.waiting()) for file in files}
    ready = [(file, None) for file, num in left.items() if not num]
    running: dict[Future[int], Task] = {}
    while True:
        while len(running) < at_once:
            task: Task | None = ready.pop(0) if ready else next(steps, None)
            if task is None:
                break
            running[pool.submit(_work, task, settings)] = task
        if not running:
            return
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            file, number = running.pop(future)
            advance(future.result())
            if number is not None:
                left[file] -= 1
                if not left[file]:
                    ready.append((file, None))


def _be_a_worker() -> None:
    """Ctrl-C reaches every process of the terminal; the first one ends the others, also where it is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()


def _require_space(root: Path, frames: dict[PersonFile, int], settings: Settings) -> None:
    """Say how much will be written, and refuse a disk that is too small for it."""
    row_bytes = 3 * (settings.face_size**2 + 2 * settings.eye_size**2) + _LABEL_BYTES
    sizes = [row_bytes * num * _share(file, settings) for file, num in frames.items()]
    # Beside the files themselves, the steps of those that are being put together.
    needed = int(sum(sizes) + sum(sorted(sizes)[-2:]))
    free = require_space(root, needed, remedy="keep fewer frames (data.sample_hz)")
    crops, everything, left = (readable_bytes(int(size)) for size in (sum(sizes), needed, free))
    log.info("eve: %s of crops, %s with what is passing; %s are free", crops, everything, left)


def _share(file: PersonFile, settings: Settings) -> float:
    """Part of the frames that is kept, at most."""
    return min(1.0, settings.sample_hz / _FPS.get(file.camera, _OTHER_FPS)) if settings.sample_hz else 1.0


def manifest(
    states: Sequence[dict[str, Any]], *, release: Release, source: Path, settings: Settings, survey: dict[str, Any]
) -> dict[str, Any]:
    """One account of a conversion: the same for the same source and settings, however often it was stopped.

    Args:
        states: of every file.
        release: what was there.
        source: its folder.
        settings: of the conversion.
        survey: what the data say where their documentation is silent.

    Returns:
        Plain data: settings, counts with reasons, each file with its hash, and one hash of all.
    """
    steps = [step for state in states for step in state["steps"]]
    dropped: Counter[str] = sum((Counter(step["dropped"]) for step in steps), Counter())
    kept = sum(state["num_rows"] for state in states)
    hashes = sorted(f"{state['path']} {state['sha256']}" for state in states if state["sha256"])
    return {
        "format_version": 1,
        "hash": hashlib.sha256("\n".join(hashes).encode()).hexdigest(),
        "source": str(source),
        "settings": asdict(settings),
        "counts": {
            "persons": len({state["person"] for state in states}),
            "recordings": len(steps),
            "recordings_skipped": sum(bool(step["skipped"]) for step in steps),
            "frames": sum(step["num_frames"] for step in steps),
            "kept": kept,
            "dropped": dict(sorted(dropped.items())),
        },
        "skipped": [{"recording": step["name"], "reason": step["skipped"]} for step in steps if step["skipped"]],
        "warnings": [text for step in steps for text in step["warnings"]],
        "ignored": release.ignored,
        "survey": survey,
        "files": [
            _without(state, "sources") | {"steps": [_without(step, "geometry") for step in state["steps"]]}
            for state in states
        ],
    }


def _without(content: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in content.items() if key != name}


def recordings_of(files: Sequence[PersonFile]) -> list[Recording]:
    """Every recording of some files."""
    return [recording for file in files for recording in file.recordings]
