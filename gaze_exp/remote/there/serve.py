"""One request of the program here, answered there.

Runs on the other machine with its system's Python and nothing installed: the standard library of 3.9 alone.
"""

from __future__ import annotations

import os
import sys

from gaze_exp.remote.there import environment, jobs, store
from gaze_exp.remote.there.frames import HELLO, Refusal, beat, read_request, refusal_of, say

ANSWERS = {
    "hello": environment.hello,
    "missing": store.missing,
    "received": store.received,
    "put": store.put,
    "lay_out": store.lay_out,
    "start": jobs.start,
    "status": jobs.status,
    "follow": jobs.follow,
    "results": jobs.results,
    "get": store.get,
    "cancel": jobs.cancel,
}


def main() -> None:
    """Answer one request; a refusal is an answer too."""
    sys.stdout.buffer.write(b"\n" + HELLO)
    sys.stdout.buffer.flush()
    request = read_request()
    beat()
    try:
        ANSWERS[request["op"]](request)
    except Refusal as refusal:
        say({"refused": refusal.kind, "text": str(refusal)})
    except BrokenPipeError:
        os._exit(1)  # nobody listens any more
    except OSError as error:
        refusal = refusal_of(error)
        say({"refused": refusal.kind, "text": str(refusal)})
    os._exit(0)  # the thread that beats must not hold the interpreter's end up
