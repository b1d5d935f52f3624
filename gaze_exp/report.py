"""Metrics, figures and pictures -> one HTML page that needs no other file, and its PNGs beside it."""

import base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from numpy.typing import NDArray

from gaze_exp import draw, figures, screen_figures
from gaze_exp.atomic_write import atomic_write
from gaze_exp.evaluation import constant_error_deg
from gaze_exp.point_of_gaze import ScreenErrors
from gaze_exp.predictions import Predictions
from gaze_exp.verdict import comparison_verdict, sample_counts, second_task_verdict, segmentation_verdict, verdict

TEMPLATE = "report.html.j2"
NUM_PICTURES = 12


def write_report(
    folder: Path | str,
    *,
    predictions: Predictions,
    metrics: Mapping[str, Any],
    history: Sequence[Mapping[str, float]] = (),
    faces: Callable[[int], draw.Image] | None = None,
    eyes: draw.Image | None = None,
    screen: ScreenErrors | None = None,
    config_yaml: str = "",
    command: str = "",
    run: Mapping[str, object] | None = None,
    title: str = "Gaze evaluation",
    split: str = "test",
) -> Path:
    """Write `report.html` and `figures/*.png`, each whole or not at all.

    Args:
        folder: where they go.
        predictions: on the evaluated split.
        metrics: of the same predictions, from `evaluation.evaluate`.
        history: rows of Lightning's CSV log (`train/loss`, `val/loss`, `val/angular_error`), may be empty.
        faces: gives the (H, W, 3) uint8 RGB face of a row; None leaves the pictures out.
        eyes: a picture of eyes and their parts, as `SegmentationScore.picture` draws it.
        screen: points of gaze of the same predictions, whose numbers are `metrics["point_of_gaze"]`.
        config_yaml: the resolved configuration.
        command: repeats the run.
        run: machine, versions, commit; may be nested.
        title: of the page.
        split: whose persons were evaluated.

    Returns:
        Path of the page.
    """
    error_deg = predictions.error_deg()[predictions.valid].numpy()
    drawn = _figures(predictions, metrics=metrics, history=history, error_deg=error_deg) | _screen_figures(screen)
    drawn |= {"eye_parts": draw.png_bytes(eyes)} if eyes is not None else {}
    pictures = _worst_and_best(predictions, faces=faces, error_deg=error_deg) if faces else {}
    drawn |= {f"{name}_samples": _grid(samples) for name, samples in pictures.items()}
    _write_figures(Path(folder, "figures"), drawn)
    about = {"title": title, "split": split, "command": command, "config_yaml": config_yaml}
    uris = {name: _data_uri(content) for name, content in drawn.items()}
    html = _page(metrics=metrics, figures=uris, pictures=pictures, run=list(_flat(run or {})), **about)
    return _write(Path(folder, "report.html"), html.encode())


def _grid(samples: Sequence[Mapping[str, Any]]) -> bytes:
    return draw.png_bytes(draw.grid([sample["image"] for sample in samples]))


def _figures(
    predictions: Predictions,
    *,
    metrics: Mapping[str, Any],
    history: Sequence[Mapping[str, float]],
    error_deg: NDArray[np.float64],
) -> dict[str, bytes]:
    """Every figure that the data allow as a PNG, by its file name."""
    valid = predictions.valid
    predicted_deg = torch.rad2deg(predictions.predicted[valid].double()).numpy()
    target_deg = torch.rad2deg(predictions.target[valid].double()).numpy()
    constant = metrics["constant"]
    constant_gaze = torch.deg2rad(torch.tensor([constant["pitch"], constant["yaw"]], dtype=torch.float64))
    constant_deg = constant_error_deg(predictions, constant_gaze)[valid].numpy()
    drawn = {
        "error_by_person": figures.error_by_person(
            metrics["per_subject"], mean_deg=metrics["mean"], constant_deg=constant["mean"]
        ),
        "error_by_gaze": figures.error_by_direction(target_deg, error_deg, of="gaze"),
        "error_distribution": figures.error_distribution(error_deg, constant_deg),
        "predicted_against_true": figures.predicted_against_true(predicted_deg, target_deg),
    }
    if history:
        drawn["learning_curves"] = figures.learning_curves(history, constant_deg=constant["mean"])
    if predictions.head is not None and bool(torch.isfinite(predictions.head[valid]).all(dim=1).any()):
        head_deg = torch.rad2deg(predictions.head[valid].double()).numpy()
        drawn["error_by_head"] = figures.error_by_direction(head_deg, error_deg, of="head")
    return {name: figures.png(figure) for name, figure in drawn.items()}


