"""Measure a checkpoint on persons it has never seen: metrics.json, predictions.csv and report.html."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from gaze_exp import assemble, record
from gaze_exp.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

    from gaze_exp.checkpoint import Checkpoint
    from gaze_exp.point_of_gaze import ScreenErrors
    from gaze_exp.predictions import Predictions

log = logging.getLogger(__name__)


def run(cfg: DictConfig) -> float:
    """Evaluate the checkpoint that the config names, or the best of this run.

    Args:
        cfg: the run; `cfg.evaluate` says which split.

    Returns:
        Mean angular error in degrees.

    Raises:
        DataError: a person of the split was trained on.
    """
    from gaze_exp.comparison import compare
    from gaze_exp.evaluation import evaluate
    from gaze_exp.predictions import to_csv
    from gaze_exp.segmentation import SegmentationScore

    machine = assemble.machine_of(cfg)
    saved = assemble.saved_of(cfg)
    data = assemble.data_of(cfg, machine, saved=saved)
    split = data.test_split if cfg.evaluate.split == "auto" else cfg.evaluate.split
    rows = getattr(data, split)
    if not cfg.evaluate.allow_seen_persons:
        refuse_seen(rows.subjects, saved=saved, split=split)
    masks = SegmentationScore()
    predictions = predict(saved, data, machine=machine, split=split, watch=masks)
    segmentation = masks.summary(seed=cfg.seed)
    rival = _rival(cfg, machine, saved=saved, split=split)
    metrics = {
        "split": split,
        "selected_on_this_split": split == "val",
        **evaluate(predictions, constant_gaze=saved.train_mean_gaze, dropped=rows.dropped, seed=cfg.seed),
        **({"comparison": compare(predictions, rival[1], name=rival[0], seed=cfg.seed)} if rival else {}),
        **({"segmentation": segmentation} if segmentation else {}),
        "checkpoint": {
            "path": str(saved.path),
            "sha256": saved.sha256(),
            "epoch": saved.epoch,
            "step": saved.step,
        },
    }
    screen = _on_screen(predictions, rows, metrics, constant_gaze=saved.train_mean_gaze, seed=cfg.seed)
    folder = Path(cfg.run_dir)
    record.write_json(folder / "metrics.json", metrics)
    to_csv(predictions, folder / "predictions.csv")
    report = _report(
        cfg, saved=saved, data=rows, predictions=predictions, metrics=metrics, eyes=masks.picture(), screen=screen
    )
    _say(metrics, report=report)
    return float(metrics["mean"])


def _on_screen(
    predictions: "Predictions", rows: Any, metrics: dict[str, Any], *, constant_gaze: "Tensor", seed: int
) -> "ScreenErrors | None":
    """Add `point_of_gaze` to the metrics where the data know of a screen."""
    import dataclasses

    from gaze_exp.data.screen_labels import read_screen_labels
    from gaze_exp.point_of_gaze import on_screen, summarise

    labels = read_screen_labels(rows, predictions.row.numpy())
    if labels is None:
        return None
    always = constant_gaze.expand(len(predictions.row), 2)
    constant = on_screen(dataclasses.replace(predictions, predicted=always), labels)
    screen = on_screen(predictions, labels)
    metrics["point_of_gaze"] = summarise(screen, predictions=predictions, labels=labels, constant=constant, seed=seed)
    return screen


def predict(saved: "Checkpoint", data: Any, *, machine: Any, split: str, watch: Any = None) -> "Predictions":
    """What a checkpoint answers on a split.

    Args:
        saved: the checkpoint.
        data: the data module.
        machine: resolved.
        split: `val`, or the one that the data module tests on.
        watch: is shown every batch and what the model answered.
    """
    from gaze_exp.predictions import collect

    loader = data.test_dataloader() if split == data.test_split else data.val_dataloader()
    subjects = getattr(data, split).subjects
    return collect(assemble.model_of(saved), loader, device=machine.torch_device, subjects=subjects, watch=watch)


def _rival(cfg: DictConfig, machine: Any, *, saved: "Checkpoint", split: str) -> "tuple[str, Predictions] | None":
    """Name and answers of what the checkpoint is to be compared with; None where there is nothing."""
    from gaze_exp import checkpoint
    from gaze_exp.predictions import from_csv

    named = cfg.evaluate.compare_with
    if named == "auto":
        named = saved.config["model"].get("frame_checkpoint")
        if named and not Path(named).is_file():
            log.warning("evaluate: %s is gone: no comparison; evaluate.compare_with=RUN names another", named)
            return None
    if not named:
        return None
    if str(named).endswith(".csv"):
        return str(named), from_csv(named)
    other = checkpoint.load(named)
    data = assemble.data_of(cfg, machine, saved=saved, reader=other)
    if not cfg.evaluate.allow_seen_persons:
        refuse_seen(getattr(data, split).subjects, saved=other, split=split)
    return str(named), predict(other, data, machine=machine, split=split)


def refuse_seen(subjects: Sequence[str], *, saved: "Checkpoint", split: str) -> None:
    """Refuse to call persons unseen that the checkpoint was trained on.

    Raises:
        DataError: with their names.
    """
    seen = sorted(set(subjects) & set(saved.train_subjects))
    if seen:
        raise DataError(
            f"{saved.path}: was trained on {len(seen)} of the {len(subjects)} persons in {split}: "
            f"{', '.join(seen[:5])}{' ...' if len(seen) > 5 else ''}; evaluate on others, or, when only the names "
            "are the same, evaluate.allow_seen_persons=true"
        )


def _report(
    cfg: DictConfig,
    *,
    saved: "Checkpoint",
    data: Any,
    predictions: Any,
    metrics: dict[str, Any],
    eyes: Any,
    screen: Any,
) -> Path:
    from gaze_exp.report import write_report

    trained_in = saved.path.parent.parent
    history, run = (_json_of(trained_in / name) for name in ("history.json", "run.json"))
    run = run or record.describe(assemble.overrides_of_run())
    return write_report(
        Path(cfg.run_dir),
        predictions=predictions,
        metrics=metrics,
        faces=data.face,
        eyes=eyes,
        screen=screen,
        history=history.get("rows", []),
        config_yaml=OmegaConf.to_yaml(OmegaConf.create(saved.config)),
        command=run["command"],
        run={key: run[key] for key in ("started", "code", "machine", "versions", "data") if key in run},
        title=f"{saved.config['task_name']}: {type_name(saved.config['model'])}",
        split=metrics["split"],
    )


def type_name(component: dict[str, Any]) -> str:
    """Class name of a component's config."""
    return str(component["_target_"]).rpartition(".")[2]


def _json_of(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _say(metrics: dict[str, Any], *, report: Path) -> None:
    from gaze_exp.verdict import comparison_verdict, sample_counts, screen_verdict, segmentation_verdict, verdict

    lines = [sample_counts(metrics), verdict(metrics), *screen_verdict(metrics.get("point_of_gaze"))]
    if "segmentation" in metrics:
        lines.append(segmentation_verdict(metrics["segmentation"]))
    if "comparison" in metrics:
        lines.append(comparison_verdict(metrics["comparison"]))
    for line in lines:
        log.info("evaluate on %s: %s", metrics["split"], line)
    log.info("evaluate: report at %s", report)
