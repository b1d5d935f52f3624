"""Put an exported model in place in the eye tracker's folder, or take it back."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from gaze_exp import assemble
from gaze_exp.config import build
from gaze_exp.errors import ConfigError

if TYPE_CHECKING:
    from gaze_exp.client.config_file import ClientConfig
    from gaze_exp.client.manifest import Known
    from gaze_exp.client.mapping import ClientMapping
    from gaze_exp.screen import ScreenGeometry

log = logging.getLogger(__name__)


def run(cfg: DictConfig) -> None:
    """Copy the model, switch the client's config to it and reset its calibration; all of it or nothing.

    Args:
        cfg: the run; `client_dir`, `onnx`, `mapping`, `undo`, `force`, `handback` and the window of `screen`.

    Raises:
        ConfigError: a choice is missing, or needs `force=true`.
        DataError: a file of the client or the model cannot be used; nothing was changed.
    """
    from gaze_exp.client.check_folder import warnings_of
    from gaze_exp.client.config_file import read_config
    from gaze_exp.client.manifest import find_manifest
    from gaze_exp.client.placement import take_back

    if not cfg.client_dir:
        raise ConfigError("client_dir: nothing given; the folder in which the eye tracker is started would be right")
    client_dir = Path(cfg.client_dir).expanduser()
    if cfg.undo:
        for line in take_back(client_dir):
            log.info("handback: %s", line)
        return
    config = read_config(client_dir)
    onnx = _onnx(cfg)
    known = find_manifest(onnx) if onnx and onnx.is_file() else None
    geometry = _geometry(cfg, known)
    mirrored = bool(known.content["mirrored"]) if known else None
    for line in warnings_of(config, geometry, mirrored=mirrored):
        log.warning("handback: %s as it stands: %s", client_dir, line)
    if cfg.handback.check_only:
        _say_where(config, geometry, known)
        return
    if onnx is None:
        raise ConfigError("onnx: nothing given; RUN/custom_gaze.onnx of actions=[export_client] would be right")
    _place(cfg, config, onnx=onnx, known=known, geometry=geometry)
    for line in warnings_of(read_config(client_dir), geometry, mirrored=mirrored):
        log.warning("handback: still to do: %s", line)
    log.info(
        "handback: start the eye tracker in %s with --model l2cs (another slot would not read this model), with "
        "Moondream off (key 7); its `calibrate` program would overwrite what was written now. "
        "undo=true takes it back", client_dir,
    )  # fmt: skip


def _onnx(cfg: DictConfig) -> Path | None:
    """The file to put in place; of a run folder, its `custom_gaze.onnx`."""
    if not cfg.onnx:
        return None
    named = Path(cfg.onnx).expanduser()
    return named / "custom_gaze.onnx" if named.is_dir() else named


def _geometry(cfg: DictConfig, known: "Known | None") -> "ScreenGeometry":
    """The degrees of the model's labels, and the window of today."""
    from dataclasses import replace

    chosen: ScreenGeometry = build(cfg.screen, key="screen")
    if known is None:
        return chosen
    learnt = known.geometry
    if not any(o.lstrip("+").startswith("screen") for o in assemble.overrides_of_run()):
        return learnt
    zero = (learnt.center_x, learnt.center_y)
    if (chosen.center_x, chosen.center_y, chosen.deg_per_pixel) != (*zero, learnt.deg_per_pixel):
        log.warning(
            "handback: the model learnt %g degrees a pixel around (%g, %g), and that stays; of `screen` only the "
            "window's size is taken. Another screen needs task=l2cs_prepare and a fine-tune",
            learnt.deg_per_pixel, *zero,
        )  # fmt: skip
    return replace(learnt, window_width_px=chosen.window_width_px, window_height_px=chosen.window_height_px)


