"""The metrics give the published definitions' numbers; elsewhere a defined answer or an error."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from lib import metrics
from lib.metrics import auc_judd, cc, kld, nss, nss_support, similarity
from lib.records import Record

# Every statement below holds for whatever is registered.
METRICS = [function for function, _ in metrics.METRICS.values()]
FIXATION_METRICS = [f for f, reads in metrics.METRICS.values() if reads == "fixations"]
DENSITY_METRICS = [f for f, reads in metrics.METRICS.values() if reads == "density"]

Y, X = np.mgrid[:12, :16]
# Integer arithmetic: the same arrays for ever, ties and zeros included.
GOLDEN_PAIRS = [
    ((7 * X * X + 11 * Y * Y + 3 * X * Y) % 23, (5 * X + 3 * Y * Y) % 17),
    ((13 * X + 5 * Y * Y) % 19, ((X - 8) ** 2 + (Y - 6) ** 2) % 29),
]
FIXATIONS = np.array([[3, 2], [8, 5], [8, 6], [15, 11], [0, 0], [11, 9], [3, 2]], float)
# pysaliency 0.2.22: metrics.NSS (mean), metrics.SIM, metrics.CC, metrics.MIT_KLDiv(map, density),
# and SaliencyMapModel.AUC(nonfixations="unfixated") = AUC_per_image(thresholds="all").
GOLDEN_VALUES = [
    {
        nss: -0.2504705316442651,
        similarity: 0.7031942392909896,
        cc: 0.014986455302601084,
        kld: 1.742077161163004,
        auc_judd: 0.44508448540706597,
    },
    {
        nss: -0.5535828506863003,
        similarity: 0.6509168970044066,
        cc: 0.07557411211412404,
        kld: 1.5814253376708662,
        auc_judd: 0.33640552995391704,
    },
]


def random_case(seed, shape=(9, 13)):
    """A map, a density and fixations on distinct pixels, the map with ties."""
    rng = np.random.default_rng(seed)
    saliency_map = rng.integers(0, 20, shape).astype(np.float32)
    pixels = rng.choice(shape[0] * shape[1], 12, replace=False)
    fixations = np.column_stack([pixels % shape[1], pixels // shape[1]]) + rng.random((12, 2))
    return saliency_map, rng.random(shape) ** 3, fixations


def truth_for(metric, density, fixations):
    return fixations if metric in FIXATION_METRICS else density


# --- values -----------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", [nss, similarity, cc, kld, auc_judd], ids=lambda m: m.__name__)
@pytest.mark.parametrize("case", range(2))
def test_values_are_those_of_pysaliency(metric, case):
    saliency_map, density = GOLDEN_PAIRS[case]
    value = metric(saliency_map, truth_for(metric, density, FIXATIONS))
    assert value == pytest.approx(GOLDEN_VALUES[case][metric], rel=1e-11)


@pytest.mark.parametrize("seed", range(5))
def test_auc_is_scikit_learns_where_fixated_pixels_are_distinct(seed):
    saliency_map, _, fixations = random_case(seed)
    fixated = np.zeros(saliency_map.shape, int)
    columns, rows = fixations.astype(int).T
    fixated[rows, columns] = 1
    expected = roc_auc_score(fixated.ravel(), saliency_map.ravel())
    assert auc_judd(saliency_map, fixations) == pytest.approx(expected, rel=1e-12)


def test_nss_by_hand():
    # mean 1, deviation 1: the fixated pixels are at +1, +1 and -1
    assert nss(np.array([[0, 2], [2, 0]]), [[1, 0], [0, 1], [0, 0]]) == pytest.approx(1 / 3)


def test_nss_support_by_hand():
    # The mass at (0, 1) is less than half of 1/255 of the peak: 8 bits store it as 0.
    saliency_map = np.array([[2, 0], [2, 0]])
    assert nss_support(saliency_map, np.array([[255, 0.49], [0, 0]])) == pytest.approx(1)
    assert nss_support(saliency_map, np.array([[255, 0.51], [0, 0]])) == pytest.approx(0)


def test_nss_support_saturates_where_nss_does_not():
    density = np.exp(-((X - 8) ** 2 + (Y - 6) ** 2) / 8.0)
    wide = np.exp(-((X - 8) ** 2 + (Y - 6) ** 2) / 40.0)
    assert nss(density, [[8, 6]]) > nss(wide, [[8, 6]])
    assert nss_support(density, density) < nss_support(wide, density)


def test_similarity_by_hand():
    # (1/2, 1/2, 0, 0) and (1/4, 1/4, 1/4, 1/4) share a half
    assert similarity(np.array([[3, 3], [0, 0]]), np.ones((2, 2))) == pytest.approx(0.5)


def test_cc_by_hand():
    assert cc(np.array([[1, 2, 3]]), np.array([[1, 3, 2]])) == pytest.approx(0.5)


def test_kld_by_hand_in_nats():
    true, predicted = np.array([[3.0, 1.0]]), np.array([[1.0, 1.0]])
    expected = 0.75 * np.log(0.75 / 0.5) + 0.25 * np.log(0.25 / 0.5)
    assert kld(predicted, true) == pytest.approx(expected)
    assert kld(true, predicted) != pytest.approx(expected)  # it is the truth that weighs


def test_kld_of_an_impossible_fixation_is_large_and_finite():
    value = kld(np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]]))
    assert value == pytest.approx(-np.log(2.2204e-16))


def test_auc_by_hand():
    # fixated 3 and 1 against 0, 1, 2: 3 wins 3; 1 wins 1 and ties 1
    saliency_map = np.array([[3, 1, 0, 1, 2]])
    assert auc_judd(saliency_map, [[0, 0], [1, 0]]) == pytest.approx((3 + 1.5) / 6)


def test_perfect_prediction_is_perfect():
    density = random_case(0)[1]
    assert cc(density, density) == pytest.approx(1)
    assert similarity(density, density) == pytest.approx(1)
    assert kld(density, density) == pytest.approx(0, abs=1e-12)


def test_inverted_prediction_has_the_opposite_sign():
    saliency_map, density, fixations = random_case(1)
    inverted = saliency_map.max() - saliency_map
    assert cc(inverted, density) == pytest.approx(-cc(saliency_map, density))
    assert nss(inverted, fixations) == pytest.approx(-nss(saliency_map, fixations))
    assert auc_judd(inverted, fixations) == pytest.approx(1 - auc_judd(saliency_map, fixations))


# --- invariances ------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", METRICS, ids=lambda m: m.__name__)
@pytest.mark.parametrize("factor", [1e-310, 1e-12, 7.0, 1e200])
def test_scale_of_the_map_does_not_matter(metric, factor):
    saliency_map, density, fixations = random_case(2)
    truth = truth_for(metric, density, fixations)
    scaled = saliency_map.astype(float) * factor
    assert metric(scaled, truth) == pytest.approx(metric(saliency_map, truth), rel=1e-9)


@pytest.mark.parametrize("metric", [nss, nss_support, cc], ids=lambda m: m.__name__)
def test_offset_of_the_map_does_not_matter_to_z_scores(metric):
    saliency_map, density, fixations = random_case(3)
    truth = truth_for(metric, density, fixations)
    shifted = 0.3 * saliency_map.astype(float) + 100
    assert metric(shifted, truth) == pytest.approx(metric(saliency_map, truth), rel=1e-9)


def test_increasing_change_of_brightness_does_not_matter_to_auc():
    saliency_map, _, fixations = random_case(4)
    assert auc_judd(np.exp(saliency_map / 5), fixations) == auc_judd(saliency_map, fixations)


@pytest.mark.parametrize("metric", [similarity, cc], ids=lambda m: m.__name__)
def test_metric_is_symmetric(metric):
    saliency_map, density, _ = random_case(5)
    assert metric(saliency_map, density) == pytest.approx(metric(density, saliency_map))


@pytest.mark.parametrize("seed", range(5))
def test_kld_is_zero_only_for_equal_densities(seed):
    saliency_map, density, _ = random_case(seed)
    assert kld(saliency_map, density) > 0.1
    assert kld(3 * density, density) == pytest.approx(0, abs=1e-12)


def test_pixel_fixated_twice_counts_twice():
    saliency_map = np.array([[0, 1, 2, 3]])
    once, twice = [[3, 0], [1, 0]], [[3, 0], [3, 0], [1, 0]]
    assert nss(saliency_map, twice) > nss(saliency_map, once)
    assert auc_judd(saliency_map, twice) > auc_judd(saliency_map, once)


def test_fixations_are_rounded_down_and_dropped_outside_the_frame():
    saliency_map = random_case(6)[0]  # 9 rows, 13 columns
    inside = np.array([[12, 8], [0, 0]], float)
    messy = [[12.9, 8.99], [0.4, 0.0], [13.0, 4], [5, 9.0], [-0.1, 3], [4, -1]]
    assert nss(saliency_map, messy) == nss(saliency_map, inside)
    assert auc_judd(saliency_map, messy) == auc_judd(saliency_map, inside)


def test_fixations_are_x_then_y():
    saliency_map = np.zeros((3, 5))
    saliency_map[1, 4] = 1
    assert auc_judd(saliency_map, [[4, 1]]) == 1


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.uint8])
@pytest.mark.parametrize("metric", METRICS, ids=lambda m: m.__name__)
def test_type_of_the_map_does_not_matter(metric, dtype):
    saliency_map, density, fixations = random_case(7)
    truth = truth_for(metric, density, fixations)
    value = metric(saliency_map.astype(dtype), truth)
    assert value == pytest.approx(metric(saliency_map.astype(float), truth), rel=1e-12)


# --- maps that say nothing, and errors --------------------------------------------------------


@pytest.mark.parametrize("value", [0.0, 0.1, 3e7])
def test_constant_map_has_defined_values(value):
    _, density, fixations = random_case(8, (30, 41))
    constant = np.full((30, 41), value, np.float32)
    uniform = np.ones((30, 41))
    assert nss(constant, fixations) == 0
    assert nss_support(constant, density) == 0
    assert cc(constant, density) == 0
    assert auc_judd(constant, fixations) == 0.5
    assert similarity(constant, density) == pytest.approx(similarity(uniform, density))
    assert kld(constant, density) == pytest.approx(kld(uniform, density))


def test_single_pixel_has_defined_values():
    pixel, fixation = np.array([[5.0]]), [[0.5, 0.5]]
    values = [nss(pixel, fixation), auc_judd(pixel, fixation), similarity(pixel, pixel)]
    assert values == [0, 0.5, 1]
    assert [nss_support(pixel, pixel), cc(pixel, pixel)] == [0, 0]
    assert kld(pixel, pixel) == pytest.approx(0, abs=1e-12)


def test_auc_where_every_pixel_is_fixated_is_one_half():
    assert auc_judd(np.array([[1, 2]]), [[0, 0], [1, 0]]) == 0.5


@pytest.mark.parametrize("metric", METRICS, ids=lambda m: m.__name__)
@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (np.full((9, 13), np.nan), "saliency_map holds NaN"),
        (np.full((9, 13), np.inf), "saliency_map holds NaN or infinite"),
        (np.full((9, 13), -1.0), "saliency_map holds negative"),
        (np.ones(13), "saliency_map must be one map HxW"),
        (np.ones((0, 13)), "saliency_map must be one map HxW"),
        (np.ones((9, 13), complex), "saliency_map must hold real numbers"),
    ],
)
def test_broken_map_is_an_error_that_names_it(metric, broken, words):
    _, density, fixations = random_case(0)
    with pytest.raises(ValueError, match=words):
        metric(broken, truth_for(metric, density, fixations))


@pytest.mark.parametrize("metric", DENSITY_METRICS, ids=lambda m: m.__name__)
@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (np.full((9, 13), np.nan), "density holds NaN"),
        (np.full((9, 13), -1.0), "density holds negative"),
        (np.zeros((9, 13)), "density is zero everywhere"),
        (np.ones((13, 9)), r"saliency_map is \(9, 13\) and density \(13, 9\)"),
    ],
)
def test_broken_density_is_an_error_that_names_it(metric, broken, words):
    with pytest.raises(ValueError, match=words):
        metric(np.ones((9, 13)), broken)


@pytest.mark.parametrize("metric", FIXATION_METRICS, ids=lambda m: m.__name__)
@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (np.empty((0, 2)), "none of the 0 lies inside the 13x9 frame"),
        (np.array([[13, 0], [0, 9]]), "none of the 2 lies inside"),
        (np.array([[np.nan, 0]]), "fixations hold NaN"),
        (np.ones((4, 3)), r"fixations must be Nx2 \(x, y\)"),
        (np.ones((2, 4, 2)), r"fixations must be Nx2 \(x, y\)"),
    ],
)
def test_broken_fixations_are_an_error_that_names_them(metric, broken, words):
    with pytest.raises(ValueError, match=words):
        metric(np.ones((9, 13)), broken)


def test_all_metrics_of_a_record_stand_under_their_names():
    saliency_map, density, fixations = random_case(3)
    found = metrics.score_map(saliency_map, Record("a", None, fixations, density))
    assert list(found) == list(metrics.METRICS) and set(metrics.LOWER_IS_BETTER) <= set(found)
    assert found["CC"] == cc(saliency_map, density) and found["NSS"] == nss(saliency_map, fixations)
