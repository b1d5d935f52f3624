"""What would go wrong if the client were started in its folder as it stands."""

from pathlib import Path

import torch

from gaze_exp.client import svr
from gaze_exp.client.config_file import CALIBRATION, ClientConfig
from gaze_exp.client.mapping import ClientMapping, mapping_for
from gaze_exp.screen import ScreenGeometry


def warnings_of(config: ClientConfig, geometry: ScreenGeometry, *, mirrored: bool | None = None) -> list[str]:
    """Look at a client's config, models and SVR files.

    Args:
        config: of the client.
        geometry: of the model's labels, and the client's window.
        mirrored: the model is for mirrored pictures; None when that is not known.

    Returns:
        A sentence for each trouble; empty when the model would be drawn where it means to.
    """
    return [
        *_of_model(config),
        *_of_calibration(config, geometry),
        *_of_svr(config.path.parent),
        *_of_switches(config, mirrored=mirrored),
    ]


def _of_model(config: ClientConfig) -> list[str]:
    path = Path(config.model_path)
    if not (config.path.parent / path).is_file():
        return [f"models.l2cs_path: {path} is not there; the client would only print a line and show no gaze"]
    if path.is_absolute():
        return [f"models.l2cs_path: {path} is absolute, and breaks when the folder moves"]
    return []


def _of_calibration(config: ClientConfig, geometry: ScreenGeometry) -> list[str]:
    found = ClientMapping(**config.numbers)
    wanted = {name: mapping_for(name, geometry) for name in ("native", "screen")}
    if any(_same(found, each) for each in wanted.values()):
        return []
    window_px = (geometry.window_width_px, geometry.window_height_px)
    x, y = found.to_pixels(torch.zeros(2, dtype=torch.float64), window_px=window_px).tolist()
    left = [name for name, number in found.numbers().items() if number and not name.endswith("_gain")]
    what = f"curves/offsets not reset ({', '.join(left)})" if left else "the gains are of another model"
    return [
        f"{'.'.join(CALIBRATION)}: {what}: a model that says (0, 0) is drawn at ({x:.2f}, {y:.2f}) of the window of "
        f"{window_px[0]}x{window_px[1]}, and means ({geometry.center_x:g}, {geometry.center_y:g})"
    ]


def _same(first: ClientMapping, second: ClientMapping) -> bool:
    """Equal in what float32, in which the client saves them, can tell."""
    pairs = zip(first.numbers().values(), second.numbers().values(), strict=True)
    return all(abs(a - b) <= 1e-5 * max(1.0, abs(b)) for a, b in pairs)


def _of_svr(client_dir: Path) -> list[str]:
    found = [path.name for path in svr.found_in(client_dir)]
    if svr.override(client_dir):
        return [
            f"{' and '.join(found)} lie in {client_dir}: the client takes their pixels for degrees, whatever the "
            "calibration says (its `calibrate` program makes them again); handback.disable_svr=true renames them"
        ]
    return [f"{name} lies there alone; the client loads both SVR files or neither" for name in found]


def _of_switches(config: ClientConfig, *, mirrored: bool | None) -> list[str]:
    said = []
    if config.flag("moondream_active"):
        said.append("defaults.moondream_active is true: that branch turns yaw round; switch Moondream off (key 7)")
    mode = config.flag("mirror_mode")
    if mirrored is not None and mode is not None and mode != mirrored:
        said.append(
            f"defaults.mirror_mode is {str(mode).lower()}, the model is for pictures that are "
            f"{'mirrored' if mirrored else 'not mirrored'}: left and right would be exchanged"
        )
    return said
