"""The map transforms of [45] keep their promises."""

import numpy as np
import pytest

from lib import transforms
from lib.maps import GaussianPrior, over_peak, resize_map
from lib.metrics import cc, kld
from lib.transforms import MapTransform
from tests.test_maps import SHAPE, smooth_maps


def fit(maps, densities, center, **options):
    """Fit with one centre prior for all images."""
    return MapTransform.fit(maps, densities, [center] * len(maps), **options)


def apply(transform, maps):
    return np.stack([transform.apply(m, CENTER) for m in maps])


def each(metric, maps, densities):
    return np.array([metric(m, d) for m, d in zip(maps, densities, strict=True)])


CENTER = GaussianPrior(0.5, 0.5, 0.2, 0.2).render(SHAPE)


def world(count=20, seed=0, weight=0.4, curve=np.square, noise=0.0):
    """Maps, and densities that are curve(map) + weight * centre prior, in units of their peak.

    The brightest pixel of each map is where the centre prior has its peak, so that all densities
    have one peak, 1 + weight, and the truth is one curve and one weight.
    """
    maps = 0.999 * smooth_maps(count, seed)
    maps[:, 15, 20] = 1
    densities = curve(maps) + weight * over_peak(CENTER)
    rng = np.random.default_rng(seed + 1)
    return maps, densities * np.exp(noise * rng.normal(size=densities.shape))


@pytest.mark.parametrize("weight", [0.0, 0.4, 3.0])
@pytest.mark.parametrize("curve", [np.square, np.sqrt, lambda s: np.clip(3 * s - 1.5, 0, 1)])
def test_transform_finds_the_curve_and_the_weight_that_made_the_densities(weight, curve):
    maps, densities = world(weight=weight, curve=curve)
    transform = fit(maps, densities, CENTER, stride=1)
    unit = 1 / densities.max()  # densities are fitted in units of their peak
    common = (transform.knots > 0.1) & (transform.knots < 0.9)  # as many pixels are
    assert common.sum() >= 5
    truth = unit * curve(transform.knots[common] / 0.999)
    np.testing.assert_allclose(transform.values[common], truth, atol=0.03 * unit)
    assert transform.center_weight == pytest.approx(weight * unit, abs=0.02 * unit)


@pytest.mark.parametrize("seed", range(4))
def test_error_is_at_most_the_best_affine_fits_and_the_mean_densitys_for_a_map_that_knows_nothing(
    seed,
):
    maps, densities = world(seed=seed, noise=0.5)
    target = densities / densities.max((1, 2), keepdims=True)
    affine = np.polynomial.Polynomial.fit(maps.ravel(), target.ravel(), 1)
    unrelated = smooth_maps(20, seed + 100)
    for seen, worst in ((maps, np.mean((affine(maps) - target) ** 2)), (unrelated, target.var())):
        found = apply(fit(seen, densities, CENTER, stride=1), seen)
        assert np.mean((found - target) ** 2) <= worst


@pytest.mark.parametrize("seed", range(3))
def test_transform_never_turns_a_brighter_pixel_darker(seed):
    maps, densities = world(seed=seed, noise=1.0)
    for hostile in (maps, 1 - maps, smooth_maps(20, seed + 50)):
        transform = fit(hostile, densities, CENTER)
        assert (np.diff(transform.values) >= 0).all()
        assert transform.values[0] >= 0 and transform.center_weight >= 0
        ramp = np.linspace(0, 1, 1200).reshape(SHAPE)
        without_center = transform.apply(ramp, np.zeros(SHAPE))
        assert (np.diff(without_center.ravel()) >= 0).all()


@pytest.mark.parametrize("change", [np.square, np.sqrt, lambda s: np.expm1(4 * s)])
def test_result_is_invariant_to_an_increasing_change_of_brightness(change):
    maps, densities = world(seed=3, noise=0.3)
    plain = apply(fit(maps, densities, CENTER, stride=1), maps)
    changed = apply(fit(change(maps), densities, CENTER, stride=1), change(maps))
    assert np.abs(plain - changed).max() < 0.05
    for metric in (cc, kld):
        scores = each(metric, plain, densities), each(metric, changed, densities)
        np.testing.assert_allclose(*scores, atol=0.005)
    before = each(cc, maps, densities) - each(cc, change(maps), densities)
    assert np.abs(before).max() > 0.01  # unlike before


def test_result_is_the_same_where_the_change_of_brightness_is_in_the_span():
    maps, densities = world(seed=4, noise=0.3)
    first = fit(maps, densities, CENTER, stride=1)
    bent = np.interp(maps, first.knots, first.knots**3)  # linear between the knots
    second = fit(bent, densities, CENTER, stride=1)
    np.testing.assert_allclose(apply(second, bent), apply(first, maps), atol=1e-5)


