"""One HTML page about a user's model that needs no other file and shows no photo."""

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from gaze_exp.atomic_write import atomic_write
from gaze_exp.data.calibration_set import CalibrationSet
from gaze_exp.figures import png
from gaze_exp.personal import comparison, screen_figures

if TYPE_CHECKING:
    from gaze_exp.personal.personalise import Outcome

TEMPLATE = "personal/personal_report.html.j2"


def write_personal_report(
    folder: Path,
    *,
    outcome: "Outcome",
    data: CalibrationSet,
    described: Mapping[str, Any],
    about_base: Mapping[str, Any],
) -> Path:
    """Write `report.html`, whole or not at all.

    Args:
        folder: of the run.
        outcome: the model and its table.
        data: the photos' targets.
        described: from `record.describe`.
        about_base: where the base model comes from, plain data.

    Returns:
        Path of the page.
    """
    metrics = outcome.metrics
    figures = {
        "screens": screen_figures.screens(outcome.held_out, target_px=data.target_px, geometry=data.geometry),
        "errors": screen_figures.errors(metrics["table"]),
    }
    if outcome.curves:
        figures["early_stopping"] = screen_figures.early_stopping(outcome.curves, epochs=metrics["final"]["epochs"])
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parents[1]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template(TEMPLATE).render(
        metrics=metrics,
        sentences=[comparison.sentence(gain) for gain in metrics["gains"]],
        figures={name: _data_uri(png(figure)) for name, figure in figures.items()},
        geometry=vars(data.geometry),
        base=dict(about_base),
        command=described["command"],
        machine=described["machine"],
        code=described["code"],
        versions=described["versions"],
    )
    path = folder / "report.html"
    with atomic_write(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return path


def _data_uri(content: bytes) -> str:
    """A PNG that travels inside the page."""
    return "data:image/png;base64," + base64.b64encode(content).decode()
