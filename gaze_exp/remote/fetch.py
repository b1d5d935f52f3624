"""Bring a job's run folder back, every file compared by its hash."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from gaze_exp.data.progress import progress
from gaze_exp.errors import DataError
from gaze_exp.file_hash import sha256_of
from gaze_exp.remote.ssh import Line
from gaze_exp.remote.upload import mib

log = logging.getLogger(__name__)

NOTE = "remote.json"
"""In the run folder here: which job on which machine it belongs to."""


def read_note(folder: Path) -> dict[str, Any]:
    """What a run folder here says about where it ran; empty for one that ran here."""
    try:
        return dict(json.loads((folder / NOTE).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}


def refuse_foreign_folder(folder: Path, *, host: str, job: str) -> None:
    """Refuse to write into a folder that holds something else.

    Raises:
        DataError: with the folder.
    """
    note = read_note(folder)
    if folder.is_dir() and any(folder.iterdir()) and (note.get("host"), note.get("job")) != (host, job):
        raise DataError(f"{folder}: holds something else than job {job} of {host}; another hydra.run.dir is right")


def fetch(line: Line, job: str, folder: Path) -> list[str]:
    """Fetch every file of a job's run folder that is not here yet or differs.

    Args:
        line: to the machine.
        job: its name there.
        folder: of the run here.

    Returns:
        Paths of all files of the run, each compared with its hash.

    Raises:
        DataError: a path leads out of the folder.
    """

    def once() -> list[str]:
        answer = line.ask("results", job=job)
        files = {_safe(entry["path"]): entry for entry in answer["files"]}
        wanted = [name for name, entry in files.items() if not _is_same(folder / name, entry)]
        if wanted:
            total = sum(files[name]["size"] for name in wanted)
            log.info("remote: fetches %d of %d files, %s", len(wanted), len(files), mib(total))
            _receive(line, answer["folder"], {name: files[name] for name in wanted}, folder=folder)
        return sorted(files)

    return line.patiently(once)


def _receive(line: Line, there: str, wanted: dict[str, dict[str, Any]], *, folder: Path) -> None:
    """Take files into temporary names and give them their own once their hash is right."""
    partial = {name: folder / f"{name}.{entry['sha256'][:12]}.partial" for name, entry in wanted.items()}
    offsets = {name: path.stat().st_size if path.is_file() else 0 for name, path in partial.items()}
    offsets = {name: size if size <= wanted[name]["size"] else 0 for name, size in offsets.items()}
    total = sum(entry["size"] for entry in wanted.values()) - sum(offsets.values())
    with (
        progress(total, what="remote: fetching", unit="bytes") as advance,
        line.stream("get", of=there, files=list(offsets.items())) as answers,
    ):
        for message in answers:
            if isinstance(message, bytes) or message.get("end"):
                break
            name = message["file"]
            partial[name].parent.mkdir(parents=True, exist_ok=True)
            with partial[name].open("r+b" if offsets[name] else "wb") as file:
                file.seek(offsets[name])
                for piece in _bytes(answers, message["size"]):
                    file.write(piece)
                    advance(len(piece))
            _keep(partial[name], folder / name, wanted[name])


def _bytes(answers: Iterator[dict[str, Any] | bytes], size: int) -> Iterator[bytes]:
    while size > 0:
        piece = next(answers)
        if isinstance(piece, bytes):
            size -= len(piece)
            yield piece


def _keep(partial: Path, path: Path, entry: dict[str, Any]) -> None:
    if sha256_of(partial) != entry["sha256"]:
        partial.unlink()
        raise DataError(f"{path}: what came is not what is there (another hash); remote.attach=true fetches it again")
    partial.replace(path)


def _is_same(path: Path, entry: dict[str, Any]) -> bool:
    return path.is_file() and path.stat().st_size == entry["size"] and sha256_of(path) == entry["sha256"]


def _safe(name: str) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise DataError(f"{name!r}: the machine there names a path outside the run folder; nothing was written")
    return name
