"""Checkpoints that are on the disk whole or not at all."""

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from gaze_exp.atomic_write import atomic_write
from gaze_exp.errors import DataError


class CheckpointWriter(TorchCheckpointIO):
    """Writes beside the checkpoint and renames.

    Lightning's own goes through the system's temporary folder: from there to another disk it copies under
    the final name, so that a kill in that moment leaves half a `last.ckpt` where a whole one was.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write a checkpoint.

        Args:
            checkpoint: plain data and tensors.
            path: of the file.
            storage_options: unused, as in Lightning's own.

        Raises:
            DataError: the disk takes no more; what stood there before is untouched.
        """
        del storage_options
        try:
            with atomic_write(path) as temporary, temporary.open("wb") as file:
                torch.save(checkpoint, file)
        except (OSError, RuntimeError) as error:
            # On a full disk torch stumbles once more while it closes the file; the first error is the one to tell.
            cause = error.__context__ if isinstance(error.__context__, OSError) else error
            reason = (cause.strerror if isinstance(cause, OSError) else None) or cause
            last = Path(path).parent / "last.ckpt"
            go_on = f"python -m gaze_exp resume={last.parent.parent}" if last.is_file() else "the same command"
            raise DataError(f"{path}: cannot write: {reason}; free space, then go on with: {go_on}") from error
