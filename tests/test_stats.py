"""Correlations, intervals and tests say what they should, and one summary serves all tables."""

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from lib.stats import (
    bootstrap_interval,
    holm,
    krcc,
    paired_test,
    plcc,
    resampled_test,
    srocc,
    summarize,
)
from tests.test_notebooks import functions


def test_srocc_and_krcc_see_only_order_and_plcc_sees_lines():
    a, b = [1, 2, 3, 4], [1, 2, 4, 3]
    assert srocc(np.exp(a), b) == srocc(a, b) == pytest.approx(0.8)
    assert krcc(np.exp(a), b) == krcc(a, b) == pytest.approx(4 / 6)
    assert plcc(a, [2, 4, 6, 8]) == pytest.approx(1) and plcc(np.exp(a), a) < 0.95


@pytest.mark.parametrize("correlation", [srocc, plcc, krcc], ids=lambda m: m.__name__)
def test_constant_scores_correlate_with_nothing(correlation):
    assert correlation([0.1, 0.1, 0.1], [1, 2, 3]) == correlation([1, 2], [0.1, 0.1]) == 0
    assert correlation(0.1 + 1e-17 * np.arange(9), np.arange(9)) == 0, "rounding is no order"


BROKEN = [
    ([1, 2, 3], [1, 2], "1-D and of one length"),
    ([[1, 2]], [[1, 2]], "1-D and of one length"),
    ([1], [1], "at least 2 images"),
    ([1, np.nan], [1, 2], "NaN"),
]


@pytest.mark.parametrize("function", [srocc, plcc, krcc, paired_test, resampled_test])
def test_broken_scores_are_an_error(function):
    for a, b, words in BROKEN:
        with pytest.raises(ValueError, match=words):
            function(a, b)


def test_bootstrap_interval_covers_as_often_as_it_says():
    draws = np.random.default_rng(1).normal(size=(300, 40))
    ends = np.array([bootstrap_interval(d, n_boot=300, seed=k) for k, d in enumerate(draws)])
    covered = np.mean((ends[:, 0] < 0) & (ends[:, 1] > 0))
    assert covered == pytest.approx(0.95, abs=0.038)  # three standard errors of 300 trials


def test_bootstrap_interval_resamples_pairs_together():
    a = np.random.default_rng(2).normal(size=50)
    assert bootstrap_interval((a, a), n_boot=100, statistic=plcc) == pytest.approx((1, 1))


def test_seed_decides_the_interval_and_equal_values_have_a_point():
    values = np.random.default_rng(4).normal(size=30)
    assert bootstrap_interval(values, seed=1) == bootstrap_interval(values, seed=1)
    assert bootstrap_interval(values, seed=1) != bootstrap_interval(values, seed=2)
    assert bootstrap_interval(np.full(5, 0.25)) == (0.25, 0.25)


def test_paired_test_finds_a_small_difference_under_large_spread():
    rng = np.random.default_rng(5)
    hard_to_predict = rng.normal(0, 5, 60)
    a = hard_to_predict + rng.normal(0.3, 0.2, 60)
    result = paired_test(a, hard_to_predict)
    assert 0.2 < result.low < result.difference < result.high < 0.4
    assert result.p_value == scipy.stats.wilcoxon(a - hard_to_predict).pvalue < 1e-6
    assert scipy.stats.mannwhitneyu(a, hard_to_predict).pvalue > 0.3  # pairing is what finds it
    back = paired_test(hard_to_predict, a)  # swapped, only signs change
    assert (back.difference, back.effect_size) == (-result.difference, -result.effect_size)
    assert (back.p_value, back.n) == (result.p_value, 60)


ZERO = np.zeros(5)


