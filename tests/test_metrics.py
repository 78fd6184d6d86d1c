"""The metrics give the published definitions' numbers; elsewhere a defined answer or an error."""

import numpy as np
import pytest
import scipy.stats
from sklearn.metrics import roc_auc_score

from lib.metrics import (
    auc_judd,
    bootstrap_interval,
    cc,
    holm,
    kld,
    krcc,
    nss,
    nss_support,
    paired_test,
    plcc,
    resampled_test,
    similarity,
    srocc,
)

DENSITY_METRICS = [nss_support, similarity, cc, kld]
FIXATION_METRICS = [nss, auc_judd]
METRICS = DENSITY_METRICS + FIXATION_METRICS

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


# --- batches ----------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", METRICS, ids=lambda m: m.__name__)
def test_batch_gives_the_values_of_its_maps(metric):
    cases = [random_case(seed) for seed in range(4)]
    batch = np.stack([case[0] for case in cases])
    truths = [
        truth_for(metric, density, fixations[: 5 + k])  # each image has its number of fixations
        for k, (_, density, fixations) in enumerate(cases)
    ]
    each = [metric(saliency_map, truth) for saliency_map, truth in zip(batch, truths, strict=True)]
    own = metric(batch, truths if metric in FIXATION_METRICS else np.stack(truths))
    assert own.shape == (4,)
    assert own.dtype == np.float64
    np.testing.assert_allclose(own, each, rtol=1e-12)
    shared = metric(batch, truths[0])
    np.testing.assert_allclose(shared, [metric(m, truths[0]) for m in batch], rtol=1e-12)
    assert isinstance(each[0], float)


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


def test_constant_map_leaves_the_others_of_its_batch_alone():
    saliency_map, density, fixations = random_case(9)
    batch = np.stack([np.zeros_like(saliency_map), saliency_map])
    for metric in METRICS:
        truth = truth_for(metric, density, fixations)
        assert metric(batch, truth)[1] == pytest.approx(metric(saliency_map, truth), rel=1e-12)


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
        (np.ones(13), "saliency_map must be HxW or BxHxW"),
        (np.ones((0, 13)), "saliency_map must be HxW or BxHxW"),
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
        (np.ones((2, 9, 13)), "resize one of them"),
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
        ([np.ones((4, 2)), np.ones((4, 2))], "2 arrays for 1 maps"),
    ],
)
def test_broken_fixations_are_an_error_that_names_them(metric, broken, words):
    with pytest.raises(ValueError, match=words):
        metric(np.ones((9, 13)), broken)


# --- scores of images -------------------------------------------------------------------------


def test_correlations_by_hand():
    a, b = [1, 2, 3, 4], [1, 2, 4, 3]
    assert srocc(a, b) == pytest.approx(0.8)
    assert krcc(a, b) == pytest.approx(4 / 6)
    assert plcc(a, [2, 4, 6, 8]) == pytest.approx(1)


@pytest.mark.parametrize("seed", range(3))
def test_srocc_and_krcc_see_only_order(seed):
    a, b = np.random.default_rng(seed).normal(size=(2, 30))
    assert srocc(np.exp(a), b) == pytest.approx(srocc(a, b))
    assert krcc(np.exp(a), b) == pytest.approx(krcc(a, b))
    assert plcc(np.exp(a), b) != pytest.approx(plcc(a, b))


@pytest.mark.parametrize("correlation", [srocc, plcc, krcc], ids=lambda m: m.__name__)
def test_constant_scores_correlate_with_nothing(correlation):
    assert correlation([0.1, 0.1, 0.1], [1, 2, 3]) == 0
    assert correlation([1, 2, 3], [0.1, 0.1, 0.1]) == 0


@pytest.mark.parametrize("function", [srocc, plcc, krcc, paired_test], ids=lambda m: m.__name__)
@pytest.mark.parametrize(
    ("a", "b", "words"),
    [
        ([1, 2, 3], [1, 2], "1-D and of one length"),
        ([[1, 2]], [[1, 2]], "1-D and of one length"),
        ([1], [1], "at least 2 images"),
        ([1, np.nan], [1, 2], "NaN"),
    ],
)
def test_broken_scores_are_an_error(function, a, b, words):
    with pytest.raises(ValueError, match=words):
        function(a, b)


def test_bootstrap_interval_of_a_mean_is_about_two_standard_errors():
    values = np.random.default_rng(0).normal(3, 2, 400)
    low, high = bootstrap_interval(values)
    error = values.std(ddof=1) / 20
    assert low == pytest.approx(values.mean() - 1.96 * error, abs=0.2 * error)
    assert high == pytest.approx(values.mean() + 1.96 * error, abs=0.2 * error)


def test_bootstrap_interval_covers_as_often_as_it_says():
    draws = np.random.default_rng(1).normal(size=(300, 40))
    ends = np.array(
        [bootstrap_interval(d, n_boot=300, level=0.8, seed=k) for k, d in enumerate(draws)]
    )
    covered = np.mean((ends[:, 0] < 0) & (ends[:, 1] > 0))
    assert covered == pytest.approx(0.8, abs=0.07)  # three standard errors of 300 trials