def _place(
    cfg: DictConfig, config: "ClientConfig", *, onnx: Path, known: "Known | None", geometry: "ScreenGeometry"
) -> None:
    """Check the model, put it in place and say what the pointer will do."""
    from gaze_exp.client.mapping import mapping_for
    from gaze_exp.client.onnx_contract import inspect
    from gaze_exp.client.placement import Handback, place, read_record

    mapping = mapping_for(cfg.mapping, geometry)
    for note in inspect(onnx).notes:
        log.warning("handback: %s: %s", onnx, note)
    if known is None:
        _check_by_hand(cfg, onnx)
    _refuse_doubtful(cfg, known, onnx)
    _refuse_svr(cfg, config.path.parent)
    window_px = (geometry.window_width_px, geometry.window_height_px)
    earlier = read_record(config.path.parent)
    if earlier and tuple(earlier["window_px"]) != window_px:
        log.warning(
            "handback: the window was %dx%d at the last hand-back and is %dx%d now: offsets computed anew",
            *earlier["window_px"], *window_px,
        )  # fmt: skip
    record = place(
        config,
        Handback(
            onnx=onnx,
            known=known,
            mapping_name=cfg.mapping,
            mapping=mapping,
            window_px=window_px,
            disable_svr=cfg.handback.disable_svr,
        ),
    )
    for name, facts in record["files"].items():
        kept = f"; what was there is kept as {facts['backup']}" if facts["backup"] else ""
        log.info("handback: %s (SHA-256 %s...)%s", config.path.parent / name, facts["sha256"][:12], kept)
    for name, now in record["svr"].items():
        log.info("handback: %s is called %s now", name, now)
    log.info(
        "handback: %s: models.l2cs_path and the six numbers of calibration.models.l2cs changed, nothing else; "
        "as it was: %s", config.path, record["config_backup"],
    )  # fmt: skip
    _say_pixels(mapping, geometry, known, name=cfg.mapping)


def _check_by_hand(cfg: DictConfig, onnx: Path) -> None:
    """A file about which nothing is known answers the user's own crops first, where there are any."""
    from gaze_exp.client.onnx_contract import check_answers, drawn_deg, inspect
    from gaze_exp.data.calibration_set import read_calibration_set

    root = Path(str(cfg.data.get("root") or ""))
    if not (root / "labels.csv").is_file():
        log.warning(
            "handback: %s: unit and signs are not checked, since data.root=%s holds no prepared photos", onnx, root
        )
        return
    data = read_calibration_set(root)
    model = inspect(onnx)
    check_answers(model, drawn_deg(model, data.images()), data.angles_deg)
    log.info("handback: %s: unit and signs are right on %d crops of %s", onnx, len(data), root)


def _refuse_doubtful(cfg: DictConfig, known: "Known | None", onnx: Path) -> None:
    from gaze_exp.client.manifest import why_not

    reason = why_not(known)
    if reason is None:
        return
    if not cfg.force:
        raise ConfigError(
            f"onnx: {onnx} is not put in place: {reason.rstrip('.')}; force=true does it all the same. The base with "
            "an affine map is the modest choice: actions=[export_client] checkpoint=RUN/checkpoints/base_affine.pt"
        )
    log.warning("handback: force=true: %s is put in place although %s", onnx, reason)


def _refuse_svr(cfg: DictConfig, client_dir: Path) -> None:
    from gaze_exp.client import svr

    if svr.override(client_dir) and not (cfg.handback.disable_svr or cfg.force):
        names = " and ".join(svr.FILES)
        raise ConfigError(
            f"client_dir: {names} in {client_dir} override every calibration, and the pointer would leave the screen; "
            "handback.disable_svr=true renames them (undo=true renames them back), force=true leaves them"
        )


def _say_where(config: "ClientConfig", geometry: "ScreenGeometry", known: "Known | None") -> None:
    """What the config does as it stands; nothing is changed."""
    from gaze_exp.client.mapping import ClientMapping

    log.info("handback: %s points to %s", config.path, config.model_path)
    _say_pixels(ClientMapping(**config.numbers), geometry, known, name="as it stands")


def _say_pixels(mapping: "ClientMapping", geometry: "ScreenGeometry", known: "Known | None", *, name: str) -> None:
    """Where a model without error would let the client draw each calibration target."""
    from gaze_exp.client.mapping import PIXELS_PER_DEGREE, drawn_at, grid_of, share_reached

    targets = known.targets_px if known else grid_of(geometry)
    log.info("handback: %s px of the window that each %s gets:", name, "calibration target" if known else "point")
    for (x, y), (to_x, to_y) in zip(targets.tolist(), drawn_at(mapping, geometry, targets).tolist(), strict=True):
        log.info("handback:   (%.0f, %.0f) -> (%.0f, %.0f)", x, y, to_x, to_y)
    share = share_reached(mapping, geometry)
    if abs(share - 1) > 0.01:
        log.warning(
            "handback: mapping=%s: the client draws %g px a degree, the labels have %.1f: the pointer goes %.0f %% of "
            "the way. mapping=screen writes gain %.4f and the offsets that reach the whole window",
            name, PIXELS_PER_DEGREE, 1 / geometry.deg_per_pixel, 100 * share,
            1 / (PIXELS_PER_DEGREE * geometry.deg_per_pixel),
        )  # fmt: skip