def _write_figures(folder: Path, drawn: Mapping[str, bytes]) -> None:
    """Write every figure, each whole or not at all."""
    for name, content in drawn.items():
        _write(folder / f"{name}.png", content)


def _screen_figures(screen: ScreenErrors | None) -> dict[str, bytes]:
    """Where on the screen people looked, and where the model errs; nothing where the data know of no screen."""
    if screen is None:
        return {}
    predicted_px, target_px = screen.predicted_px.numpy(), screen.target_px.numpy()
    drawn = {
        "screen_points": screen_figures.points(predicted_px, target_px, screen_px=screen.screen_px),
        "screen_errors": screen_figures.error_map(target_px, screen.errors["face"]["cm"], screen_px=screen.screen_px),
    }
    return {name: figures.png(figure) for name, figure in drawn.items()}


def _worst_and_best(
    predictions: Predictions, *, faces: Callable[[int], draw.Image], error_deg: NDArray[np.float64]
) -> dict[str, list[dict[str, Any]]]:
    """Pictures of the worst samples, worst first, and of the best, best first; none is in both."""
    order = np.argsort(error_deg, kind="stable")
    num = min(NUM_PICTURES, max(1, len(order) // 2))
    places = predictions.valid.nonzero()[:, 0].numpy()
    chosen = {"worst": places[order[::-1][:num]], "best": places[order[:num]]}
    return {
        name: [_picture(predictions, faces=faces, index=index) for index in indices.tolist()]
        for name, indices in chosen.items()
    }


def _picture(predictions: Predictions, *, faces: Callable[[int], draw.Image], index: int) -> dict[str, Any]:
    """One face with both gazes on it, and what to write below."""
    row = int(predictions.row[index])
    image = draw.validation_picture(faces(row), predictions.predicted[index], predictions.target[index])
    person = predictions.subjects[int(predictions.subject[index])]
    return {"image": image, "uri": _data_uri(draw.png_bytes(image)), "person": person, "row": row}


def _persons(per_subject: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows of the table of persons, smallest error first, those without a sample last."""
    rows = [{"name": name, **numbers} for name, numbers in per_subject.items()]
    return sorted(rows, key=lambda row: (row["mean"] is None, row["mean"], row["name"]))


def _flat(values: Mapping[str, object], *, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Dotted keys and texts of a nested mapping."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, prefix=f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", "" if value is None else str(value)


def _data_uri(png: bytes) -> str:
    """A PNG that travels inside the page."""
    return "data:image/png;base64," + base64.b64encode(png).decode()


def _page(*, metrics: Mapping[str, Any], **parts: object) -> str:
    """Fill the template; whatever a user named is escaped, a name left out is an error."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(TEMPLATE).render(
        metrics=metrics,
        verdict=verdict(metrics),
        sample_counts=sample_counts(metrics),
        segmented=segmentation_verdict(metrics["segmentation"]) if "segmentation" in metrics else "",
        beneficial=_beneficial(metrics),
        compared=comparison_verdict(metrics["comparison"]) if "comparison" in metrics else "",
        persons=_persons(metrics["per_subject"]),
        **parts,
    )


def _beneficial(metrics: Mapping[str, Any]) -> str:
    """Whether the second task helped; empty where there is none, or nothing to compare with."""
    if "segmentation" not in metrics or "comparison" not in metrics:
        return ""
    return second_task_verdict(metrics["comparison"]["gain"])


def _write(path: Path, content: bytes) -> Path:
    """Write a file whole or not at all; returns its path."""
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)
    return path