def transformed_cc(maps, densities):
    """Mean CC after the transforms."""
    return each(cc, apply(fit(maps, densities, CENTER, stride=1), maps), densities).mean()


def test_measure_forgives_center_bias_up_to_that_of_people_and_no_more():
    maps, densities = world(seed=5, weight=1.0, curve=lambda s: s)
    biased = [maps + added * over_peak(CENTER) for added in (0, 0.4, 0.8)]
    before = [each(cc, m, densities).mean() for m in biased]
    after = [transformed_cc(m, densities) for m in biased]
    assert before[2] - before[0] > 0.1 and np.ptp(after) < 0.01 and min(after) > 0.99
    maps, densities = world(seed=5, weight=0.1, curve=lambda s: s)
    assert transformed_cc(maps + 2 * over_peak(CENTER), densities) < 0.9


def test_affine_change_of_each_map_does_not_matter():
    maps, densities = world(seed=6)
    transform = fit(maps, densities, CENTER)
    scale = np.linspace(0.1, 30, len(maps))[:, None, None]
    again = fit(scale * maps, 7 * densities, 3 * CENTER)
    for same in (apply(transform, scale * maps + 5), apply(again, maps)):
        np.testing.assert_allclose(same, apply(transform, maps), atol=1e-5)


def test_images_of_different_sizes_take_their_own_prior():
    prior = GaussianPrior(0.5, 0.5, 0.2, 0.2)
    maps, densities = world(seed=8)
    wide = [resize_map(m, (20, 60)) for m in maps[10:]]
    sized = [*maps[:10], *wide]
    targets = [*densities[:10], *(resize_map(d, (20, 60)) for d in densities[10:])]
    own = MapTransform.fit(sized, targets, [prior.render(m.shape) for m in sized])
    found = own.apply(wide[0], prior.render((20, 60)))
    assert found.dtype == np.float32 and cc(found, targets[10]) > 0.99


def test_each_image_counts_the_same_whatever_its_size(monkeypatch):
    monkeypatch.setattr(transforms, "KNOTS", 2)
    maps, densities = world(count=2, seed=9)
    small = fit(maps, densities, CENTER, stride=1)
    pairs = (maps, densities, (CENTER, CENTER))
    mixed = ([one, np.kron(other, np.ones((5, 5)))] for one, other in pairs)
    mixed = MapTransform.fit(*mixed, stride=1)
    assert mixed.center_weight == pytest.approx(small.center_weight, rel=1e-4)
    np.testing.assert_allclose(mixed.values, small.values, rtol=1e-4)


@pytest.mark.parametrize("value", [0.0, 0.3])
def test_maps_that_are_all_constant_leave_the_center_prior(value):
    _, densities = world(seed=11)
    dead = np.full_like(densities, value)
    transform = fit(dead, densities, CENTER)
    assert np.ptp(transform.values) == pytest.approx(0, abs=1e-9)
    assert transform.center_weight > 0
    assert cc(transform.apply(dead[0], CENTER), CENTER) == pytest.approx(1, abs=1e-5)


def test_map_that_is_the_center_prior_and_constant_ones_among_others_do_no_harm():
    maps, densities = world(seed=12)
    assert cc(fit([CENTER] * len(maps), densities, CENTER).apply(CENTER, CENTER), CENTER) > 0.98
    maps[4] = 0
    result = apply(fit(maps, densities, CENTER), maps)
    assert np.isfinite(result).all() and result.min() >= 0


@pytest.mark.parametrize(
    ("maps", "densities", "centers", "words"),
    [
        ([CENTER], [CENTER, CENTER], [CENTER], "shorter|longer"),
        ([CENTER], [CENTER[:5]], [CENTER], r"maps\[0\], its density .* \(5, 40\)"),
        ([CENTER, CENTER - 1], [CENTER] * 2, [CENTER] * 2, r"maps\[1\] holds negative"),
        ([CENTER * np.nan], [CENTER], [CENTER], r"maps\[0\] holds NaN"),
        ([CENTER], [0 * CENTER], [CENTER], r"densities\[0\] is zero everywhere"),
        ([CENTER[None]], [CENTER], [CENTER], r"maps\[0\] must be one map HxW"),
    ],
)
def test_broken_training_set_is_an_error_that_names_the_culprit(maps, densities, centers, words):
    with pytest.raises(ValueError, match=words):
        MapTransform.fit(maps, densities, centers)
