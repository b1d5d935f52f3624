"""Files and folders as lists of content hashes, and zips of the contents that another machine lacks."""

import hashlib
import json
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from gaze_exp.errors import DataError

COMPRESSED = {".jpg", ".jpeg", ".png", ".h5", ".mp4", ".zip", ".gz", ".pkl", ".pt", ".ckpt", ".safetensors", ".onnx"}
"""Gain nothing from being packed smaller."""
LEFT_OUT = {"__pycache__", ".git", ".DS_Store"}


@dataclass(frozen=True)
class Entry:
    """One file of a tree."""

    path: str
    """Where it lies in the tree, with slashes."""
    sha256: str
    size: int
    source: Path


@dataclass
class Tree:
    """Files under the names that they shall have there."""

    entries: list[Entry] = field(default_factory=list)

    @property
    def key(self) -> str:
        """Of all names and contents: the same files, the same key."""
        listed = sorted((entry.path, entry.sha256) for entry in self.entries)
        return hashlib.sha256(json.dumps(listed).encode()).hexdigest()[:16]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(entry.size for entry in self.entries)


def tree_of(path: Path, *, name: str) -> Tree:
    """Hash a file, or a folder with all that lies in it.

    Args:
        path: here.
        name: what it shall be called there.

    Raises:
        DataError: it is empty, or one of its files cannot be read.
    """
    if path.is_file():
        return Tree([entry_of(path, name)])
    files = sorted(p for p in path.rglob("*") if p.is_file() and not LEFT_OUT & set(p.relative_to(path).parts))
    if not files:
        raise DataError(f"{path}: has no files; a folder with data would be right")
    return Tree([entry_of(p, f"{name}/{p.relative_to(path).as_posix()}") for p in files])


def entry_of(path: Path, name: str) -> Entry:
    """Hash one file.

    Args:
        path: here.
        name: its path in the tree.
    """
    try:
        name.encode()
        with path.open("rb") as file:
            return Entry(name, hashlib.file_digest(file, "sha256").hexdigest(), file.tell(), path)
    except UnicodeEncodeError as error:
        raise DataError(f"{path!a}: its name is no UTF-8; another name would be right") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); it has to be sent") from error


def write_pack(path: Path, entries: Iterable[Entry]) -> None:
    """Zip contents under their hashes; the same contents make the same bytes, so that a pack can be sent on later.

    Args:
        path: the zip.
        entries: what goes into it.

    Raises:
        DataError: a file changed while it was read.
    """
    with zipfile.ZipFile(path, "w", allowZip64=True) as archive:
        for entry in sorted(entries, key=lambda e: e.sha256):
            info = zipfile.ZipInfo(entry.sha256, date_time=(1980, 1, 1, 0, 0, 0))
            packed = entry.source.suffix.lower() in COMPRESSED
            info.compress_type = zipfile.ZIP_STORED if packed else zipfile.ZIP_DEFLATED
            digest = hashlib.sha256()
            with entry.source.open("rb") as file, archive.open(info, "w", force_zip64=True) as target:
                while piece := file.read(1 << 20):
                    digest.update(piece)
                    target.write(piece)
            if digest.hexdigest() != entry.sha256:
                raise DataError(f"{entry.source}: changed while it was sent; the same command sends it again")