def test_resampled_test_is_the_t_test_without_overlap_and_less_sure_with_shared_training_images():
    values = np.array([0.3, -0.1, 0.4, 0.2, 0.1])
    free, shared = resampled_test(values, ZERO, test_to_train=0), resampled_test(values, ZERO)
    theirs = scipy.stats.ttest_1samp(values, 0)
    assert free.p_value == pytest.approx(theirs.pvalue)
    assert (free.low, free.high) == pytest.approx(tuple(theirs.confidence_interval(0.95)))
    assert shared.difference == free.difference and shared.p_value > free.p_value
    # Nadeau and Bengio: the standard error grows by sqrt(1 + J n_test / n_train).
    grown = (shared.high - shared.difference) / (free.high - free.difference)
    assert grown == pytest.approx(np.sqrt(1 + 5 / 4))
    assert (resampled_test(ZERO, ZERO).p_value, resampled_test(ZERO + 1, ZERO).p_value) == (1, 0)


def test_resampled_test_is_level_where_a_plain_t_test_is_not():
    """Means over random halves of noise: no difference, yet a plain test finds many."""
    rng, none = np.random.default_rng(0), np.zeros(10)
    found = {"plain": 0, "corrected": 0}
    for _ in range(200):
        noise = rng.normal(size=50)
        means = np.array([rng.permutation(noise)[:10].mean() for _ in range(10)])
        found["plain"] += resampled_test(means, none, test_to_train=0).p_value < 0.05
        found["corrected"] += resampled_test(means, none, test_to_train=10 / 40).p_value < 0.05
    assert found["corrected"] / 200 < 0.1 < found["plain"] / 200


def test_holm_is_the_step_down_correction():
    assert holm([0.01, 0.04, 0.03, 0.5]) == pytest.approx([0.04, 0.09, 0.09, 0.5])


def tidy(**values):
    """A table of one metric: method to its values by unit."""
    rows = [(m, "CC", unit, v) for m, found in values.items() for unit, v in enumerate(found)]
    return pd.DataFrame(rows, columns=["method", "metric", "unit", "value"])


def test_summary_holds_mean_interval_and_paired_test_or_of_repeats_deviation_and_corrected_test():
    a, b = np.random.default_rng(0).normal(size=(2, 12))
    found = summarize(tidy(ours=a, prior=b), against="prior").set_index("method")
    low, high = bootstrap_interval(a)
    test = paired_test(a, b)
    row = found.loc["ours"]
    assert (row.value, row.low, row.high, row.n) == (a.mean(), low, high, 12)
    assert (row.difference, row.p_value) == (test.difference, test.p_value)
    assert found.loc["prior", ["difference", "p_value"]].isna().all()
    found = summarize(tidy(ours=a, base=b), against="base", test=resampled_test)
    row = found.set_index("method").loc["ours"]
    assert row["std"] == pytest.approx(a.std(ddof=1)) and "low" not in found
    assert row.p_value == resampled_test(a, b).p_value


def test_a_method_that_lacks_units_is_compared_on_those_it_has_and_one_unit_has_no_spread():
    table = tidy(ours=[1.0, 2.0, 3.0], prior=[0.0, 0.5, 1.0, 7.0], single=[4.0])
    found = summarize(table, against="prior").set_index("method")
    assert found.loc["ours", "difference"] == pytest.approx(1.5) and found.loc["ours", "n"] == 3
    assert found.loc["single", "value"] == 4 and np.isnan(found.loc["single", "low"])


@pytest.mark.parametrize(
    ("shift", "word", "verdict"),
    [(1.0, "better", "beats it"), (-1.0, "worse", "loses"), (0.0, "tie", "cannot tell")],
)
def test_verdict_follows_the_corrected_test_and_the_direction_of_the_metric(shift, word, verdict):
    noise = np.random.default_rng(2).normal(0, 0.1, (2, 30))
    summary = summarize(tidy(ours=noise[0] + shift, prior=noise[1]), against="prior")
    verdicts = functions("01", "").verdicts
    (row,) = verdicts(summary.assign(stage="one")).to_dict("records")
    assert (row["CC"], row["verdict"]) == (word, verdict)
    (turned,) = verdicts(summary.assign(stage="one", metric="KLD")).to_dict("records")
    assert turned["KLD"] == {"better": "worse", "worse": "better", "tie": "tie"}[word]
