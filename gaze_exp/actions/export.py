"""Export a checkpoint to ONNX, and prove that it answers as torch does."""

import logging
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from gaze_exp import assemble, record
from gaze_exp.errors import DataError

log = logging.getLogger(__name__)


def run(cfg: DictConfig) -> None:
    """Write `model.onnx` and `model.json`; the graph gets its name when it has been compared with torch.

    Args:
        cfg: the run; `cfg.export` holds file name, tolerance and rows.

    Raises:
        DataError: the exported graph differs from torch by more than the tolerance.
    """
    from gaze_exp.batch import model_inputs
    from gaze_exp.onnx_export import compare_onnx, export_onnx, latency
    from gaze_exp.onnx_streaming import compare_streaming, export_streaming, streaming_inputs

    machine = assemble.machine_of(cfg)
    saved = assemble.saved_of(cfg)
    model = assemble.model_of(saved)
    data = assemble.data_of(cfg, machine, saved=saved)
    rows = _rows(data, cfg.export.num_rows)
    inputs = [{name: images.float() for name, images in model_inputs(model, batch).items()} for batch in rows]
    is_temporal = hasattr(model, "go_on")
    write, compare = (export_streaming, compare_streaming) if is_temporal else (export_onnx, compare_onnx)
    path = Path(cfg.run_dir, cfg.export.file)
    facts = {"checkpoint_sha256": saved.sha256(), "task": saved.config["task_name"]}
    unchecked = write(model, inputs[0], path.with_suffix(".unchecked.onnx"), metadata=facts)
    difference = compare(unchecked, model, inputs)
    if not difference <= cfg.export.tolerance_rad:
        refused = unchecked.rename(path.with_suffix(".refused.onnx"))
        raise DataError(
            f"{refused}: differs from torch by {difference:.2e} rad on real rows, above export.tolerance_rad="
            f"{cfg.export.tolerance_rad:g}; do not use it, and report the model's config"
        )
    timed = streaming_inputs(model, inputs[0]) if is_temporal else inputs[0]
    table = latency(unchecked, timed, threads=tuple(cfg.export.latency_threads))
    unchecked.rename(path)
    record.write_json(
        path.with_suffix(".json"),
        facts | {"largest_difference_rad": difference, "rows": len(rows), "latency": table},
    )
    log.info(
        "export: %s (%.1f MB), within %.1e rad of torch on %d real rows",
        path,
        path.stat().st_size / 1e6,
        difference,
        len(rows),
    )
    for row in table:
        log.info(
            "export: one sample in %.2f ms (95 %% below %.2f ms) on %d thread(s), onnxruntime on the CPU",
            row["median_ms"], row["p95_ms"], row["threads"],
        )  # fmt: skip


def _rows(data: Any, number: int) -> list[Any]:
    """The first rows of the evaluation split, one sample each; whole windows of a temporal model."""
    import torch

    rows: list[Any] = []
    for batch in data.test_dataloader():
        for index in range(len(batch["gaze"])):
            rows.append({k: v[index : index + 1].clone() for k, v in batch.items() if isinstance(v, torch.Tensor)})
            if sum(row["row"].numel() for row in rows) >= number:
                return rows
    return rows
