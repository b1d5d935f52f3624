"""What the helper there and the program here say to each other: length-prefixed JSON and bytes.

Runs on the other machine with its system's Python and nothing installed: the standard library of 3.9 alone.
"""

from __future__ import annotations

import errno
import json
import os
import sys
import threading
import time
from typing import Any

HELLO = b"gaze_exp remote 1\n"
"""Precedes every answer, so that what a login shell prints before it does no harm."""


BEAT_S = 5.0
_one_at_a_time = threading.Lock()


class Refusal(Exception):  # noqa: N818  (the two errors of the program do not exist there)
    """What cannot be done there, for the program here to say."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


def read_request() -> dict[str, Any]:
    """Read the one request of this connection; what follows it on standard input is its payload."""
    source = sys.stdin.buffer
    request = json.loads(source.read(int(source.readline())))
    if not isinstance(request, dict):
        raise TypeError("a request is a mapping")
    return request


def say(message: dict[str, Any]) -> None:
    """Send one message."""
    _send(b"J", json.dumps(message).encode())


def send_bytes(data: bytes) -> None:
    """Send a piece of a log or of a file."""
    _send(b"B", data)


def _send(kind: bytes, data: bytes) -> None:
    with _one_at_a_time:
        sys.stdout.buffer.write(b"%s%d\n" % (kind, len(data)))
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()


def beat() -> None:
    """Show every few seconds that the line is up, however long an answer takes; end with the line."""

    def go_on() -> None:
        while True:
            time.sleep(BEAT_S)
            try:
                say({"beat": True})
            except (OSError, ValueError):  # nobody listens any more
                os._exit(1)

    threading.Thread(target=go_on, daemon=True).start()


def refusal_of(error: OSError) -> Refusal:
    """What an error of the file system there means."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return Refusal("no_space", f"no space left at {error.filename or 'its disk'}")
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return Refusal("no_access", f"may not write {error.filename}")
    return Refusal("system", str(error))
