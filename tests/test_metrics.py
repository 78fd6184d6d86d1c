"""The metrics give the published definitions' numbers; elsewhere a defined answer or an error."""

import numpy as np
import pytest

from lib import metrics
from lib.metrics import auc_judd, cc, kld, nss, nss_support, similarity

READS = dict(metrics.METRICS.values())  # every statement below holds for whatever is registered


def over(functions):
    return pytest.mark.parametrize("metric", functions, ids=lambda m: m.__name__)


Y, X = np.mgrid[:12, :16]
# Integer arithmetic: the same arrays for ever, ties and zeros included.
GOLDEN_PAIRS = [
    ((7 * X * X + 11 * Y * Y + 3 * X * Y) % 23, (5 * X + 3 * Y * Y) % 17),
    ((13 * X + 5 * Y * Y) % 19, ((X - 8) ** 2 + (Y - 6) ** 2) % 29),
]
FIXATIONS = np.array([[3, 2], [8, 5], [8, 6], [15, 11], [0, 0], [11, 9], [3, 2]], float)
# Of both pairs, by pysaliency 0.2.22: metrics.NSS (mean), metrics.SIM, metrics.CC,
# metrics.MIT_KLDiv(map, density), and SaliencyMapModel.AUC(nonfixations="unfixated") =
# AUC_per_image(thresholds="all").
GOLDEN_VALUES = {
    nss: (-0.2504705316442651, -0.5535828506863003),
    similarity: (0.7031942392909896, 0.6509168970044066),
    cc: (0.014986455302601084, 0.07557411211412404),
    kld: (1.742077161163004, 1.5814253376708662),
    auc_judd: (0.44508448540706597, 0.33640552995391704),
}


def random_case(seed, shape=(9, 13)):
    """A map with ties, a density, and fixations."""
    rng = np.random.default_rng(seed)
    saliency_map = rng.integers(0, 20, shape).astype(np.float32)
    return saliency_map, rng.random(shape) ** 3, rng.random((12, 2)) * shape[::-1]


def case_of(metric, seed):
    """A map and what the metric reads beside it."""
    saliency_map, density, fixations = random_case(seed)
    return saliency_map, fixations if READS[metric] == "fixations" else density


# --- values -----------------------------------------------------------------------------------


@over(GOLDEN_VALUES)
@pytest.mark.parametrize("case", range(2))
def test_values_are_those_of_pysaliency(metric, case):
    saliency_map, density = GOLDEN_PAIRS[case]
    value = metric(saliency_map, FIXATIONS if READS[metric] == "fixations" else density)
    assert value == pytest.approx(GOLDEN_VALUES[metric][case], rel=1e-11)


def test_nss_support_by_hand():
    # The mass at (0, 1) is less than half of 1/255 of the peak: 8 bits store it as 0.
    saliency_map = np.array([[2, 0], [2, 0]])
    assert nss_support(saliency_map, np.array([[255, 0.49], [0, 0]])) == pytest.approx(1)
    assert nss_support(saliency_map, np.array([[255, 0.51], [0, 0]])) == pytest.approx(0)


@pytest.mark.parametrize("seed", range(5))
def test_perfect_prediction_is_perfect_and_no_other_is(seed):
    saliency_map, density, _ = random_case(seed)
    perfect = [metric(3 * density, density) for metric in (cc, similarity, kld)]
    assert perfect == pytest.approx([1, 1, 0], abs=1e-12)
    assert max(cc(saliency_map, density), similarity(saliency_map, density)) < 0.9
    assert kld(saliency_map, density) > 0.1


def test_inverted_prediction_has_the_opposite_sign():
    saliency_map, density, fixations = random_case(1)
    inverted = saliency_map.max() - saliency_map
    assert cc(inverted, density) == pytest.approx(-cc(saliency_map, density))
    assert nss(inverted, fixations) == pytest.approx(-nss(saliency_map, fixations))
    assert auc_judd(inverted, fixations) == pytest.approx(1 - auc_judd(saliency_map, fixations))


# --- invariances ------------------------------------------------------------------------------


