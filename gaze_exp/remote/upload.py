"""Bring files there: only contents that are not there yet, in packs that a lost line does not spoil."""

import logging
from collections.abc import Iterator
from pathlib import Path

from gaze_exp.data.progress import Advance, progress
from gaze_exp.errors import ConfigError
from gaze_exp.file_hash import sha256_of
from gaze_exp.remote.content import Entry, Tree, write_pack
from gaze_exp.remote.ssh import Line

log = logging.getLogger(__name__)

PACK_BYTES = 256 << 20
"""Contents of one pack; a larger file is one of its own."""
SPARE_BYTES = 64 << 20
"""Left free there beside what is sent."""


def upload(line: Line, trees: dict[str, Tree], *, scratch: Path) -> int:
    """Send what is missing there and lay it out.

    Args:
        line: to the machine.
        trees: folder there, seen from this program's -> its files.
        scratch: a folder here for packs.

    Returns:
        How many files were sent.

    Raises:
        ConfigError: there is no space, or no right to write.
    """
    by_hash = {entry.sha256: entry for tree in trees.values() for entry in tree.entries}
    sizes = {sha: entry.size for sha, entry in by_hash.items()}
    answer = line.patiently(lambda: line.ask("missing", files=sizes))
    absent = [by_hash[sha] for sha in answer["missing"]]
    total = sum(entry.size for entry in absent)
    packs = list(_packs(absent))
    largest = max((sum(e.size for e in pack) for pack in packs), default=0)
    needed = total + largest + SPARE_BYTES
    if absent and needed > answer["free"]:
        raise ConfigError(
            f"remote.folder: {mib(answer['free'])} free at {line.remote.folder} on {line.remote.host}, {mib(needed)} "
            "are needed; make room there, or remote.folder=FOLDER on a larger disk"
        )
    if absent:
        log.info("remote: sends %d of %d files, %s", len(absent), len(by_hash), mib(total))
    for number, pack in enumerate(packs):
        path = scratch / f"{number}.zip"
        write_pack(path, pack)
        _send(line, path)
        path.unlink()
    laid_out = {
        folder: [[entry.path, entry.sha256, entry.size] for entry in tree.entries] for folder, tree in trees.items()
    }
    line.patiently(lambda: line.ask("lay_out", trees=laid_out))
    return len(absent)


def _packs(entries: list[Entry]) -> Iterator[list[Entry]]:
    pack: list[Entry] = []
    for entry in sorted(entries, key=lambda e: e.sha256):
        if pack and sum(e.size for e in pack) + entry.size > PACK_BYTES:
            yield pack
            pack = []
        pack.append(entry)
    if pack:
        yield pack


def _send(line: Line, pack: Path) -> None:
    """Send one pack, from the byte on that is still wanted there."""
    sha256, size = sha256_of(pack), pack.stat().st_size

    def once() -> None:
        offset = min(line.ask("received", sha256=sha256)["size"], size)
        if offset:
            log.info("remote: goes on at %s of %s", mib(offset), mib(size))
        with progress(size - offset, what="remote: sending", unit="bytes") as advance:
            line.ask("put", payload=_pieces(pack, offset, advance), sha256=sha256, size=size, offset=offset)

    line.patiently(once)


def _pieces(path: Path, offset: int, advance: Advance) -> Iterator[bytes]:
    with path.open("rb") as file:
        file.seek(offset)
        while piece := file.read(1 << 18):
            yield piece
            advance(len(piece))


def mib(num_bytes: int) -> str:
    """`3.2 MB`, `12.5 GB`."""
    return f"{num_bytes / 1e9:.1f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:.1f} MB"
