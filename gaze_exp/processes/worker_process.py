"""Processes of a pool that end with the one that started them."""

import multiprocessing
import os
import threading
from multiprocessing.connection import wait


def end_with_parent() -> None:
    """Let this process end as soon as its parent is gone: the initializer of a `ProcessPoolExecutor`.

    Without it the workers of a killed program go on with what they have, unseen, and write where its successor writes.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None, "only a process that multiprocessing started has a parent to watch"

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)  # no clean-up: whatever is half done has a temporary name

    threading.Thread(target=watch, daemon=True, name="end with parent").start()
