"""One ONNX file of a gaze model: written, checked, compared with torch, and timed.

The inputs are named as the arguments of the model's `forward`, and take pixels as they are: float32 RGB
0..255, (batch, 3, H, W), batch free. The output is `gaze` (batch, 2) pitch, yaw in radians.
"""

import contextlib
import copy
import io
import json
import logging
import statistics
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping
from importlib import metadata as package_metadata
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

from gaze_exp.atomic_write import atomic_write
from gaze_exp.batch import model_inputs
from gaze_exp.errors import ConfigError

OPSET = 18
"""The lowest that torch's exporter writes, so that old runtimes read the file too."""

FRAME = (
    "normalised camera of the face crop: OpenCV axes, x right, y down, z away from the camera; "
    "pitch > 0 up, yaw > 0 to the left of the image; (0, 0) looks into the camera"
)

logger = logging.getLogger(__name__)


class GazeOnly(nn.Module):
    """A model with its inputs by position and its `gaze` as a bare tensor, the form an exporter wants."""

    def __init__(self, model: nn.Module, *, input_names: list[str]) -> None:
        super().__init__()
        self.model = model
        self.input_names = input_names

    def forward(self, *images: Tensor) -> Tensor:
        """Run the model: images (B, 3, H, W) in the order of the names -> (B, 2) pitch, yaw in radians."""
        return self.model(**dict(zip(self.input_names, images, strict=True)))["gaze"]


