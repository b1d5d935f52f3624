"""What the metrics say, in words: for the report, and for the last line on the terminal."""

from collections.abc import Mapping
from typing import Any


def verdict(metrics: Mapping[str, Any]) -> str:
    """The error with its interval against the constant baseline, and whether the model beats it.

    Args:
        metrics: from `evaluation.evaluate`.

    Returns:
        Two sentences.

    Example:
        >>> constant, gain = {"mean": 9.5, "ci95": [8.6, 10.4]}, {"mean": 6.2, "ci95": [5.5, 7.0]}
        >>> verdict({"mean": 3.3, "ci95": [2.9, 3.7], "constant": constant, "gain": gain}).partition(". ")[2]
        'The model is better by 6.20° (5.50° to 7.00°).'
    """
    constant = metrics["constant"]
    errors = (
        f"Mean angular error {_with_interval(metrics)}; "
        f"always answering with the mean training gaze gives {_with_interval(constant)}."
    )
    return f"{errors} {_comparison(metrics['gain'])}"


def comparison_verdict(comparison: Mapping[str, Any]) -> str:
    """A model against another one on the same frames, in words.

    Args:
        comparison: from `comparison.compare`.

    Returns:
        Two sentences.

    Example:
        >>> gain = {"mean": 0.3, "ci95": [0.1, 0.5]}
        >>> told = {"with": "last.ckpt", "num_frames": 10, "mean": 3.0, "ci95": None, "gain": gain}
        >>> comparison_verdict(told | {"other": {"mean": 3.3, "ci95": None}})
        'On the same 10 frames: 3.00°, and last.ckpt 3.30°. The model is better by 0.30° (0.10° to 0.50°).'
    """
    errors = f"{_with_interval(comparison)}, and {comparison['with']} {_with_interval(comparison['other'])}"
    return f"On the same {comparison['num_frames']:,} frames: {errors}. {_comparison(comparison['gain'])}"


def segmentation_verdict(segmentation: Mapping[str, Any]) -> str:
    """How well the parts of the eyes were found, in words.

    Args:
        segmentation: from `segmentation.SegmentationScore.summary`.

    Returns:
        One sentence.

    Example:
        >>> segmentation_verdict({"miou": 0.8, "iou": {"iris": 0.85, "pupil": None}, "num_eyes": 1200})
        'Parts of 1,200 eyes: mean IoU 0.800 (iris 0.850, pupil nowhere).'
    """
    parts = ", ".join(
        f"{name} {'nowhere' if iou is None else f'{iou:.3f}'}" for name, iou in segmentation["iou"].items()
    )
    return f"Parts of {segmentation['num_eyes']:,} eyes: mean IoU {segmentation['miou']:.3f} ({parts})."


def second_task_verdict(gain: Mapping[str, Any]) -> str:
    """Whether a second task helped the gaze.

    Args:
        gain: error without the second task minus error with it, from `comparison.compare`.

    Returns:
        A sentence that begins with the answer.

    Example:
        >>> second_task_verdict({"mean": 0.3, "ci95": [0.1, 0.5]})
        'Yes: the second task lowers the gaze error by 0.30° (0.10° to 0.50°).'
    """
    if gain["ci95"] is None:
        return f"Unknown: on one person the difference is {gain['mean']:.2f}°."
    low, high = gain["ci95"]
    if low <= 0 <= high:
        return f"Not shown: the gain lies between {low:.2f}° and {high:.2f}°."
    answer, verb = ("Yes", "lowers") if gain["mean"] > 0 else ("No", "raises")
    low, high = sorted((abs(low), abs(high)))
    return f"{answer}: the second task {verb} the gaze error by {abs(gain['mean']):.2f}° ({low:.2f}° to {high:.2f}°)."


def _comparison(gain: Mapping[str, Any]) -> str:
    """Whether the model beats the constant baseline, as far as the interval allows to say."""
    size = f"{abs(gain['mean']):.2f}°"
    better_or_worse = "better" if gain["mean"] > 0 else "worse"
    if gain["ci95"] is None:
        return f"On this one person the model is {better_or_worse} by {size}; others may differ."
    low, high = gain["ci95"]
    if low <= 0 <= high:
        return f"That does not tell them apart: the difference lies between {low:.2f}° and {high:.2f}°."
    low, high = sorted((abs(low), abs(high)))
    return f"The model is {better_or_worse} by {size} ({low:.2f}° to {high:.2f}°)."


def _with_interval(summary: Mapping[str, Any]) -> str:
    """`4.21° (95 % interval 3.60° to 4.90°)`, or the mean alone."""
    if summary["ci95"] is None:
        return f"{summary['mean']:.2f}°"
    low, high = summary["ci95"]
    return f"{summary['mean']:.2f}° (95 % interval {low:.2f}° to {high:.2f}°)"


def sample_counts(metrics: Mapping[str, Any]) -> str:
    """How many persons and samples were measured, how many were left out, and why.

    Args:
        metrics: from `evaluation.evaluate`.

    Returns:
        One sentence.

    Example:
        >>> sample_counts({"num_persons": 2, "num_kept": 1200, "num_dropped": {"no valid label": 3}})
        '2 persons, 1,200 samples; 3 left out (3 no valid label).'
    """
    persons, samples = metrics["num_persons"], metrics["num_kept"]
    measured = f"{_counted(persons, 'person')}, {_counted(samples, 'sample')}"
    dropped: Mapping[str, int] = metrics["num_dropped"]
    if not dropped:
        return f"{measured}; none left out."
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in dropped.items())
    return f"{measured}; {sum(dropped.values()):,} left out ({reasons})."


def screen_verdict(screen: Mapping[str, Any] | None) -> list[str]:
    """Errors on the screen, a line for the face and for both eyes, and one for each of several cameras and stimuli.

    Args:
        screen: from `point_of_gaze.summarise`; None where the data know of no screen.

    Returns:
        Sentences; none without a point of gaze.

    Example:
        >>> one = {unit: {"mean": 2.0, "sequence_mean": 3.0} for unit in ("deg", "cm", "px")}
        >>> screen_verdict({"face": one, "both_eyes": None, "per_camera": {}, "per_stimulus": {}})
        ['Point of gaze, face: 2.00° 2.00 cm 2 px over frames, 3.00° 3.00 cm 3 px over sequences of 3 s.']
    """
    if screen is None:
        return []
    named = [("face", screen["face"]), ("both eyes", screen["both_eyes"])]
    lines = [f"Point of gaze, {name}: {_on_screen(means)}." for name, means in named if means]
    several = [groups for groups in (screen["per_camera"], screen["per_stimulus"]) if len(groups) > 1]
    return lines + [
        f"Point of gaze, {name}: {_on_screen(each['face'])}."
        for groups in several
        for name, each in groups.items()
        if each["face"]
    ]


def _on_screen(means: Mapping[str, Any]) -> str:
    """`3.46° 3.85 cm 132 px over frames, ... over sequences of 3 s`."""
    told = []
    for of, key in (("frames", "mean"), ("sequences of 3 s", "sequence_mean")):
        deg, cm, px = (means[unit][key] for unit in ("deg", "cm", "px"))
        if None not in (deg, cm, px):
            told.append(f"{deg:.2f}° {cm:.2f} cm {px:.0f} px over {of}")
    return ", ".join(told)


def _counted(number: int, noun: str) -> str:
    """`1 person`, `2 persons`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
