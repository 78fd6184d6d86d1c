"""Maps keep their mass, and priors their moments."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from lib.maps import (
    GaussianPrior,
    fixated_pixels,
    fixation_density,
    normalize_sum,
    over_peak,
    resize_map,
)

SHAPE = (30, 40)


def smooth_maps(count, seed=0, shape=SHAPE, sigma=3):
    """Smooth random maps from 0 to 1."""
    noise = gaussian_filter(np.random.default_rng(seed).random((count, *shape)), (0, sigma, sigma))
    low, high = noise.min((1, 2), keepdims=True), noise.max((1, 2), keepdims=True)
    return (noise - low) / (high - low)


def test_normalized_maps_have_sum_or_peak_one_each_and_an_all_zero_map_is_uniform_or_stays():
    maps = smooth_maps(3) * np.array([1e-30, 1, 1e30])[:, None, None]
    np.testing.assert_allclose(normalize_sum(maps).sum((1, 2)), 1, rtol=1e-6)
    np.testing.assert_array_equal(over_peak(maps).max((1, 2)), 1)
    assert normalize_sum(maps).dtype == np.float32
    np.testing.assert_allclose(normalize_sum(np.zeros((2, 5))), 0.1)
    assert not over_peak(np.zeros((2, 5))).any()


MAPS = {"NaN": np.array([[np.nan]]), "negative": np.array([[-1.0]]), "HxW": np.ones(3)}
BROKEN = [(normalize_sum, maps, f"maps .*{words}") for words, maps in MAPS.items()]
BROKEN += [(lambda m: resize_map(m, (2, 2)), maps, words) for _, maps, words in BROKEN]
for sigma in (0, -1, np.nan, np.inf):
    BROKEN += [(lambda s: fixation_density([[1, 1]], SHAPE, s), sigma, "sigma must be a positive")]
BROKEN += [(GaussianPrior.fit, [], "densities is empty")]
BROKEN += [(GaussianPrior.fit, np.eye(2)[:, :1, None], r"densities\[1\] is zero everywhere")]


@pytest.mark.parametrize(("function", "broken", "message"), BROKEN)
def test_what_no_map_can_be_made_of_is_an_error_that_says_why(function, broken, message):
    with pytest.raises(ValueError, match=message):
        function(broken)


@pytest.mark.parametrize("shape", [(7, 9), (60, 80), (1, 1), (30, 13), (30, 40)])
def test_resized_map_stays_in_range_and_keeps_its_mean(shape):
    saliency_map = smooth_maps(1)[0]
    resized = resize_map(saliency_map, shape)
    assert resized.shape == shape and resized.dtype == np.float32
    assert resized.min() >= 0 and resized.max() <= 1 + 1e-6
    assert resized.mean() == pytest.approx(saliency_map.mean(), rel=0.05)


def test_shrinking_averages_where_point_sampling_would_miss():
    small = resize_map(np.eye(1, 64 * 64, 17 * 64 + 42).reshape(64, 64), (8, 8))
    assert small[17 // 8, 42 // 8] == small.max() > 0
    assert small.sum() == pytest.approx(1 / 64, rel=0.05)


def test_resizing_keeps_mirror_symmetry_and_treats_maps_of_a_batch_alone():
    maps = smooth_maps(3)
    small = resize_map(maps, (11, 17))
    np.testing.assert_allclose(resize_map(maps[..., ::-1], (11, 17)), small[..., ::-1], atol=1e-6)
    np.testing.assert_array_equal(small[2], resize_map(maps[2], (11, 17)))
    resize_map(small, (11, 17))[:] = 0
    assert small.all(), "what has its size is copied"


def test_fixated_pixels_round_down_and_leave_out_what_is_outside():
    rows, columns = fixated_pixels([[3.9, 1.0], [4.0, 0], [0, 2.0], [-0.5, 0]], (2, 4))
    assert (rows.tolist(), columns.tolist()) == ([1], [3])


@pytest.mark.parametrize("sigma", [0.3, 4.0, 50.0])
def test_fixation_density_is_the_blurred_fixation_map_with_sum_one_even_at_the_border(sigma):
    fixations = [[0, 0], [39, 29], *np.random.default_rng(0).uniform(0, 1, (25, 2)) * [40, 30]]
    counts = np.zeros(SHAPE)
    np.add.at(counts, fixated_pixels(fixations, SHAPE), 1)
    blurred = gaussian_filter(counts, sigma, mode="constant", truncate=12)
    density = fixation_density(fixations, SHAPE, sigma)
    assert density.shape == SHAPE and density.dtype == np.float32
    np.testing.assert_allclose(density, blurred / blurred.sum(), rtol=1e-5, atol=1e-30)


@pytest.mark.parametrize("shape", [(300, 400), (240, 180)])
def test_gaussian_prior_gets_back_the_gaussian_that_was_drawn(shape):
    drawn = GaussianPrior(0.48, 0.55, 0.12, 0.09)
    found = GaussianPrior.fit([drawn.render(shape)])
    assert vars(found) == pytest.approx(vars(drawn), abs=1e-3)


@pytest.mark.parametrize("shape", [(1, 1), (7, 11), (600, 800)])
def test_gaussian_prior_is_a_centered_density_at_every_size(shape):
    density = GaussianPrior(0.5, 0.5, 0.2, 0.2).render(shape)
    assert density.shape == shape
    assert density.sum(dtype=float) == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(density, density[::-1, ::-1], rtol=1e-5)


def test_gaussian_prior_holds_the_spread_within_and_between_images():
    left, right = np.zeros((1, 100)), np.zeros((1, 100))
    left[0, 24], right[0, 75] = 1, 1
    prior = GaussianPrior.fit([left, right])
    assert prior.center_x == pytest.approx(0.5)
    assert prior.sigma_x == pytest.approx(0.255, abs=1e-3)


def test_prior_of_one_pixel_can_be_drawn_at_any_size():
    density = np.zeros((1000, 1000))
    density[300, 700] = 1
    assert GaussianPrior.fit([density]).render((10, 10))[3, 7] == pytest.approx(1)
