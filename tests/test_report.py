import base64
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import torch

from gaze_exp import figures
from gaze_exp.evaluation import evaluate
from gaze_exp.predictions import Predictions
from gaze_exp.report import write_report

HISTORY = [
    {"epoch": 0.5, "step": 5.0, "val/loss": 0.4, "val/angular_error": 12.0},
    {"epoch": 1.0, "step": 10.0, "train/loss": 0.35, "val/loss": 0.3, "val/angular_error": 9.0},
    {"epoch": 2.0, "step": 20.0, "train/loss": 0.2, "val/angular_error": float("nan")},
]


def made_up(num=400, *, head=True, names=("val01", "val02", "val03")):
    generator = torch.Generator().manual_seed(0)
    target = 0.3 * torch.randn(num, 2, generator=generator)
    return Predictions(
        predicted=target + 0.05 * torch.randn(num, 2, generator=generator),
        target=target,
        valid=torch.arange(num) % 10 != 0,
        subject=torch.arange(num) % len(names),
        row=torch.arange(num) + 1000,
        subjects=list(names),
        head=0.2 * torch.randn(num, 2, generator=generator) if head else None,
    )


def report_of(folder, predictions=None, **options):
    predictions = predictions or made_up()
    metrics = evaluate(predictions, constant_gaze=torch.zeros(2), dropped={"label not finite": 3})
    path = write_report(folder, predictions=predictions, metrics=metrics, **options)
    return path.read_text(encoding="utf-8")


def grey_face(row):
    return np.full((64, 64, 3), row % 200, np.uint8)


class Links(HTMLParser):
    """Everything that a page would fetch, and the tags it opens without closing."""

    def __init__(self):
        super().__init__()
        self.targets, self.tags = [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.targets += [value for key, value in attrs if key in ("src", "href")]


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """A report with every part: its folder, its text, and the rows whose faces it asked for."""
    folder, asked = tmp_path_factory.mktemp("full"), []

    def face(row):
        asked.append(row)
        return grey_face(row)

    html = report_of(
        folder,
        history=HISTORY,
        faces=face,
        config_yaml="model: x",
        command="python -m gaze_exp task=y",
        run={"machine": {"gpu": None, "cpu": "2 cores"}, "commit": "abc123"},
    )
    return folder, html, asked


def test_full_report_is_one_file_that_fetches_nothing(full):
    _, html, _ = full
    links = Links()
    links.feed(html)
    assert len(links.targets) == 6 + 24
    assert all(target.startswith("data:image/png;base64,") for target in links.targets)
    assert "script" not in links.tags
    assert "link" not in links.tags
    assert not re.search(r"url\(|@import|https?://", html)


def test_full_report_says_what_was_measured_and_how_to_repeat_it(full):
    _, html, _ = full
    for words in ("python -m gaze_exp task=y", "model: x", "3 persons, 360 samples; 40 left out"):
        assert words in html
    for words in ("37 no valid label", "3 label not finite", "The model is better by"):
        assert words in html
    for words in ("machine.cpu", "2 cores", "abc123"):
        assert words in html
    assert ">None<" not in html


def test_pictures_in_the_page_are_the_files_beside_it(full):
    folder, html, _ = full
    names = {path.stem for path in (folder / "figures").iterdir()}
    assert names == {
        "learning_curves",
        "error_by_person",
        "error_by_gaze",
        "error_by_head",
        "error_distribution",
        "predicted_against_true",
        "worst_samples",
        "best_samples",
    }
    for name in names - {"worst_samples", "best_samples"}:
        content = (folder / "figures" / f"{name}.png").read_bytes()
        assert content.startswith(b"\x89PNG")
        assert base64.b64encode(content).decode() in html
    assert {path.name for path in folder.iterdir()} == {"report.html", "figures"}


def test_worst_and_best_samples_are_the_worst_and_best(full):
    _, _, asked = full
    error_deg = made_up().error_deg()
    worst_first = (error_deg.nan_to_num(-1).argsort(descending=True)[:12] + 1000).tolist()
    best_first = (error_deg.nan_to_num(1e9).argsort()[:12] + 1000).tolist()
    assert asked == worst_first + best_first


def test_absent_parts_say_why(tmp_path):
    html = report_of(tmp_path, made_up(head=False))
    assert "no training log was found" in html
    assert "these data carry no head pose" in html
    assert "written without the images" in html


def test_everything_a_user_named_is_escaped(tmp_path):
    evil = "<script>alert(1)</script>"
    html = report_of(
        tmp_path,
        made_up(names=(evil, "b")),
        title=evil,
        split=evil,
        command=evil,
        config_yaml=evil,
        run={"host": evil, evil: {"deep": 1}},
        faces=grey_face,
    )
    assert "<script" not in html
    assert html.count("&lt;script&gt;") >= 7


@pytest.mark.parametrize("num", [1, 7])
@pytest.mark.filterwarnings("error")
def test_a_handful_of_samples_makes_a_report(tmp_path, num):
    predictions = made_up(num, names=("only",))
    predictions.valid[:] = True
    html = report_of(tmp_path, predictions, faces=grey_face, history=HISTORY[:1])
    assert "one person" in html


def test_learning_curves_place_half_epochs_and_skip_what_was_not_measured():
    left, right = figures.learning_curves(HISTORY, constant_deg=15.0).axes
    train, val = left.get_lines()
    assert train.get_xydata().tolist() == [[1.0, 0.35], [2.0, 0.2]]
    assert val.get_xydata().tolist() == [[0.5, 0.4], [1.0, 0.3]]
    assert right.get_lines()[0].get_xydata().tolist() == [[0.5, 12.0], [1.0, 9.0]]
    assert right.get_lines()[1].get_ydata()[0] == 15.0


def test_heat_map_shows_means_of_full_cells_only_with_image_left_on_the_left():
    angles_deg = np.array([[2.0, 2.0]] * 5 + [[2.0, -12.0]] * 4)
    error_deg = np.array([1.0, 2, 3, 4, 5, 9, 9, 9, 9])
    axes = figures.error_by_direction(angles_deg, error_deg, of="gaze").axes[0]
    assert [text.get_text() for text in axes.texts] == ["3.0\n5"]
    assert axes.get_xlim()[0] > axes.get_xlim()[1]


def test_error_distribution_marks_median_and_p95():
    errors = np.arange(101.0)
    axes = figures.error_distribution(errors, errors + 1).axes[0]
    assert [text.get_text() for text in axes.texts] == ["median 50.00 deg", "95th percentile 95.00 deg"]


def test_persons_are_sorted_and_those_without_samples_left_out():
    per_subject = {"b": {"mean": 5.0, "num": 3}, "a": {"mean": 2.0, "num": 4}, "c": {"mean": None, "num": 0}}
    axes = figures.error_by_person(per_subject, mean_deg=3.0, constant_deg=9.0).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a  (n = 4)", "b  (n = 3)"]
