"""A run of several processes ends as a whole: where one is gone, the others say so and stop.

Gloo notices a closed connection at once. NCCL waits for its peer, and so does gloo where a process hangs or a machine
has lost its power; for these every rank gives a sign of life at the store where the ranks met, and rank 0 looks after
all of them, they after it.
"""

import logging
import os
import signal
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import distributed

from gaze_exp.errors import DataError

log = logging.getLogger(__name__)

EVERY_S = 3.0
"""Between two signs of life."""
SILENCE_S = 30.0
"""After so long without one, a rank counts as gone."""
LOST = 70
"""Exit code of a rank whose peer is gone."""


class RankWatch(Callback):
    """Ends this process when another rank of the same training gives no sign of life.

    Args:
        folder: of the run, for the command that goes on.
        silence_s: how long a rank may be silent.
    """

    def __init__(self, folder: Path, *, silence_s: float = SILENCE_S) -> None:
        self.folder = folder
        self.silence_s = silence_s
        self._has_ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._launcher: Any = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin, where there are others."""
        del pl_module
        if trainer.world_size > 1 and self._thread is None:
            self._has_ended.clear()
            self._launcher = trainer.strategy.launcher
            arguments = (trainer.global_rank, trainer.world_size)
            self._thread = threading.Thread(target=self._watch, args=arguments, name="rank-watch", daemon=True)
            self._thread.start()

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop: from here the ranks go their own ways."""
        del trainer, pl_module
        self._has_ended.set()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Stop: this rank is about to say itself what went wrong."""
        del trainer, pl_module, exception
        self._has_ended.set()

    def _watch(self, rank: int, world_size: int) -> None:
        peers = range(1, world_size) if rank == 0 else [0]
        last_sign = dict.fromkeys(peers, time.monotonic())
        signs: dict[int, bytes] = {}
        store = None
        for count in range(sys.maxsize):
            try:
                store = store or _meeting_place()
                store.set(str(rank), str(count))
                for peer in peers:
                    sign = store.get(str(peer)) if store.check([str(peer)]) else b""
                    if sign != signs.get(peer) or sign == b"end":
                        signs[peer], last_sign[peer] = sign, time.monotonic()
            except RuntimeError:  # the store was rank 0's, or its machine's
                log.debug("rank %d: the store where the ranks meet does not answer", rank)
                store = None
            silent = [peer for peer, when in last_sign.items() if time.monotonic() - when > self.silence_s]
            if silent:
                self._end(rank, silent)
            if self._has_ended.wait(EVERY_S):
                break
        _say_goodbye(store, rank)

    def _end(self, rank: int, silent: list[int]) -> None:
        """Say it and end at once: the main thread may wait in a collective, where no exception reaches it."""
        names = ", ".join(str(peer) for peer in silent)
        log.error(
            "rank %d: no sign of life from rank %s for %.0f s; %s", rank, names, self.silence_s, _advice(self.folder)
        )
        sys.stderr.write(f"error: rank {rank}: no sign of life from rank {names}\n")
        if self._launcher is not None:
            self._launcher.kill(signal.SIGKILL)  # the children that Lightning started, of which one may hang
        logging.shutdown()
        os._exit(LOST)


def _meeting_place() -> Any:
    store = distributed.TCPStore(  # type: ignore[attr-defined]
        os.environ["MASTER_ADDR"],
        int(os.environ["MASTER_PORT"]),
        is_master=False,
        timeout=timedelta(seconds=EVERY_S),
        wait_for_workers=False,
    )
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    return distributed.PrefixStore(f"gaze_exp_watch{attempt}", store)  # type: ignore[attr-defined]


def _say_goodbye(store: Any, rank: int) -> None:
    try:
        if store is not None:
            store.set(str(rank), "end")
    except RuntimeError:
        log.debug("rank %d: the store is gone already", rank)


def lost_peer(error: RuntimeError, *, folder: Path) -> DataError | None:
    """What to say when a collective failed because another process is gone.

    Args:
        error: of the training.
        folder: of the run.

    Returns:
        The error for the user; None where it was something else.
    """
    texts = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "remote process", "Socket Timeout")
    is_lost = isinstance(error, distributed.DistError) or any(text in str(error) for text in texts)
    if not is_lost or not distributed.is_initialized():
        return None
    rank = distributed.get_rank()
    return DataError(f"rank {rank}: another process of this run has ended; {_advice(folder)}")


def _advice(folder: Path) -> str:
    if (folder / "checkpoints" / "last.ckpt").is_file():
        return f"its own message says why; the same command with resume={folder} goes on from the last checkpoint"
    return "its own message says why; there is no checkpoint yet, the same command begins again"
