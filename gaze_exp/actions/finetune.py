"""Fine-tune L2CS-Net on one user's prepared photos, and say whether that made it better."""

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from gaze_exp import assemble, record
from gaze_exp.config import build, plain
from gaze_exp.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

    from gaze_exp.data.calibration_set import CalibrationSet
    from gaze_exp.hardware import Hardware
    from gaze_exp.models.l2cs import L2CS
    from gaze_exp.personal.personalise import Outcome
    from gaze_exp.personal.preparation import Wishes

Plain = dict[str, Any]

log = logging.getLogger(__name__)

CHECKPOINT = "checkpoints/personal.pt"
ALTERNATIVE = "checkpoints/base_affine.pt"


def run(cfg: DictConfig) -> float:
    """Cross-validate, train on all photos, and write `personal.pt`, `metrics.json` and `report.html`.

    Args:
        cfg: the run; `finetune` and `adapt` say what is trained and how, `data.root` where the prepared photos are.

    Returns:
        Mean held-out error of the method in `personal.pt`, client degrees.

    Raises:
        ConfigError: a choice that cannot work.
        DataError: photos that cannot be used, or too few.
    """
    from gaze_exp.personal.feature_bank import Device
    from gaze_exp.personal.personalise import personalise

    machine = _one_device(assemble.machine_of(cfg))
    wishes = _wishes(cfg)
    data: CalibrationSet = build(cfg.data, key="data")
    log.info("finetune: %s: %d photos, %d targets, %d session(s)", data.folder, len(data),
             len(data.target.unique()), len(data.session.unique()))  # fmt: skip
    base, about_base = _base(cfg, images=data.images())
    folder = Path(cfg.run_dir)
    described = record.describe(assemble.overrides_of_run())
    record.write_run(
        folder / "run.json", described | {"hardware": vars(machine), "base": about_base, "config": plain(cfg)}
    )
    try:
        outcome = personalise(data, base, wishes=wishes, device=Device.of(machine), folder=folder)
    except KeyboardInterrupt:
        log.warning(
            "finetune: stopped; finished folds are kept, go on with: %s -m gaze_exp resume=%s", record.python(), folder
        )
        sys.exit(130)
    _write(outcome, cfg=cfg, data=data, about_base=about_base, described=described)
    return float(outcome.metrics["verdict"]["error_deg"])


def _one_device(machine: "Hardware") -> "Hardware":
    """Fine-tuning is small: one device does it, in float32 or with bf16."""
    if machine.precision not in {"32-true", "bf16-mixed"}:
        raise ConfigError(
            f"hardware.precision: finetune knows no {machine.precision!r}; bf16-mixed or 32-true would be right"
        )
    if machine.devices * machine.num_nodes > 1:
        log.info("finetune: uses one of the %d devices", machine.devices * machine.num_nodes)
    return machine


def _wishes(cfg: DictConfig) -> "Wishes":
    from gaze_exp.personal.fit import Recipe
    from gaze_exp.personal.preparation import Wishes

    chosen = plain(cfg.finetune)
    chosen.pop("augment")
    recipe = {name: chosen.pop(name) for name in Recipe.__dataclass_fields__ if name in chosen}
    for name in ("epochs", "views_per_epoch", "batch_size", "patience"):
        if recipe[name] < 1:
            raise ConfigError(f"finetune.{name}: {recipe[name]} is too few; 1 or more is right")
    if chosen["head"] not in {"linear", "bins"}:
        raise ConfigError(f"finetune.head: {chosen['head']!r} is no choice; linear or bins is")
    return Wishes(
        adapter=build(cfg.adapt, key="adapt"),
        augment=build(cfg.finetune.augment, key="finetune.augment"),
        recipe=Recipe(**recipe, seed=cfg.seed),
        **chosen,
    )