def export_onnx(
    model: nn.Module,
    example: Mapping[str, Tensor],
    path: str | Path,
    *,
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """Write a model as one ONNX file that says what goes in and what comes out.

    Args:
        model: its `forward` takes images by name and returns `gaze`; left as it is.
        example: one or more rows of every input, (B, 3, H, W) of any dtype, 0..255. The file takes images
            of this size.
        path: of the file; it appears when it is whole.
        metadata: more entries for the file, such as `model` or `checkpoint`.

    Returns:
        The path.

    Raises:
        ConfigError: the model's code ties the graph to one batch size.
    """
    inputs = model_inputs(model, example)
    names = list(inputs)
    images = tuple(as_input(image) for image in inputs.values())
    exportable = GazeOnly(copy.deepcopy(model).cpu().float().eval(), input_names=names)
    proto = trace(exportable, images, names=names, output_names=["gaze"])
    entries = describe(model, dict(zip(names, images, strict=True))) | dict(metadata or {})
    return write_graph(proto, entries, Path(path))


def write_graph(proto: onnx.ModelProto, entries: Mapping[str, str], path: Path) -> Path:
    """Give a graph its entries, check it, and write it whole or not at all.

    Args:
        proto: the graph.
        entries: what the file says about itself.
        path: of the file.

    Returns:
        The path.
    """
    for key, value in entries.items():
        proto.metadata_props.add(key=key, value=str(value))
    onnx.checker.check_model(proto)
    with atomic_write(path) as partial:
        partial.write_bytes(proto.SerializeToString())
    return path


def as_input(images: Tensor) -> Tensor:
    """Two rows at least (an exporter takes a batch of one for a constant), contiguous float32 on the CPU."""
    rows = images.detach().cpu().float().contiguous()
    return rows if len(rows) > 1 else rows.expand(2, *rows.shape[1:]).contiguous()


def trace(
    exportable: nn.Module, inputs: tuple[Tensor, ...], *, names: list[str], output_names: list[str]
) -> onnx.ModelProto:
    """Trace a module into a graph whose inputs have any number of rows.

    Args:
        exportable: takes and gives tensors by position.
        inputs: an example of each, two rows or more.
        names: of the inputs.
        output_names: of the outputs.

    Raises:
        ConfigError: the model's code ties the graph to one batch size.
    """
    batch = torch.export.Dim("batch")
    with _quiet():
        program = torch.onnx.export(
            exportable,
            inputs,
            input_names=names,
            output_names=output_names,
            dynamic_shapes=(tuple({0: batch} for _ in inputs),),
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    assert program is not None
    for node in program.model_proto.graph.input:
        if not node.type.tensor_type.shape.dim[0].dim_param:
            raise ConfigError(
                f"model: the exported graph takes a fixed number of rows for '{node.name}'; forward must not "
                "branch on or count by the batch size (split with unflatten instead of chunk)"
            )
    return program.model_proto


def describe(model: nn.Module, images: Mapping[str, Tensor]) -> dict[str, str]:
    """What a file says about itself.

    Args:
        model: what was exported.
        images: an example of each image it takes, (B, 3, H, W).
    """
    sizes = {name: list(image.shape[1:]) for name, image in images.items()}
    return {
        "model": type(model).__name__,
        "inputs": json.dumps(sizes),
        "input_layout": "NCHW",
        "input_dtype": "float32",
        "color_order": "RGB",
        "value_range": "0..255",
        "output": "gaze",
        "output_order": "pitch,yaw",
        "unit": "rad",
        "frame": FRAME,
        "gaze_exp_version": package_metadata.version("gaze-exp"),
    }


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's notes about its own work off the screen; its errors still come through."""
    names = ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")
    levels = {name: logging.getLogger(name).level for name in names}
    printed = io.StringIO()
    with warnings.catch_warnings(), contextlib.redirect_stdout(printed):
        warnings.simplefilter("ignore")
        for name in names:
            logging.getLogger(name).setLevel(logging.ERROR)
        try:
            yield
        finally:
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)
            logger.debug("exporter: %s", printed.getvalue())


def open_session(path: str | Path, *, num_threads: int | None = None) -> onnxruntime.InferenceSession:
    """Open an ONNX file in onnxruntime on the CPU.

    Args:
        path: of the file.
        num_threads: within one operator; None leaves it to onnxruntime.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if num_threads is not None:
        options.intra_op_num_threads = num_threads
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def compare_onnx(path: str | Path, model: nn.Module, inputs_list: Iterable[Mapping[str, Tensor]]) -> float:
    """Compare an ONNX file with its model.

    Args:
        path: of the file.
        model: what it was exported from; left as it is.
        inputs_list: batches, each with (B, 3, H, W) images by name, any dtype, 0..255.

    Returns:
        Largest difference of an angle, radians; NaN where either side gives one.
    """
    session = open_session(path)
    reference = copy.deepcopy(model).cpu().float().eval()
    differences = [0.0]
    for inputs in inputs_list:
        images = {name: x.detach().cpu().float().contiguous() for name, x in model_inputs(model, inputs).items()}
        with torch.inference_mode():
            expected = reference(**images)["gaze"].numpy()
        (gaze,) = session.run(["gaze"], {name: image.numpy() for name, image in images.items()})
        differences.append(float(np.abs(gaze - expected).max()))
    return float(np.max(differences))


def latency(
    path: str | Path,
    inputs: Mapping[str, Tensor],
    *,
    threads: tuple[int, ...] = (1, 2),
    num_runs: int = 50,
    max_seconds: float = 10.0,
) -> list[dict[str, Any]]:
    """Time an ONNX file on single samples.

    Args:
        path: of the file.
        inputs: (B, 3, H, W) images by name, of which the first row is used.
        threads: numbers of threads to try.
        num_runs: runs for each, after three to warm up.
        max_seconds: time for each, where the runs would take longer.

    Returns:
        A row for each number of threads: `threads`, `batch_size`, `num_runs`, `median_ms`, `p95_ms`.
    """
    rows = []
    for num_threads in threads:
        session = open_session(path, num_threads=num_threads)
        wanted = [node.name for node in session.get_inputs()]
        feed = {name: inputs[name][:1].detach().cpu().float().contiguous().numpy() for name in wanted}
        for _ in range(3):
            session.run(["gaze"], feed)
        times_ms = _time_runs(session, feed, num_runs=num_runs, max_seconds=max_seconds)
        rows.append(
            {
                "threads": num_threads,
                "batch_size": 1,
                "num_runs": len(times_ms),
                "median_ms": statistics.median(times_ms),
                "p95_ms": float(np.percentile(times_ms, 95)),
            }
        )
    return rows


def _time_runs(
    session: onnxruntime.InferenceSession, feed: dict[str, Any], *, num_runs: int, max_seconds: float
) -> list[float]:
    times_ms: list[float] = []
    end = time.perf_counter() + max_seconds
    while len(times_ms) < num_runs and (time.perf_counter() < end or not times_ms):
        start = time.perf_counter()
        session.run(["gaze"], feed)
        times_ms.append(1000 * (time.perf_counter() - start))
    return times_ms
