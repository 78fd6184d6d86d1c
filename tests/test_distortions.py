"""Distortions: graded, deterministic, and safe for any picture."""

import numpy as np
import pytest

from lib.distortions import (
    KINDS,
    LEVELS,
    METRICS,
    distort,
    full_reference_scores,
    mean_rank,
)
from lib.data.sample import photograph

CROP = photograph("astronaut")[100:259, 140:301]  # 159x161: both sides odd


def psnr(a, b):
    return 10 * np.log10(255**2 / np.mean((a.astype(float) - b) ** 2))


@pytest.mark.parametrize("kind", KINDS)
def test_every_level_is_worse_than_the_one_before(kind):
    values = [psnr(distort(CROP, kind, level), CROP) for level in range(LEVELS)]
    assert values == sorted(values, reverse=True) and values[0] - values[-1] > 3


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(1, 1), (8, 8), (33, 17), (159, 161)])
def test_any_size_keeps_its_shape_and_the_source_its_pixels(kind, shape):
    image = CROP[: shape[0], : shape[1]].copy()
    before = image.copy()
    out = distort(image, kind, LEVELS - 1)
    assert out.shape == image.shape and out.dtype == np.uint8
    assert np.array_equal(image, before)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_call_gives_the_same_picture(kind):
    assert np.array_equal(distort(CROP, kind, 2, seed=4), distort(CROP, kind, 2, seed=4))


def test_noise_follows_its_seed():
    assert not np.array_equal(distort(CROP, "noise", 1, seed=0), distort(CROP, "noise", 1, seed=1))


@pytest.mark.parametrize("bad", [("fog", 0), ("jpeg", 4), ("jpeg", -1)])
def test_unknown_distortions_are_refused(bad):
    with pytest.raises(ValueError, match=r"choose one of|level must be"):
        distort(CROP, *bad)


def test_full_reference_scores_put_the_pristine_picture_first_in_every_column():
    versions = np.stack([distort(CROP, "blur", 1), CROP, distort(CROP, "noise", 3)])
    scores = full_reference_scores(CROP, versions)
    assert scores.shape == (3, len(METRICS)) and (scores.argmax(axis=0) == 1).all()
    with pytest.raises(ValueError, match="reference is"):
        full_reference_scores(CROP[:-1], versions)


def test_mean_rank_averages_ranks_and_shares_ties():
    scores = np.array([[3.0, 30], [1, 20], [2, 20]])
    assert mean_rank(scores) == pytest.approx([1.0, 0.125, 0.375])
    with pytest.raises(ValueError, match="two images"):
        mean_rank(scores[:1])