def test_bootstrap_interval_resamples_pairs_together():
    a = np.random.default_rng(2).normal(size=50)
    assert bootstrap_interval((a, a), n_boot=100, statistic=plcc) == pytest.approx((1, 1))


def test_bootstrap_interval_is_wider_for_a_higher_level_and_is_a_point_for_equal_values():
    values = np.random.default_rng(3).normal(size=30)
    low, high = bootstrap_interval(values, level=0.5)
    lower, higher = bootstrap_interval(values, level=0.99)
    assert lower < low < high < higher
    assert bootstrap_interval(np.full(5, 0.25)) == (0.25, 0.25)


def test_seed_decides_the_interval():
    values = np.random.default_rng(4).normal(size=30)
    assert bootstrap_interval(values, seed=1) == bootstrap_interval(values, seed=1)
    assert bootstrap_interval(values, seed=1) != bootstrap_interval(values, seed=2)


def test_bootstrap_of_a_single_value_is_an_error():
    with pytest.raises(ValueError, match="at least 2"):
        bootstrap_interval(np.array([1.0]))


def test_paired_test_finds_a_small_difference_under_large_spread():
    rng = np.random.default_rng(5)
    hard_to_predict = rng.normal(0, 5, 60)
    a = hard_to_predict + rng.normal(0.3, 0.2, 60)
    result = paired_test(a, hard_to_predict)
    assert 0.2 < result.low < result.mean_difference < result.high < 0.4
    assert result.p_value == scipy.stats.wilcoxon(a - hard_to_predict).pvalue < 1e-6
    assert scipy.stats.mannwhitneyu(a, hard_to_predict).pvalue > 0.3  # pairing is what finds it
    assert result.n == 60


def test_paired_test_swapped_changes_only_signs():
    a, b = np.random.default_rng(6).normal(size=(2, 25))
    there, back = paired_test(a, b), paired_test(b, a)
    assert back.mean_difference == pytest.approx(-there.mean_difference)
    assert back.effect_size == pytest.approx(-there.effect_size)
    assert back.p_value == pytest.approx(there.p_value)


def test_effect_size_by_hand():
    # differences 1, 2, -3, 0: ranks 1 + 2 for, 3 against, the tie left out
    assert paired_test([2, 3, 0, 5], [1, 1, 3, 5]).effect_size == 0
    assert paired_test([2, 3, 4], [1, 1, 1]).effect_size == 1


def test_methods_that_never_differ_have_p_one():
    result = paired_test([1, 2, 3], [1, 2, 3])
    assert (result.mean_difference, result.p_value, result.effect_size) == (0, 1, 0)


def test_resampled_test_without_overlap_is_the_usual_t_test():
    values = np.array([0.3, -0.1, 0.4, 0.2, 0.1])
    ours = resampled_test(values, test_to_train=0)
    theirs = scipy.stats.ttest_1samp(values, 0)
    interval = theirs.confidence_interval(0.95)
    assert ours.p_value == pytest.approx(theirs.pvalue)
    assert (ours.low, ours.high) == pytest.approx((interval.low, interval.high))


def test_shared_training_images_make_the_resampled_test_less_sure():
    values = np.array([0.3, -0.1, 0.4, 0.2, 0.1])
    free, shared = resampled_test(values, 0), resampled_test(values)
    assert shared.mean == free.mean and shared.p_value > free.p_value
    # Nadeau and Bengio: the standard error grows by sqrt(1 + J n_test / n_train).
    grown = (shared.high - shared.mean) / (free.high - free.mean)
    assert grown == pytest.approx(np.sqrt(1 + 5 / 4))


def test_resampled_test_of_equal_differences_and_of_too_few():
    assert resampled_test(np.zeros(3)).p_value == 1
    assert resampled_test(np.ones(3)).p_value == 0
    with pytest.raises(ValueError, match="at least 2"):
        resampled_test(np.ones(1))


def test_resampled_test_is_level_where_a_plain_t_test_is_not():
    """Means over random halves of noise: no difference, yet a plain test finds many."""
    rng = np.random.default_rng(0)
    found = {"plain": 0, "corrected": 0}
    for _ in range(200):
        noise = rng.normal(size=50)
        means = np.array([rng.permutation(noise)[:10].mean() for _ in range(10)])
        found["plain"] += resampled_test(means, 0).p_value < 0.05
        found["corrected"] += resampled_test(means, 10 / 40).p_value < 0.05
    assert found["corrected"] / 200 < 0.1 < found["plain"] / 200


def test_holm_is_the_step_down_correction():
    p = [0.01, 0.04, 0.03, 0.5]
    assert holm(p) == pytest.approx([0.04, 0.09, 0.09, 0.5])
