"""Render a whole data set into a folder: in parallel, resumable, and never half there.

Each file appears under its own name only when it is whole, and the manifest only when all files are. A
rendering that was stopped goes on with the files that are missing.
"""

import contextlib
import fcntl
import json
import logging
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from gaze_exp.atomic_write import atomic_write
from gaze_exp.data.synthetic.crop_layout import Recording, file_bytes, recordings, write_recording
from gaze_exp.data.synthetic.scene import Rig
from gaze_exp.errors import DataError

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
    eye_size: int
    scene_seed: int
    camera: str
    rig: Rig

    @property
    def recordings(self) -> list[Recording]:
        """The persons, numbered through."""
        return recordings(
            num_train=self.num_train_persons, num_val=self.num_val_persons, num_test=self.num_test_persons
        )


class _Stopped(Exception):  # noqa: N818  not an error: someone pressed Ctrl-C, or another file failed
    pass


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
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _alone_in(folder):
            if is_complete(folder, plan):  # another process was faster
                return
            paths = {recording: recording.path(folder, camera=plan.camera) for recording in plan.recordings}
            expected = _sizes(folder)
            missing = {
                recording: path
                for recording, path in paths.items()
                if not path.is_file() or path.stat().st_size != expected.get(_name(path, folder), path.stat().st_size)
            }
            (folder / MANIFEST).unlink(missing_ok=True)
            _require_space(folder, plan, num_files=len(missing))
            _render(missing, plan, folder)
            _write_manifest(folder, plan, list(paths.values()))
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise DataError(f"data.root: cannot write to {folder}: {reason}; choose another data.root") from error


def _render(missing: dict[Recording, Path], plan: RenderPlan, folder: Path) -> None:
    """One person a thread, one thread a core; torch itself must not split its work again."""
    num_threads = max(1, min(torch.get_num_threads(), len(missing)))
    stop = threading.Event()
    total = len(missing) * plan.frames_per_person
    log.info("rendering %d persons, %d frames, into %s", len(missing), total, folder)
    with _one_torch_thread(), _progress(total) as tell, ThreadPoolExecutor(num_threads) as pool:

        def on_frames(num: int) -> None:
            if stop.is_set():
                raise _Stopped
            tell(num)

        def work(recording: Recording, path: Path) -> None:
            if stop.is_set():
                return
            write_recording(
                path,
                recording=recording,
                rig=plan.rig,
                scene_seed=plan.scene_seed,
                num_frames=plan.frames_per_person,
                face_size=plan.face_size,
                eye_size=plan.eye_size,
                camera=plan.camera,
                on_frames=on_frames,
            )

        futures = [pool.submit(work, recording, path) for recording, path in missing.items()]
        try:
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
            for future in done:
                future.result()
        finally:
            stop.set()


@contextmanager
def _one_torch_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Two runs with the same data set must not write the same files; the second waits and finds them."""
    with (folder / ".lock").open("w", encoding="utf-8") as lock:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def _progress(total: int) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal, a line now and then elsewhere."""
    if not sys.stdout.isatty():
        yield _Lines(total).advance
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as bar:
        task = bar.add_task("rendering frames", total=total)
        yield lambda num: bar.advance(task, num)


class _Lines:
    """Says how far it is, every ten seconds and at the end."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.done = 0
        self.started = self.told = time.monotonic()
        self.lock = threading.Lock()

    def advance(self, num: int) -> None:
        with self.lock:
            self.done += num
            now = time.monotonic()
            if self.done < self.total and now - self.told < 10.0:
                return
            self.told = now
            rate = self.done / max(1e-9, now - self.started)
            log.info("rendered %d of %d frames (%.0f frames/s)", self.done, self.total, rate)


def _require_space(folder: Path, plan: RenderPlan, *, num_files: int) -> None:
    each = file_bytes(num_frames=plan.frames_per_person, face_size=plan.face_size, eye_size=plan.eye_size)
    needed, free = each * num_files, shutil.disk_usage(folder).free
    if needed > free:
        raise DataError(
            f"data.root: {folder} needs {needed / 1e9:.1f} GB and its disk has {free / 1e9:.1f} GB free; free some, "
            f"choose another data.root, or render less (data.frames_per_person, data.num_train_persons)"
        )


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
