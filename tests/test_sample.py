"""The sample data set: real photographs, stand-ins for people, the same everywhere."""

import subprocess
import sys

import numpy as np
import pytest

from lib.data import sample_quality as quality_half
from lib.data import sample_saliency as sample
from lib.data.sample_quality import KINDS, LEVELS, SampleQuality, distort
from lib.data.sample_saliency import SampleSaliency, photograph, regions
from lib.paths import ROOT


@pytest.fixture(scope="module")
def observers():
    return SampleSaliency()


def test_all_eight_photographs_ship_with_the_packages():
    assert len(sample.PHOTOGRAPHS) == 8
    for name in sample.PHOTOGRAPHS:
        image = photograph(name)
        assert image.dtype == np.uint8 and image.shape[2] == 3 and 400 < max(image.shape) <= 640


def test_a_photograph_that_a_package_dropped_is_named(monkeypatch):
    monkeypatch.setitem(sample.PHOTOGRAPHS, "lena", ("skimage.data", "lena.png"))
    with pytest.raises(FileNotFoundError, match=r"lena\.png is not in the installed package"):
        photograph("lena")


def test_annotations_lie_inside_the_photographs():
    assert set(regions()) == set(sample.PHOTOGRAPHS)
    for name, drawn in regions().items():
        for region in drawn:
            x, y, rx, ry = region["ellipse"]
            assert 0 < x < 1 and 0 < y < 1 and 0 < rx < 0.3 and 0 < ry < 0.35, (name, region)
            assert region["weight"] > 0 and region["label"]


def test_simulated_fixations_stay_in_the_frame_and_make_a_density(observers):
    for record in observers:
        height, width = record.image.shape[:2]
        assert len(record.fixations) == sample.OBSERVERS * sample.FIXATIONS_EACH
        assert (record.fixations >= 0).all() and (record.fixations < (width, height)).all()
        assert record.density.sum() == pytest.approx(1, abs=1e-4)


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


def test_without_regions_the_observers_only_know_the_centre():
    centre = SampleSaliency(share_regions=0, share_center=1)
    offsets = [r.fixations / r.image.shape[1::-1] - 0.5 for r in centre]
    assert np.abs(np.concatenate(offsets).mean(axis=0)).max() < 0.03
    assert centre.fingerprint != SampleSaliency().fingerprint
    with pytest.raises(ValueError, match="shares"):
        SampleSaliency(share_regions=0.9, share_center=0.2)


def test_another_process_draws_the_same_fixations(observers):
    script = "from lib.data.sample_saliency import SampleSaliency as S; s = S();"
    script += "print(s.fingerprint, s[3].fixations.sum())"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout.split() == [observers.fingerprint, str(observers[3].fixations.sum())]


def test_order_of_access_does_not_matter(observers):
    last = observers[7].fixations
    assert np.array_equal(last, list(SampleSaliency())[-1].fixations)
    assert np.array_equal(observers[-1].fixations, last)


def test_quality_half_has_every_photograph_distortion_and_level():
    quality = SampleQuality()
    assert len(quality) == 8 * (1 + len(KINDS) * LEVELS)
    record = quality[quality.names.index("jpeg 3 china")]
    assert record.image.shape[1] == quality_half.QUALITY_SIDE and record.mos_range == (0, 1)
    pristine = quality.scores[quality.scores.index.str.startswith("pristine")]
    assert pristine.min() > quality.scores.quantile(0.9)


def test_shipped_pseudo_mos_falls_with_the_level():
    scores = SampleQuality().scores
    for kind in KINDS:
        for name in sample.PHOTOGRAPHS:
            values = [scores[f"{kind} {level} {name}"] for level in range(LEVELS)]
            assert values == sorted(values, reverse=True), (kind, name)


def test_shipped_pseudo_mos_orders_images_as_the_metrics_do_today():
    scores = SampleQuality().scores
    versions = [("blur", 3), ("jpeg", 0), ("noise", 2), ("h264", 1)]
    reference = quality_half.distorted("chelsea", None, 0)
    pictures = np.stack([quality_half.distorted("chelsea", k, v) for k, v in versions])
    today = quality_half.mean_rank(quality_half.full_reference_scores(reference, pictures))
    shipped = [scores[f"{k} {v} chelsea"] for k, v in versions]
    assert np.array_equal(np.argsort(today), np.argsort(shipped))


# --- distortions ------------------------------------------------------------------------------

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
    before = image.copy()
    out = distort(image, kind, LEVELS - 1)
    assert out.shape == image.shape and out.dtype == np.uint8 and np.array_equal(image, before)


def test_mean_rank_averages_ranks_and_shares_ties():
    scores = np.array([[3.0, 30], [1, 20], [2, 20]])
    assert quality_half.mean_rank(scores) == pytest.approx([1.0, 0.125, 0.375])
