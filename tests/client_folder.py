"""A client's folder as its user has it: a config of his own layout, models, and SVR files when asked."""

import json
from pathlib import Path

LEFT_OVER = {
    "yaw_offset": 6.74, "pitch_offset": -22.615, "yaw_gain": 6.3585, "pitch_gain": 0.892,
    "yaw_curve": -0.23525, "pitch_curve": 0.383,
}  # fmt: skip
"""A calibration of another model: (0, 0) is drawn at (1094.8, 87.7) in a window of 1920x1080."""

CONFIG = """{
  "defaults": {
    "show_gaze": true,
    "mirror_mode": true,
    "moondream_active": false,
    "head_pose_length": 150.0,
    "remote_dgx_url": null
  },
  "ui": {"menu_scale": 2, "font_family": "Gen\\u00e8ve é", "mesh_color_hex": "#FF0000"},
  "models": {
    "l2cs_path": "models/l2cs_net.onnx",
    "mobile_path": "models/mobile_gaze.onnx"
  },
  "calibration": {
    "models": {
      "mobile": { "yaw_offset": 1e-3, "pitch_offset": -0.50, "yaw_gain": 1.0, "pitch_gain": 2 },
      "l2cs": {
        "yaw_offset": 6.74,
        "pitch_offset": -22.615,
        "yaw_gain": 6.3585,
        "pitch_gain": 0.892,
        "yaw_curve": -0.23525,
        "pitch_curve": 0.383
      }
    }
  }
}
"""


def make_client(folder, *, config=CONFIG, svr=()):
    """Write a client's folder; `svr` holds axes, "x" and "y"."""
    folder = Path(folder)
    (folder / "models").mkdir(parents=True)
    (folder / "config.json").write_bytes(config.encode())
    for axis in svr:
        (folder / f"svr_l2cs_{axis}.model").write_bytes(f"support vectors of {axis}".encode())
    return folder


def state_of(folder):
    """Every file of a folder and its bytes."""
    folder = Path(folder)
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def config_of(folder):
    """The parsed config.json."""
    return json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))
