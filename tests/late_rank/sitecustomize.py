"""On the path of Python, lets every rank of torchrun but the first begin a second and a half late."""

import os
import sys
import time

if os.environ.get("RANK", "0") != "0" and "gaze_exp" in sys.orig_argv:
    time.sleep(1.5)
