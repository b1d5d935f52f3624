"""A small program to be sent and started in place of the whole one: a real process that prints, writes and ends.

`frames` is the number of lines it prints, `seed` its exit status; `persons=13` makes it deaf to Ctrl-C; with
`force=true` it waits behind its sixth line for a file `go` in the folder of the program there.
"""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

told = dict(argument.lstrip("+").partition("=")[::2] for argument in sys.argv[1:])
folder = Path(told["hydra.run.dir"])
(folder / "deep" / "er").mkdir(parents=True)
if told.get("persons") == "13":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
data = Path(told["data.root"])
files = sorted(p for p in data.rglob("*") if p.is_file())
seen = {p.relative_to(data).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}
(folder / "seen.json").write_text(json.dumps({"files": seen, "arguments": sys.argv[1:], "env": dict(os.environ)}))
(folder / "custom_gaze.onnx").write_bytes(os.urandom(300_000))
(folder / "deep" / "er" / "ünd 'so'.txt").write_text("weiter")
try:
    for line in range(int(told.get("frames", 3))):
        print(f"line {line} of the run")
        while line == 5 and told.get("force") and not Path("../go").exists():
            time.sleep(0.05)
except KeyboardInterrupt:
    print("stopped, and wrote what there was")
    (folder / "last.ckpt").write_text("kept")
    sys.exit(130)
sys.exit(int(told.get("seed", 0)))
