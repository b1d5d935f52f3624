"""A personal model as the one ONNX file that the client reads: its tensor in, its degrees out.

In: `face` (1, 3, S, S) float32, the client's normalised RGB crop. Out: `gaze_deg` (1, 2) float32, yaw and pitch in
client degrees, right and down positive. Resizing, the signs of mirrored photos and the affine map are inside.
"""

import copy
import io
import json
import logging
import warnings
from collections.abc import Mapping
from contextlib import redirect_stdout
from importlib import metadata as package_metadata
from pathlib import Path
from typing import TYPE_CHECKING

import onnx
import torch
from torch import Tensor, nn

from gaze_exp.atomic_write import atomic_write
from gaze_exp.errors import DataError
from gaze_exp.onnx_export import open_session

if TYPE_CHECKING:
    from gaze_exp.personal.model import PersonalModel

OPSET = 17
"""The client's onnxruntime may be an old one; only torch's older exporter writes this."""
IR_VERSION = 8
INPUT, OUTPUT = "face", "gaze_deg"
FRAME = "client degrees, linear in pixels of the calibrated window: yaw > 0 right, pitch > 0 down, (0, 0) its centre"
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

logger = logging.getLogger(__name__)


class _FromClient(nn.Module):
    """The model behind the client's own normalisation."""

    def __init__(self, model: "PersonalModel") -> None:
        super().__init__()
        self.model = model

    def forward(self, face: Tensor) -> Tensor:
        """(1, 3, S, S) normalised -> (1, 2) client degrees."""
        return self.model.from_normalised(face)


def client_tensor(images: Tensor) -> Tensor:
    """Crops as the client feeds them: (N, 3, S, S) RGB 0..255 -> float32, by ImageNet's mean and deviation.

    >>> client_tensor(torch.full((1, 3, 1, 1), 255)).flatten().numpy().round(3).tolist()
    [2.249, 2.429, 2.64]
    """
    mean, std = (torch.tensor(x).view(1, 3, 1, 1) for x in (IMAGENET_MEAN, IMAGENET_STD))
    return ((images.float() / 255 - mean) / std).contiguous()


def write_custom_onnx(
    model: "PersonalModel", path: str | Path, *, size_px: int, metadata: Mapping[str, object] | None = None
) -> Path:
    """Write a personal model for the client.

    Args:
        model: left as it is.
        path: of the file; it appears when it is whole.
        size_px: side of the crops; the client gives 448.
        metadata: more entries for the file.

    Returns:
        The path.
    """
    path = Path(path)
    graph = _traced(_FromClient(copy.deepcopy(model).cpu().float().eval()).eval(), size_px=size_px)
    describe(graph, _description(model, size_px=size_px) | dict(metadata or {}))
    return save_graph(graph, path)


def _traced(exportable: nn.Module, *, size_px: int) -> onnx.ModelProto:
    """Run torch's older exporter, which folds batch norm into the convolutions; its notes are not for users."""
    written = io.BytesIO()
    exporter = logging.getLogger("torch.onnx")
    level = exporter.level
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        exporter.setLevel(logging.ERROR)
        try:
            torch.onnx.export(
                exportable,
                (torch.zeros(1, 3, size_px, size_px),),
                written,  # type: ignore[arg-type]
                input_names=[INPUT],
                output_names=[OUTPUT],
                opset_version=OPSET,
                do_constant_folding=True,
                dynamo=False,
            )
        finally:
            exporter.setLevel(level)
    return onnx.load_from_string(written.getvalue())


def _description(model: "PersonalModel", *, size_px: int) -> dict[str, object]:
    return {
        "model": f"{type(model).__name__}, {model.net.arch}, head {model.net.head}",
        "inputs": json.dumps({INPUT: [1, 3, size_px, size_px]}),
        "input_layout": "NCHW",
        "color_order": "RGB",
        "input_normalisation": f"(pixel / 255 - {list(IMAGENET_MEAN)}) / {list(IMAGENET_STD)}",
        "output": OUTPUT,
        "output_order": "yaw,pitch",
        "unit": "deg",
        "frame": FRAME,
        "mirrored": str(bool(model.mirrored)).lower(),
        "gaze_exp_version": package_metadata.version("gaze-exp"),
    }


def describe(graph: onnx.ModelProto, entries: Mapping[str, object]) -> None:
    """Add metadata; an entry that is there already is replaced."""
    kept = {entry.key: entry.value for entry in graph.metadata_props}
    del graph.metadata_props[:]
    for key, value in (kept | {key: str(value) for key, value in entries.items()}).items():
        graph.metadata_props.add(key=key, value=value)


def save_graph(graph: onnx.ModelProto, path: Path) -> Path:
    """Check a graph and write it as one file, whole or not at all."""
    graph.ir_version = min(graph.ir_version, IR_VERSION)
    used = {node.domain for node in graph.graph.node}
    for domain in [each for each in graph.opset_import if each.domain not in used]:
        graph.opset_import.remove(domain)
    onnx.checker.check_model(graph)
    try:
        with atomic_write(path) as temporary:
            temporary.write_bytes(graph.SerializeToString())
    except OSError as error:
        raise DataError(
            f"{path}: cannot be written: {error.strerror or error}; free space or choose another"
        ) from error
    return path


def answers_deg(path: str | Path, images: Tensor, *, num_threads: int | None = None) -> Tensor:
    """What onnxruntime makes of crops, one at a time as the client asks.

    Args:
        path: of a file that `write_custom_onnx` or `quantise` wrote.
        images: (N, 3, S, S) RGB 0..255.
        num_threads: within one operator; None leaves it to onnxruntime.

    Returns:
        (N, 2) float64 client degrees.
    """
    session = open_session(path, num_threads=num_threads)
    name = session.get_inputs()[0].name
    rows = [torch.from_numpy(session.run(None, {name: client_tensor(image[None]).numpy()})[0]) for image in images]
    return torch.cat(rows).double()


def torch_deg(model: "PersonalModel", images: Tensor) -> Tensor:
    """The same from torch, through the model's own normalisation: (N, 2) float64 client degrees."""
    reference = copy.deepcopy(model).cpu().float().eval()
    with torch.inference_mode():
        return torch.cat([reference(image[None]) for image in images]).double()
