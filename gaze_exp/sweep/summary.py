"""What came of a sweep: a table sorted by objective, a picture, and the command that repeats the best job."""

import csv
import io
import logging
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gaze_exp.atomic_write import atomic_write
from gaze_exp.sweep.job import BOOK, CONSOLE, DONE, FAILED, RESULT, STOPPED, read_book, read_json
from gaze_exp.sweep.slots import shown

log = logging.getLogger(__name__)

_WIDTH = 120


@dataclass(frozen=True)
class Row:
    """One job that a sweep has come to."""

    folder: Path
    number: int
    status: str
    objective: float | None
    objectives: dict[str, float]
    """Action -> the number it reported."""
    settings: dict[str, str]
    """Key -> value, of all its overrides."""
    command: str
    minutes: float
    why: str


def summarise(folder: Path, *, attempt: str, command: str, maximise: bool) -> int:
    """Write `sweep.csv`, `sweep.md` and `sweep.png`, and say the same.

    Args:
        folder: of the sweep.
        attempt: whose jobs count; others in the folder are of another command, or of configs that were since edited.
        command: of the sweep.
        maximise: the largest objective is the best.

    Returns:
        How many jobs failed.
    """
    rows = read_rows(folder, attempt=attempt, maximise=maximise)
    if not rows:
        return 0
    columns = columns_of(rows)
    cells = [cells_of(row, columns, place=place) for place, row in enumerate(rows, start=1)]
    failed = [row for row in rows if row.status == FAILED]
    best = rows[0] if rows[0].objective is not None else None
    picture = _draw(folder / "sweep.png", rows, varying=varying(rows), maximise=maximise)
    _write_csv(folder / "sweep.csv", columns, cells)
    with atomic_write(folder / "sweep.md") as temporary:
        text = _page(columns, cells, command=command, best=best, failed=failed, picture=picture)
        temporary.write_text(text, encoding="utf-8")
    log.info("%s", _for_terminal(columns, [[*line[:-1], row.status] for line, row in zip(cells, rows, strict=True)]))
    for row in failed:
        log.error("sweep: job %d failed: %s (see %s)", row.number, row.why, shown(row.folder / CONSOLE))
    if best:
        log.info("sweep: the best is in %s; this repeats it:\n  %s", shown(best.folder), best.command)
    log.info("sweep: written to %s", shown(folder / "sweep.md"))
    return len(failed)


def read_rows(folder: Path, *, attempt: str, maximise: bool) -> list[Row]:
    """The jobs of an attempt, the best first, those without an objective last.

    Args:
        folder: of the sweep.
        attempt: whose jobs count.
        maximise: the largest objective is the best.
    """
    books = [path.parent for path in folder.rglob(BOOK)]
    rows = [_row(each, book) for each in books if (book := read_book(each)).get("attempt") == attempt]
    sign = -1.0 if maximise else 1.0
    return sorted(rows, key=lambda row: (row.objective is None, sign * (row.objective or 0.0), row.number))


def _row(folder: Path, book: dict[str, Any]) -> Row:
    settings = dict(each.lstrip("+").partition("=")[::2] for each in book["overrides"])
    status, why = book["status"], book.get("why", "")
    if status == "running":  # nobody lived to write its end
        status, why = FAILED, "its launcher's worker ended before it"
    return Row(
        folder=folder,
        number=book["number"],
        status=status,
        objective=book.get("objective"),
        objectives=read_json(folder / RESULT).get("objectives", {}) if status == DONE else {},
        settings=settings,
        command=shlex.join(["python", "-m", "gaze_exp", *book["flags"], *book["overrides"]]),
        minutes=book.get("seconds", 0.0) / 60,
        why=why,
    )


def varying(rows: Sequence[Row]) -> list[str]:
    """The keys in which the jobs differ, in the order typed."""
    keys = list(dict.fromkeys(key for row in rows for key in row.settings))
    return [key for key in keys if len({row.settings.get(key) for row in rows}) > 1]


def columns_of(rows: Sequence[Row]) -> list[str]:
    """Names of the table's columns: what differs, and the numbers of each action where there are several."""
    actions = list(dict.fromkeys(action for row in rows for action in row.objectives))
    return ["place", "job", "objective", *varying(rows), *(actions if len(actions) > 1 else []), "minutes", "status"]


def cells_of(row: Row, columns: Sequence[str], *, place: int) -> list[str]:
    """A row of the table, as text.

    Args:
        row: of a job.
        columns: from `columns_of`.
        place: its rank.
    """
    ranked = row.objective is not None
    fixed = {
        "place": str(place) if ranked else "",
        "job": row.folder.name,
        "objective": f"{row.objective:.4f}" if ranked else "",
        "minutes": f"{row.minutes:.1f}",
        "status": row.status if row.status in {DONE, STOPPED} else f"{row.status}: {row.why}",
    }
    measured = {name: f"{value:.4f}" for name, value in row.objectives.items()}
    return [fixed.get(c, row.settings.get(c, measured.get(c, ""))) for c in columns]


def _for_terminal(columns: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    import shutil

    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in {"place", "objective", "minutes"} else "left")
    for line in cells:
        table.add_row(*(Text(cell, overflow="fold") for cell in line))
    text = io.StringIO()
    Console(file=text, width=shutil.get_terminal_size((_WIDTH, 24)).columns, no_color=True).print(table)
    return text.getvalue().rstrip()


def _write_csv(path: Path, columns: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
    with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([columns, *cells])


def _page(
    columns: Sequence[str],
    cells: Sequence[Sequence[str]],
    *,
    command: str,
    best: Row | None,
    failed: Sequence[Row],
    picture: Path | None,
) -> str:
    lines = ["# Sweep", "", f"`{command}`", ""]
    if best:
        lines += [f"The best is `{shown(best.folder)}` with {best.objective:.4f}. This repeats it:", ""]
        lines += ["```", best.command, "```", ""]
    lines += [_line(columns), "|" + "---|" * len(columns), *(_line(line) for line in cells), ""]
    lines += [f"![objective over what was varied]({picture.name})", ""] if picture else []
    if failed:
        lines += ["Failed:", ""]
        lines += [f"- job {row.number}: {row.why}; its log is `{shown(row.folder / CONSOLE)}`" for row in failed]
        lines += ["", "The same command tries these again, and only these."]
    return "\n".join(lines).rstrip() + "\n"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _draw(path: Path, rows: Sequence[Row], *, varying: Sequence[str], maximise: bool) -> Path | None:
    ranked = [row for row in rows if row.objective is not None]
    if len(ranked) < 2 or not varying:
        return None
    from gaze_exp.sweep.picture import draw

    settings = [{key: row.settings.get(key, "") for key in varying} for row in ranked]
    png = draw(settings, [float(row.objective or 0.0) for row in ranked], maximise=maximise)
    with atomic_write(path) as temporary:
        temporary.write_bytes(png)
    return path
