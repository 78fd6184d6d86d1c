"""The sample data set: real photographs, stand-ins for people, the same everywhere."""

from itertools import product

import numpy as np
import pytest

from lib.data import sample_quality as quality_half
from lib.data import sample_saliency as sample
from lib.data.sample_quality import KINDS, LEVELS, MADE, SampleQuality, distort
from lib.data.sample_saliency import SampleSaliency, photograph, regions


@pytest.fixture(scope="module")
def observers():
    return SampleSaliency()


def test_all_eight_photographs_ship_with_the_packages(monkeypatch):
    assert len(sample.PHOTOGRAPHS) == 8
    for name in sample.PHOTOGRAPHS:
        image = photograph(name)
        assert image.dtype == np.uint8 and image.shape[2] == 3 and 400 < max(image.shape) <= 640
    monkeypatch.setitem(sample.PHOTOGRAPHS, "lena", ("skimage.data", "lena.png"))
    with pytest.raises(FileNotFoundError, match=r"lena\.png is not in the installed package"):
        photograph("lena")


def test_annotations_lie_inside_the_photographs():
    assert set(regions()) == set(sample.PHOTOGRAPHS)
    for region in (region for drawn in regions().values() for region in drawn):
        x, y, rx, ry = region["ellipse"]
        assert 0 < x < 1 and 0 < y < 1 and 0 < rx < 0.3 and 0 < ry < 0.35, region
        assert region["weight"] > 0 and region["label"]


def test_observers_look_at_the_regions_more_than_elsewhere(observers):
    for record in observers:
        height, width = record.image.shape[:2]
        y, x = np.mgrid[:height, :width]
        inside = np.zeros((height, width), bool)
        for region in regions()[record.name]:
            cx, cy, rx, ry = np.array(region["ellipse"]) * (width, height, width, height)
            inside |= ((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 <= 1
        columns, rows = record.fixations.astype(int).T
        share = inside[rows, columns].mean()
        assert share > 1.5 * inside.mean() and share > 0.5, record.name


def test_fixations_are_the_same_in_any_order(observers):
    assert np.array_equal(SampleSaliency()[7].fixations, list(observers)[-1].fixations)


def test_quality_half_has_every_photograph_and_distortion_and_its_scores_fall_with_the_level():
    quality = SampleQuality()
    assert len(quality) == 8 * (1 + len(KINDS) * LEVELS)
    record = quality[quality.names.index("jpeg 3 china")]
    assert record.image.shape[1] == quality_half.QUALITY_SIDE and record.mos_range == (0, 1)
    pristine = quality.scores[quality.scores.index.str.startswith("pristine")]
    assert pristine.min() > quality.scores.quantile(0.9)
    for kind, name in product(KINDS, sample.PHOTOGRAPHS):
        values = [quality.scores[f"{kind} {level} {name}"] for level in range(LEVELS)]
        assert values == sorted(values, reverse=True), (kind, name)


def test_shipped_pseudo_mos_orders_images_as_the_metrics_do_today():
    names = [f"{version} chelsea" for version in ("blur 3", "jpeg 0", "noise 2", "h264 1")]
    reference, *pictures = (quality_half.distorted(*MADE[n]) for n in ("pristine chelsea", *names))
    scores = quality_half.full_reference_scores(reference, np.stack(pictures))
    shipped = SampleQuality().scores[names]
    assert np.array_equal(np.argsort(quality_half.mean_rank(scores)), np.argsort(shipped))


CROP = photograph("astronaut")[100:259, 140:301]  # 159x161: both sides odd


@pytest.mark.parametrize("kind", KINDS)
def test_every_level_is_worse_than_the_one_before_and_the_same_every_time(kind):
    made = [distort(CROP, kind, level) for level in range(LEVELS)]
    errors = [np.mean((picture.astype(float) - CROP) ** 2) for picture in made]
    assert errors == sorted(errors) and errors[-1] > 2 * errors[0]
    assert np.array_equal(distort(CROP, kind, 2, seed=4), distort(CROP, kind, 2, seed=4))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(1, 1), (8, 8), (33, 17)])
def test_any_size_keeps_its_shape_and_the_source_its_pixels(kind, shape):
    image = CROP[: shape[0], : shape[1]].copy()
    out = distort(image, kind, LEVELS - 1)
    assert out.shape == image.shape and out.dtype == np.uint8
    assert np.array_equal(image, CROP[: shape[0], : shape[1]])


def test_mean_rank_averages_ranks_and_shares_ties():
    scores = np.array([[3.0, 30], [1, 20], [2, 20]])
    assert quality_half.mean_rank(scores) == pytest.approx([1.0, 0.125, 0.375])
