"""Export a personal model as the ONNX files that the eye tracker reads, checked on its user's own crops."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from gaze_exp import assemble
from gaze_exp.config import build, plain
from gaze_exp.errors import ConfigError

if TYPE_CHECKING:
    from gaze_exp.data.calibration_set import CalibrationSet

log = logging.getLogger(__name__)

CHECKPOINT = Path("checkpoints", "personal.pt")


def run(cfg: DictConfig) -> None:
    """Write `custom_gaze.onnx`, `custom_gaze.int8.onnx` and `custom_gaze.json` into the run folder.

    Args:
        cfg: the run; `checkpoint` names another personal model than this run's, `data.root` its photos.

    Raises:
        ConfigError: no model, or no photos.
        DataError: a file cannot be used, or the exported graph differs from torch.
    """
    from gaze_exp.client.export import ExportWishes, as_text, export_for_client
    from gaze_exp.client.manifest import NAME, Known, why_not
    from gaze_exp.client.onnx_contract import SIZE_PX
    from gaze_exp.file_hash import sha256_of
    from gaze_exp.personal.model import load_personal

    path = _checkpoint(cfg)
    model, facts = load_personal(path)
    data = _photos(cfg, facts)
    folder = Path(cfg.run_dir)
    wishes = ExportWishes(**plain(cfg.export_client))
    log.info("export_client: %s, checked on %d crops of %s", path, len(data), data.folder)
    manifest = export_for_client(model, facts, data, folder=folder, checkpoint_sha256=sha256_of(path), wishes=wishes)
    for line in as_text(manifest):
        log.info("export_client: %s", line)
    for name, entry in manifest["files"].items():
        if "largest_difference_to_torch_deg" in entry:
            log.info(
                "export_client: %s: within %.1e degrees of torch on %d real crops, opset %d, one file",
                folder / name, entry["largest_difference_to_torch_deg"], len(data), entry["opset"],
            )  # fmt: skip
    if data.size_px != SIZE_PX:
        log.warning(
            "export_client: takes %d px, the eye tracker gives %d: good for a trial, not for a hand-back",
            data.size_px, SIZE_PX,
        )  # fmt: skip
        return
    reason = why_not(Known(path=folder / NAME, content=manifest))
    if reason:
        log.warning("export_client: a hand-back will want force=true, since %s", reason)
    log.info("export_client: next: task=l2cs_handback client_dir=CLIENT onnx=%s", folder / "custom_gaze.onnx")


def _checkpoint(cfg: DictConfig) -> Path:
    """The personal model that the config names, else this run's."""
    if cfg.checkpoint:
        named = Path(cfg.checkpoint)
        return named / CHECKPOINT if named.is_dir() else named
    own = Path(cfg.run_dir, CHECKPOINT)
    if not own.is_file():
        raise ConfigError(
            "checkpoint: nothing given and this run has fine-tuned nothing; RUN/checkpoints/personal.pt of "
            "task=l2cs_finetune would be right"
        )
    return own


def _photos(cfg: DictConfig, facts: dict[str, Any]) -> "CalibrationSet":
    """The prepared photos that the config names; where it names none, those of the fine-tune."""
    from gaze_exp.data.calibration_set import CalibrationSet, read_calibration_set

    named = str(cfg.data.get("root") or "")
    chosen = any(o.lstrip("+").startswith(("data=", "data.root=")) for o in assemble.overrides_of_run())
    trained_on = str(facts.get("data") or "")
    if not chosen and trained_on and not Path(named).is_dir() and Path(trained_on).is_dir():
        return read_calibration_set(trained_on)
    data = build(cfg.data, key="data")
    if not isinstance(data, CalibrationSet):
        raise ConfigError("data: is no prepared calibration; data=dataset_clean data.root=FOLDER would be right")
    return data