@over(READS)
def test_scale_and_type_of_the_map_do_not_matter(metric):
    saliency_map, truth = case_of(metric, 2)
    value = metric(saliency_map.astype(float), truth)
    for factor in (1e-310, 1e-12, 7.0, 1e200):
        scaled = saliency_map.astype(float) * factor
        assert metric(scaled, truth) == pytest.approx(value, rel=1e-9)
    for dtype in (np.float16, np.float32, np.uint8):
        assert metric(saliency_map.astype(dtype), truth) == pytest.approx(value, rel=1e-12)


@over([nss, nss_support, cc])
def test_offset_of_the_map_does_not_matter_to_z_scores(metric):
    saliency_map, truth = case_of(metric, 3)
    shifted = 0.3 * saliency_map.astype(float) + 100
    assert metric(shifted, truth) == pytest.approx(metric(saliency_map, truth), rel=1e-9)


def test_increasing_change_of_brightness_does_not_matter_to_auc():
    saliency_map, _, fixations = random_case(4)
    assert auc_judd(np.exp(saliency_map / 5), fixations) == auc_judd(saliency_map, fixations)


@over([similarity, cc])
def test_metric_is_symmetric(metric):
    saliency_map, density, _ = random_case(5)
    assert metric(saliency_map, density) == pytest.approx(metric(density, saliency_map))


@over([nss, auc_judd])
def test_fixations_are_x_then_y_and_a_pixel_fixated_twice_counts_twice(metric):
    saliency_map = np.array([[0, 1, 2, 3]])
    once, twice = [[3, 0], [1, 0]], [[3, 0], [3, 0], [1, 0]]
    assert metric(saliency_map, twice) > metric(saliency_map, once)


# --- maps that say nothing, and errors --------------------------------------------------------


@pytest.mark.parametrize("value", [0.0, 0.1, 3e7])
def test_constant_map_has_defined_values(value):
    _, density, fixations = random_case(8, (30, 41))
    constant, uniform = np.full((30, 41), value, np.float32), np.ones((30, 41))
    assert nss(constant, fixations) == nss_support(constant, density) == cc(constant, density) == 0
    every_pixel = np.argwhere(uniform)[:, ::-1]
    assert auc_judd(constant, fixations) == auc_judd(density, every_pixel) == 0.5
    assert similarity(constant, density) == pytest.approx(similarity(uniform, density))
    assert kld(constant, density) == pytest.approx(kld(uniform, density))


ONES = np.ones((9, 13))


BROKEN = {
    "saliency_map": [
        (np.nan * ONES, "saliency_map holds NaN"),
        (np.inf * ONES, "saliency_map holds NaN or infinite"),
        (-ONES, "saliency_map holds negative"),
        (np.ones(13), "saliency_map must be one map HxW"),
        (np.ones((0, 13)), "saliency_map must be one map HxW"),
        (ONES.astype(complex), "saliency_map must hold real numbers"),
    ],
    "density": [
        (np.nan * ONES, "density holds NaN"),
        (-ONES, "density holds negative"),
        (0 * ONES, "density is zero everywhere"),
        (ONES.T, r"saliency_map is \(9, 13\) and density \(13, 9\)"),
    ],
    "fixations": [
        (np.empty((0, 2)), "none of the 0 lies inside the 13x9 frame"),
        (np.array([[13, 0], [0, 9]]), "none of the 2 lies inside"),
        (np.array([[np.nan, 0]]), "fixations hold NaN"),
        (np.ones((4, 3)), r"fixations must be Nx2 \(x, y\)"),
        (np.ones((2, 4, 2)), r"fixations must be Nx2 \(x, y\)"),
    ],
}


@over(READS)
def test_a_broken_map_or_truth_is_an_error_that_names_it(metric):
    maps = [(broken, case_of(metric, 0)[1], words) for broken, words in BROKEN["saliency_map"]]
    truths = [(ONES, broken, words) for broken, words in BROKEN[READS[metric]]]
    for saliency_map, truth, words in maps + truths:
        with pytest.raises(ValueError, match=words):
            metric(saliency_map, truth)
