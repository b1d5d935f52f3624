"""Files there: kept once by the hash of their content, and linked into the folders that a run reads.

Runs on the other machine with its system's Python and nothing installed: the standard library of 3.9 alone.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import sys
import zipfile
from pathlib import Path
from typing import IO, Any

from gaze_exp.remote.there.frames import Refusal, refusal_of, say, send_bytes

PIECE, SENT = 1 << 20, 1 << 16
"""Bytes at a time: of a disk, and of a line that may be slow."""


def root_of(request: dict[str, Any]) -> Path:
    """The folder of this program there."""
    return Path(request["folder"]).expanduser().absolute()


def blob(root: Path, sha256: str) -> Path:
    """Where a file of this content is kept."""
    return root / "blobs" / sha256[:2] / sha256


def missing(request: dict[str, Any]) -> None:
    """Say which contents are not there yet, and how much space there is."""
    root = root_of(request)
    absent = [sha for sha, size in request["files"].items() if not _has(blob(root, sha), size)]
    say({"missing": absent, "free": free_bytes(root)})


def _has(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size


def free_bytes(root: Path) -> int:
    """Free bytes of the disk on which a folder lies or will lie."""
    there = next(p for p in (root, *root.parents) if p.is_dir())
    return shutil.disk_usage(there).free


def received(request: dict[str, Any]) -> None:
    """Say how much of a pack has come already."""
    partial = _partial(request)
    say({"size": partial.stat().st_size if partial.is_file() else 0})


def _partial(request: dict[str, Any]) -> Path:
    return root_of(request) / "incoming" / f"{request['sha256']}.zip"


def put(request: dict[str, Any]) -> None:
    """Take the rest of a pack from standard input, and put each of its files where its content is kept.

    A second sender of the same pack writes the same bytes to the same places, so that none has to wait for a
    connection that is dead and does not know.
    """
    root, partial, size = root_of(request), _partial(request), int(request["size"])
    try:
        partial.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("r+b" if partial.exists() else "x+b") as file:
            file.seek(int(request["offset"]))
            _copy(sys.stdin.buffer, file, num_bytes=size - int(request["offset"]))
        if _sha256(partial) != request["sha256"]:
            partial.unlink()
            raise Refusal("damaged", f"{partial.name} is not what was sent")
        _unpack(partial, root)
        partial.unlink()
    except OSError as error:
        refusal = refusal_of(error)
        if refusal.kind == "no_space":  # what is here is no use, and stands in the way of others
            partial.unlink(missing_ok=True)
        raise refusal from error
    say({"stored": True})


def _copy(source: IO[bytes], target: IO[bytes], *, num_bytes: int) -> None:
    left = num_bytes
    while left > 0:
        piece = source.read(min(left, PIECE))
        if not piece:
            raise Refusal("cut", f"{left} bytes are missing")
        target.write(piece)
        target.flush()
        left -= len(piece)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            digest.update(piece)
    return digest.hexdigest()


def _unpack(pack: Path, root: Path) -> None:
    with zipfile.ZipFile(pack) as archive:
        for name in archive.namelist():
            target = blob(root, name)
            temporary = target.with_name(f"{name}.{os.getpid()}.partial")
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                with archive.open(name) as source, temporary.open("wb") as file:
                    shutil.copyfileobj(source, file, PIECE)
                if _sha256(temporary) != name:
                    raise Refusal("damaged", f"{name} in {pack.name} is not what it says")
                temporary.chmod(0o444)
                temporary.replace(target)
            finally:
                temporary.unlink(missing_ok=True)


def lay_out(request: dict[str, Any]) -> None:
    """Link kept contents into folders: `trees` is folder -> [path, hash, size, executable]."""
    root = root_of(request)
    try:
        for folder, entries in request["trees"].items():
            (root / folder).mkdir(parents=True, exist_ok=True)
            for name, sha256, size in entries:
                path = inside(root / folder, name)
                if not _has(path, size):
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.unlink(missing_ok=True)
                    _link(blob(root, sha256), path)
    except OSError as error:
        raise refusal_of(error) from error
    say({"laid_out": True})


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except FileExistsError:
        return
    except OSError:  # a file system without hard links
        temporary = target.with_name(f".{target.name}.{os.getpid()}.partial")
        with contextlib.ExitStack() as stack:
            stack.callback(lambda: temporary.unlink(missing_ok=True))
            shutil.copyfile(source, temporary)
            temporary.replace(target)


def inside(folder: Path, name: str) -> Path:
    """A path below a folder, which it may not leave."""
    path = Path(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise Refusal("outside", f"{name!r} is no path inside a folder")
    return folder / path


def listing(folder: Path) -> list[dict[str, Any]]:
    """Every file of a folder with size and hash."""
    found = sorted(p for p in folder.rglob("*") if p.is_file() and not p.is_symlink())
    return [{"path": p.relative_to(folder).as_posix(), "size": p.stat().st_size, "sha256": _sha256(p)} for p in found]


def get(request: dict[str, Any]) -> None:
    """Send files of a folder, each from the byte on that is still wanted there."""
    folder = root_of(request) / request["of"]
    for name, offset in request["files"]:
        path = inside(folder, name)
        if not path.is_file():
            raise Refusal("gone", f"{path} is not there any more")
        with path.open("rb") as file:
            file.seek(offset)
            say({"file": name, "size": path.stat().st_size - offset})
            while piece := file.read(SENT):
                send_bytes(piece)
    say({"end": True})
