"""Maps keep their mass, priors their moments, and the transforms of [45] their promises."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from lib.maps import (
    GaussianPrior,
    MapTransform,
    average_prior,
    blur,
    fixated_pixels,
    fixation_density,
    normalize_max,
    normalize_sum,
    resize_map,
    spectral_residual,
)
from lib.metrics import cc, kld, nss

SHAPE = (30, 40)


def smooth_maps(count, seed=0, shape=SHAPE, sigma=3):
    """Smooth random maps from 0 to 1."""
    noise = gaussian_filter(np.random.default_rng(seed).random((count, *shape)), (0, sigma, sigma))
    low, high = noise.min((1, 2), keepdims=True), noise.max((1, 2), keepdims=True)
    return (noise - low) / (high - low)


# --- scales -----------------------------------------------------------------------------------


def test_normalized_maps_have_sum_or_peak_one_each():
    maps = smooth_maps(3) * np.array([1e-30, 1, 1e30])[:, None, None]
    np.testing.assert_allclose(normalize_sum(maps).sum((1, 2)), 1, rtol=1e-6)
    np.testing.assert_array_equal(normalize_max(maps).max((1, 2)), 1)
    assert normalize_sum(maps).dtype == normalize_max(maps).dtype == np.float32


def test_all_zero_map_becomes_uniform_as_a_density_and_stays_zero_by_peak():
    np.testing.assert_allclose(normalize_sum(np.zeros((2, 5))), 0.1)
    assert not normalize_max(np.zeros((2, 5))).any()


@pytest.mark.parametrize(
    ("broken", "words"),
    [(np.array([[np.nan]]), "NaN"), (np.array([[-1.0]]), "negative"), (np.ones(3), "HxW")],
)
@pytest.mark.parametrize(
    "function",
    [normalize_sum, normalize_max, lambda m: blur(m, 1), lambda m: resize_map(m, (2, 2))],
)
def test_broken_maps_are_an_error_that_says_what_is_wrong(function, broken, words):
    with pytest.raises(ValueError, match=f"maps .*{words}"):
        function(broken)


# --- fixations --------------------------------------------------------------------------------


def test_fixated_pixels_round_down_and_leave_out_what_is_outside():
    rows, columns = fixated_pixels([[3.9, 1.0], [4.0, 0], [0, 2.0], [-0.5, 0]], (2, 4))
    assert (rows.tolist(), columns.tolist()) == ([1], [3])


@pytest.mark.parametrize("sigma", [0.3, 2.0, 50.0])
def test_fixation_density_sums_to_one_even_at_the_border(sigma):
    density = fixation_density([[0, 0], [39, 29], [20, 10]], SHAPE, sigma)
    assert density.shape == SHAPE
    assert density.dtype == np.float32
    assert density.sum(dtype=float) == pytest.approx(1, abs=1e-6)


def test_fixation_density_is_the_blurred_fixation_map():
    fixations = np.random.default_rng(0).uniform(0, 1, (25, 2)) * [40, 30]
    counts = np.zeros(SHAPE)
    np.add.at(counts, fixated_pixels(fixations, SHAPE), 1)
    blurred = gaussian_filter(counts, 4.0, mode="constant", truncate=12)
    density = fixation_density(fixations, SHAPE, 4.0)
    np.testing.assert_allclose(density, blurred / blurred.sum(), rtol=1e-5)


def test_fixation_density_peaks_at_x_then_y():
    density = fixation_density([[31.7, 4.2]], SHAPE, 2.0)
    assert np.unravel_index(density.argmax(), SHAPE) == (4, 31)


@pytest.mark.parametrize("sigma", [0, -1, np.nan, np.inf])
def test_width_that_is_not_positive_is_an_error(sigma):
    with pytest.raises(ValueError, match="sigma must be a positive"):
        fixation_density([[1, 1]], SHAPE, sigma)
    with pytest.raises(ValueError, match="sigma must be a positive"):
        blur(np.ones(SHAPE), sigma)


def test_no_fixation_in_the_frame_is_an_error():
    with pytest.raises(ValueError, match="fixations: none of the 1 lies inside the 40x30 frame"):
        fixation_density([[40, 3]], SHAPE, 2)


# --- blur and resize --------------------------------------------------------------------------


def test_blur_keeps_the_sum_and_does_not_mix_the_maps_of_a_batch():
    maps = smooth_maps(2)
    blurred = blur(maps, 6)
    np.testing.assert_allclose(blurred.sum((1, 2)), maps.sum((1, 2)), rtol=1e-5)
    np.testing.assert_array_equal(blurred[1], blur(maps[1], 6))
    assert (blurred.std((1, 2)) < maps.std((1, 2))).all()


@pytest.mark.parametrize("shape", [(7, 9), (60, 80), (1, 1), (30, 13), (30, 40)])
def test_resized_map_stays_in_range_and_keeps_its_mean(shape):
    saliency_map = smooth_maps(1)[0]
    resized = resize_map(saliency_map, shape)
    assert resized.shape == shape
    assert resized.dtype == np.float32
    assert resized.min() >= 0
    assert resized.max() <= 1 + 1e-6
    assert resized.mean() == pytest.approx(saliency_map.mean(), rel=0.05)


def test_shrinking_averages_where_point_sampling_would_miss():
    saliency_map = np.zeros((64, 64))
    saliency_map[17, 42] = 1
    small = resize_map(saliency_map, (8, 8))
    assert small[17 // 8, 42 // 8] == small.max() > 0
    assert small.sum() == pytest.approx(1 / 64, rel=0.05)


def test_shrinking_a_checkerboard_gives_gray():
    board = np.indices((32, 32)).sum(0) % 2
    np.testing.assert_allclose(resize_map(board, (8, 8))[1:-1, 1:-1], 0.5, atol=1e-6)


def test_resizing_keeps_mirror_symmetry_and_treats_maps_of_a_batch_alone():
    maps = smooth_maps(3)
    np.testing.assert_allclose(
        resize_map(maps[..., ::-1], (11, 17)), resize_map(maps, (11, 17))[..., ::-1], atol=1e-6
    )
    np.testing.assert_array_equal(resize_map(maps, (11, 17))[2], resize_map(maps[2], (11, 17)))


def test_resizing_returns_a_copy_of_what_has_its_size():
    saliency_map = np.ones(SHAPE, np.float32)
    resize_map(saliency_map, SHAPE)[:] = 0
    assert saliency_map.all()


def test_size_of_nothing_is_an_error():
    with pytest.raises(ValueError, match="shape must be"):
        resize_map(np.ones(SHAPE), (0, 4))


# --- centre priors ----------------------------------------------------------------------------


def test_average_prior_counts_each_image_the_same():
    left, right = np.zeros((2, 4)), np.zeros((2, 4))
    left[:, 0], right[:, 3] = 1, 1000
    np.testing.assert_allclose(average_prior([left, right])[0], [0.25, 0, 0, 0.25])


def test_average_prior_takes_a_stream():
    densities = smooth_maps(4)
    np.testing.assert_array_equal(average_prior(iter(densities)), average_prior(list(densities)))


def test_priors_of_nothing_or_of_no_density_are_errors():
    with pytest.raises(ValueError, match="densities is empty"):
        average_prior([])
    with pytest.raises(ValueError, match="densities is empty"):
        GaussianPrior.fit([])
    with pytest.raises(ValueError, match=r"densities\[1\] is zero everywhere"):
        GaussianPrior.fit([np.ones((2, 2)), np.zeros((2, 2))])
    with pytest.raises(ValueError, match=r"densities\[1\] is \(3, 2\)"):
        average_prior([np.ones((2, 2)), np.ones((3, 2))])


@pytest.mark.parametrize("shape", [(300, 400), (240, 180)])
def test_gaussian_prior_gets_back_the_gaussian_that_was_drawn(shape):
    drawn = GaussianPrior(0.48, 0.55, 0.12, 0.09)
    found = GaussianPrior.fit([drawn.render(shape)])
    for name in ("center_x", "center_y", "sigma_x", "sigma_y"):
        assert getattr(found, name) == pytest.approx(getattr(drawn, name), abs=1e-3)


def test_gaussian_prior_is_a_centered_density_at_every_size():
    prior = GaussianPrior(0.5, 0.5, 0.2, 0.2)
    for shape in [(1, 1), (7, 11), (600, 800)]:
        density = prior.render(shape)
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
    drawn = GaussianPrior.fit([density]).render((10, 10))
    assert drawn[3, 7] == pytest.approx(1)


# --- spectral residual ------------------------------------------------------------------------


def test_spectral_residual_finds_the_odd_one_out():
    y, x = np.mgrid[:240, :320]
    stripes = 128 + 60 * np.sin(2 * np.pi * x / 20)
    odd = (slice(60, 110), slice(200, 250))
    stripes[odd] = (128 + 60 * np.sin(2 * np.pi * y / 20))[odd]  # the same stripes, turned
    image = np.repeat(stripes[..., None], 3, axis=2).astype(np.uint8)
    saliency_map = spectral_residual(image)
    assert nss(saliency_map, [[225, 85]]) > 1.5
    row, column = np.unravel_index(saliency_map.argmax(), saliency_map.shape)
    assert 45 <= row <= 125
    assert 185 <= column <= 265


@pytest.mark.parametrize("shape", [(48, 64), (100, 30), (5, 200), (3, 1)])
def test_spectral_residual_has_the_size_of_the_image_and_peak_one(shape):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    saliency_map = spectral_residual(image)
    assert saliency_map.shape == shape
    assert saliency_map.dtype == np.float32
    assert saliency_map.max() == 1
    assert saliency_map.min() >= 0


@pytest.mark.parametrize("shape", [(1, 1), (50, 70)])
def test_spectral_residual_of_a_single_color_is_zero(shape):
    assert not spectral_residual(np.full((*shape, 3), 77, np.uint8)).any()


def test_spectral_residual_of_a_drawing_with_an_exact_zero_spectrum_is_finite():
    image = np.zeros((64, 64, 3), np.uint8)
    image[:, 32:] = 255
    assert np.isfinite(spectral_residual(image)).all()


@pytest.mark.parametrize("image", [np.zeros((5, 5), np.uint8), np.zeros((5, 5, 3)), np.zeros(3)])
def test_spectral_residual_of_no_photograph_is_an_error(image):
    with pytest.raises(ValueError, match="image must be HxWx3 uint8"):
        spectral_residual(image)


# --- the map transforms of [45] ---------------------------------------------------------------

CENTER = GaussianPrior(0.5, 0.5, 0.2, 0.2).render(SHAPE)
MIDDLE = (15, 20)


def world(count=20, seed=0, weight=0.4, curve=np.square, noise=0.0):
    """Maps, and densities that are curve(map) + weight * centre prior, in units of their peak.

    The brightest pixel of each map is where the centre prior has its peak, so that all densities
    have one peak, 1 + weight, and the truth is one curve and one weight.
    """
    maps = 0.999 * smooth_maps(count, seed)
    maps[:, MIDDLE[0], MIDDLE[1]] = 1
    densities = curve(maps) + weight * normalize_max(CENTER)
    rng = np.random.default_rng(seed + 1)
    return maps, densities * np.exp(noise * rng.normal(size=densities.shape))


def by_peak(densities):
    return densities / densities.max((1, 2), keepdims=True)


@pytest.mark.parametrize("weight", [0.0, 0.4, 3.0])
@pytest.mark.parametrize("curve", [np.square, np.sqrt, lambda s: np.clip(3 * s - 1.5, 0, 1)])
def test_transform_finds_the_curve_and_the_weight_that_made_the_densities(weight, curve):
    maps, densities = world(weight=weight, curve=curve)
    transform = MapTransform.fit(maps, densities, CENTER, stride=1)
    unit = 1 / densities.max()  # densities are fitted in units of their peak
    brightness, corrected = transform.curve()
    common = (brightness > 0.1) & (brightness < 0.9)  # brightness that many pixels have
    assert common.sum() >= 5
    truth = unit * curve(brightness / 0.999)
    np.testing.assert_allclose(corrected[common], truth[common], atol=0.03 * unit)
    assert transform.center_weight == pytest.approx(weight * unit, abs=0.02 * unit)


@pytest.mark.parametrize("seed", range(4))
def test_transformed_map_is_no_farther_from_the_densities_than_the_best_affine_fit(seed):
    maps, densities = world(seed=seed, noise=0.5)
    transform = MapTransform.fit(maps, densities, CENTER, stride=1)
    target = by_peak(densities)
    affine = np.polynomial.Polynomial.fit(maps.ravel(), target.ravel(), 1)
    error = np.mean((transform.apply(maps) - target) ** 2)
    assert error <= np.mean((affine(maps) - target) ** 2)


@pytest.mark.parametrize("seed", range(4))
def test_map_that_knows_nothing_is_no_worse_than_the_mean_density(seed):
    _, densities = world(seed=seed, noise=0.5)
    unrelated = smooth_maps(20, seed + 100)
    transform = MapTransform.fit(unrelated, densities, CENTER, stride=1)
    target = by_peak(densities)
    assert np.mean((transform.apply(unrelated) - target) ** 2) <= target.var()


@pytest.mark.parametrize("seed", range(3))
def test_transform_never_turns_a_brighter_pixel_darker(seed):
    maps, densities = world(seed=seed, noise=1.0)
    for hostile in (maps, 1 - maps, smooth_maps(20, seed + 50)):
        transform = MapTransform.fit(hostile, densities, CENTER)
        assert (np.diff(transform.values) >= 0).all()
        assert transform.values[0] >= 0
        assert transform.center_weight >= 0
        ramp = np.linspace(0, 1, 1200).reshape(SHAPE)
        without_center = transform.apply(ramp, np.zeros(SHAPE))
        assert (np.diff(without_center.ravel()) >= 0).all()


@pytest.mark.parametrize("change", [np.square, np.sqrt, lambda s: np.expm1(4 * s)])
def test_result_is_invariant_to_an_increasing_change_of_brightness(change):
    maps, densities = world(seed=3, noise=0.3)
    plain = MapTransform.fit(maps, densities, CENTER, stride=1).apply(maps)
    changed = MapTransform.fit(change(maps), densities, CENTER, stride=1).apply(change(maps))
    assert np.abs(plain - changed).max() < 0.05
    np.testing.assert_allclose(cc(plain, densities), cc(changed, densities), atol=0.005)
    np.testing.assert_allclose(kld(plain, densities), kld(changed, densities), atol=0.005)
    assert np.abs(cc(maps, densities) - cc(change(maps), densities)).max() > 0.01  # unlike before


def test_result_is_the_same_where_the_change_of_brightness_is_in_the_span():
    maps, densities = world(seed=4, noise=0.3)
    first = MapTransform.fit(maps, densities, CENTER, stride=1)
    bent = np.interp(maps, first.knots, first.knots**3)  # linear between the knots
    second = MapTransform.fit(bent, densities, CENTER, stride=1)
    np.testing.assert_allclose(second.apply(bent), first.apply(maps), atol=1e-5)


def transformed_cc(maps, densities):
    """Mean CC after the transforms."""
    transform = MapTransform.fit(maps, densities, CENTER, stride=1)
    return np.mean(cc(transform.apply(maps), densities))


def test_measure_is_invariant_to_center_bias_up_to_that_of_people():
    maps, densities = world(seed=5, weight=1.0, curve=lambda s: s)
    biased = [maps + added * normalize_max(CENTER) for added in (0, 0.4, 0.8)]
    before = [np.mean(cc(m, densities)) for m in biased]
    after = [transformed_cc(m, densities) for m in biased]
    assert before[2] - before[0] > 0.1
    assert np.ptp(after) < 0.01
    assert min(after) > 0.99


def test_measure_does_not_forgive_more_center_bias_than_people_have():
    maps, densities = world(seed=5, weight=0.1, curve=lambda s: s)
    assert transformed_cc(maps + 2 * normalize_max(CENTER), densities) < 0.9


def test_affine_change_of_each_map_does_not_matter():
    maps, densities = world(seed=6)
    transform = MapTransform.fit(maps, densities, CENTER)
    scale = np.linspace(0.1, 30, len(maps))[:, None, None]
    np.testing.assert_allclose(transform.apply(scale * maps + 5), transform.apply(maps), atol=1e-5)
    again = MapTransform.fit(scale * maps, 7 * densities, 3 * CENTER)
    np.testing.assert_allclose(again.apply(maps), transform.apply(maps), atol=1e-5)


def test_batch_is_transformed_map_by_map():
    maps, densities = world(seed=7)
    transform = MapTransform.fit(maps, densities, CENTER)
    batch = transform.apply(maps)
    assert batch.dtype == np.float32
    assert batch.shape == maps.shape
    np.testing.assert_array_equal(batch[3], transform.apply(maps[3]))


def test_images_of_different_sizes_take_their_own_prior_or_a_resized_one():
    prior = GaussianPrior(0.5, 0.5, 0.2, 0.2)
    maps, densities = world(seed=8)
    wide = [resize_map(m, (20, 60)) for m in maps[10:]]
    sized = [*maps[:10], *wide]
    targets = [*densities[:10], *(resize_map(d, (20, 60)) for d in densities[10:])]
    own = MapTransform.fit(sized, targets, [prior.render(m.shape) for m in sized])
    resized = MapTransform.fit(sized, targets, CENTER)
    assert own.center_weight == pytest.approx(resized.center_weight, rel=0.02)
    np.testing.assert_allclose(
        own.apply(wide[0], prior.render((20, 60))), resized.apply(wide[0]), atol=0.02
    )


def test_each_image_counts_the_same_whatever_its_size():
    maps, densities = world(count=2, seed=9)
    enlarged = [np.repeat(np.repeat(m[1], 5, 0), 5, 1) for m in (maps, densities)]
    center = np.repeat(np.repeat(CENTER, 5, 0), 5, 1)
    small = MapTransform.fit(maps, densities, CENTER, knots=2, stride=1)
    mixed = MapTransform.fit(
        [maps[0], enlarged[0]], [densities[0], enlarged[1]], [CENTER, center], knots=2, stride=1
    )
    assert mixed.center_weight == pytest.approx(small.center_weight, rel=1e-4)
    np.testing.assert_allclose(mixed.values, small.values, rtol=1e-4)


def test_stride_hardly_changes_a_fit_on_smooth_maps():
    maps, densities = world(seed=10)
    every, sampled = (MapTransform.fit(maps, densities, CENTER, stride=s) for s in (1, 3))
    np.testing.assert_allclose(every.apply(maps), sampled.apply(maps), atol=0.02)


@pytest.mark.parametrize("value", [0.0, 0.3])
def test_maps_that_are_all_constant_leave_the_center_prior(value):
    _, densities = world(seed=11)
    dead = np.full_like(densities, value)
    transform = MapTransform.fit(dead, densities, CENTER)
    assert np.ptp(transform.values) == pytest.approx(0, abs=1e-9)
    assert transform.center_weight > 0
    assert cc(transform.apply(dead[0]), CENTER) == pytest.approx(1, abs=1e-5)


def test_map_that_is_the_center_prior_is_fitted_all_the_same():
    maps, densities = world(seed=12)
    priors = [CENTER] * len(maps)
    transform = MapTransform.fit(priors, densities, CENTER)
    result = transform.apply(CENTER)
    assert np.isfinite(result).all()
    assert cc(result, CENTER) > 0.98


def test_few_constant_maps_among_others_do_no_harm():
    maps, densities = world(seed=13)
    maps[4] = 0
    transform = MapTransform.fit(maps, densities, CENTER)
    result = transform.apply(maps)
    assert np.isfinite(result).all()
    assert result.min() >= 0


def test_fit_is_deterministic():
    maps, densities = world(seed=14)
    one, two = (MapTransform.fit(maps, densities, CENTER) for _ in range(2))
    assert one.values.tobytes() == two.values.tobytes()
    assert one.center_weight == two.center_weight


@pytest.mark.parametrize(
    ("maps", "densities", "center", "words"),
    [
        ([], [], CENTER, "maps is empty"),
        ([CENTER], [CENTER, CENTER], CENTER, "there are 1, 2 and 1"),
        ([CENTER], [CENTER], [CENTER, CENTER], "there are 1, 1 and 2"),
        ([CENTER], [CENTER[:5]], CENTER, r"maps\[0\] is \(30, 40\) and densities\[0\] \(5, 40\)"),
        ([CENTER, CENTER - 1], [CENTER, CENTER], CENTER, r"maps\[1\] holds negative"),
        ([CENTER * np.nan], [CENTER], CENTER, r"maps\[0\] holds NaN"),
        ([CENTER], [0 * CENTER], CENTER, r"densities\[0\] is zero everywhere"),
        ([CENTER], [CENTER], CENTER * np.nan, "center_prior holds NaN"),
        ([CENTER[None]], [CENTER], CENTER, r"maps\[0\] must be one map HxW"),
    ],
)
def test_broken_training_set_is_an_error_that_names_the_culprit(maps, densities, center, words):
    with pytest.raises(ValueError, match=words):
        MapTransform.fit(maps, densities, center)


@pytest.mark.parametrize("options", [{"knots": 1}, {"stride": 0}])
def test_impossible_options_are_an_error(options):
    with pytest.raises(ValueError, match="knots must be at least 2 and stride 1"):
        MapTransform.fit([CENTER], [CENTER], CENTER, **options)
