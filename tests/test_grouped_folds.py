"""Photos of one target, and versions of one photo, never stand on both sides of a fold."""

import pytest
import torch

from gaze_exp.errors import DataError
from gaze_exp.personal.grouped_folds import (
    Fold,
    inner_fold,
    photo_hashes,
    refuse_leaks,
    session_folds,
    target_folds,
)


def sides(fold, group):
    return set(group[fold.train].tolist()), set(group[fold.test].tolist())


@pytest.mark.parametrize(("num_targets", "num_folds"), [(2, 2), (9, 9), (16, 16), (17, 5), (32, 5)])
def test_every_photo_tests_once_and_its_target_never_trains_then(num_targets, num_folds):
    target = torch.arange(3 * num_targets) % num_targets
    folds = target_folds(target, seed=3)
    assert len(folds) == num_folds
    assert torch.cat([fold.test for fold in folds]).sort().values.tolist() == list(range(len(target)))
    for fold in folds:
        train, test = sides(fold, target)
        assert train.isdisjoint(test)
        assert len(fold.train) + len(fold.test) == len(target)


def test_twelve_photos_of_nine_targets_keep_repeats_together():
    target = torch.tensor([0, 1, 2, 3, 4, 5, 6, 7, 8, 0, 4, 8])
    folds = target_folds(target, seed=0)
    assert sorted(len(fold.test) for fold in folds) == [1] * 6 + [2] * 3


def test_five_folds_depend_on_the_seed_and_on_nothing_else():
    target = torch.arange(40) % 20
    tests = [[fold.test.tolist() for fold in target_folds(target, seed=seed)] for seed in (1, 1, 2)]
    assert tests[0] == tests[1] != tests[2]


def test_one_target_cannot_be_split():
    with pytest.raises(DataError, match="1 target cannot be split"):
        target_folds(torch.zeros(5, dtype=torch.int64), seed=0)


def test_a_session_is_left_out_whole_and_one_session_not_at_all():
    session = torch.tensor([0, 0, 1, 1, 2])
    assert [fold.test.tolist() for fold in session_folds(session)] == [[0, 1], [2, 3], [4]]
    assert session_folds(torch.zeros(4, dtype=torch.int64)) == []


@pytest.mark.parametrize("num_targets", [9, 32])
def test_inner_choices_never_see_the_outer_test_side(num_targets):
    target = torch.arange(2 * num_targets) % num_targets
    for fold in target_folds(target, seed=0):
        inner = inner_fold(fold, target=target, seed=0)
        assert set(inner.train.tolist()) | set(inner.test.tolist()) == set(fold.train.tolist())
        train, test = sides(inner, target)
        assert train.isdisjoint(test)
        assert len(test) >= 2


def test_the_same_picture_on_both_sides_is_refused():
    photos = torch.randint(0, 255, (3, 3, 8, 8), dtype=torch.uint8)
    photos[2] = photos[0]
    fold = Fold("target 0", train=torch.tensor([1, 2]), test=torch.tensor([0]))
    with pytest.raises(DataError, match=r"the same picture stands on both sides, in photos \[0, 2\]"):
        refuse_leaks([fold], group=torch.tensor([0, 1, 2]), photo_hashes=photo_hashes(photos))
    with pytest.raises(DataError, match="the same target"):
        refuse_leaks([fold], group=torch.tensor([0, 1, 0]), photo_hashes=["a", "b", "c"])