def _base(cfg: DictConfig, *, images: "Tensor") -> "tuple[L2CS, Plain]":
    """The base model, its heads checked on the user's own photos, and where it comes from."""
    import torch

    from gaze_exp.models.l2cs import L2CS
    from gaze_exp.personal.protocol import state_hash
    from gaze_exp.weights.load import settle_heads
    from gaze_exp.weights.read import read_l2cs

    torch.manual_seed(cfg.seed)  # of weights that no file brings
    base = build(cfg.model, key="model")
    if not isinstance(base, L2CS):
        raise ConfigError(f"model: finetune knows no {type(base).__name__}; model=l2cs model.weights=FILE is right")
    if cfg.finetune.head == "bins" and base.head != "bins":
        raise ConfigError("finetune.head: the base has a linear head, no bins; finetune.head=linear would be right")
    base.eval()
    about: Plain = {"licence": ""}
    if cfg.model.weights is not None:
        trunk_only = cfg.model.pretrained == "imagenet"  # then the heads are fresh: nothing to test
        found = read_l2cs(cfg.model.weights, trunk_only=trunk_only)
        report = settle_heads(base, found, heads=cfg.model.heads, images=None if trunk_only else images)
        for line in report.lines():
            log.info("finetune: %s", line)
        about |= {"weights": report.path, "sha256": report.sha256, "origin": report.origin}
        about |= {"licence": report.licence, "heads": report.heads, "flip_test": str(report.flip or "")}
    return base, about | {"arch": base.arch, "state_sha256": state_hash(base)}


def _write(
    outcome: "Outcome",
    *,
    cfg: DictConfig,
    data: "CalibrationSet",
    about_base: dict[str, Any],
    described: dict[str, Any],
) -> None:
    from gaze_exp.personal.comparison import as_text
    from gaze_exp.personal.model import save_personal
    from gaze_exp.personal.personal_report import write_personal_report
    from gaze_exp.personal.predictions_csv import write_predictions

    folder, metrics = Path(cfg.run_dir), outcome.metrics
    facts = _facts(cfg, outcome=outcome, data=data, about_base=about_base)
    save_personal(folder / ALTERNATIVE, outcome.base_affine, facts | {"method": "base + affine"})
    record.write_json(folder / "metrics.json", metrics)
    write_predictions(folder / "predictions.csv", data=data, held_out=outcome.held_out)
    report = write_personal_report(folder, outcome=outcome, data=data, described=described, about_base=about_base)
    path = save_personal(folder / CHECKPOINT, outcome.model, facts)
    for line in as_text(metrics["table"]):
        log.info("finetune: %s", line)
    log.info("finetune: %s%s", metrics["verdict"]["text"], _but(metrics["verdict"]["caution"]))
    if not metrics["verdict"]["better"]:
        log.warning(
            "finetune: that is no proof of a gain. The base with its affine map is beside it: checkpoint=%s",
            folder / ALTERNATIVE,
        )  # fmt: skip
    log.info("finetune: %s, report at %s", path, report)


def _but(caution: str | None) -> str:
    return f" But {caution}." if caution else ""


def _facts(
    cfg: DictConfig, *, outcome: "Outcome", data: "CalibrationSet", about_base: dict[str, Any]
) -> dict[str, Any]:
    """What export and hand-back have to know, as plain data."""
    metrics = outcome.metrics
    return {
        "method": metrics["verdict"]["of"],
        "adapt": plain(cfg.adapt),
        "finetune": plain(cfg.finetune),
        "seed": int(cfg.seed),
        "geometry": dict(vars(data.geometry)),
        "size_px": data.size_px,
        "crop": data.manifest.get("crop"),
        "data": str(data.folder),
        "base": about_base,
        "mirrored": metrics["mirrored"],
        "split_sha256": metrics["split_sha256"],
        "table": metrics["table"],
        "verdict": metrics["verdict"],
        "final": {key: value for key, value in metrics["final"].items() if key != "curve"},
        "num_photos": metrics["num_photos"],
        "num_targets": metrics["num_targets"],
    }
