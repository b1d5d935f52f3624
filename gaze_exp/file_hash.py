"""The name of a file's content."""

import hashlib
from pathlib import Path


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits.

    Args:
        path: of the file; read in pieces, so that its size does not matter.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
