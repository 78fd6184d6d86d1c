"""How well scores agree, how sure that is, and the one summary behind Tables I, II and III.

Everything measured is one tidy table: method, metric, unit, value (and stage, where there is more
than one). A *unit* is what was drawn at random: an image, a repeat, a sequence. `summarize` turns
it into means with intervals and paired differences.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import scipy.stats


def srocc(a: np.ndarray, b: np.ndarray) -> float:
    """SROCC: Spearman's rank correlation of two lists of scores; 0 if one of them is constant."""
    return _correlation(scipy.stats.spearmanr, a, b)


def plcc(a: np.ndarray, b: np.ndarray) -> float:
    """PLCC: Pearson's linear correlation of two lists of scores; 0 if one of them is constant."""
    return _correlation(scipy.stats.pearsonr, a, b)


def krcc(a: np.ndarray, b: np.ndarray) -> float:
    """KRCC: Kendall's tau-b of two lists of scores; 0 if one of them is constant."""
    return _correlation(scipy.stats.kendalltau, a, b)


def grouped(coefficient: Callable, a: Sequence, b: Sequence, groups: Sequence) -> float:
    """Mean of a correlation over groups: KRCC-dagger is `krcc` within each bitrate (III-D)."""
    a, b, groups = (np.asarray(values) for values in (a, b, groups))
    return float(np.mean([coefficient(a[groups == g], b[groups == g]) for g in pd.unique(groups)]))


def _correlation(coefficient: Callable, a: np.ndarray, b: np.ndarray) -> float:
    a, b = _check_scores(a, b)
    # A list that is constant (but for rounding) orders nothing; SciPy would answer NaN, or noise.
    constant = any(np.ptp(scores) <= 1e-13 * np.abs(scores).max() for scores in (a, b))
    return 0.0 if constant else float(coefficient(a, b).statistic)


def _check_scores(*samples: np.ndarray) -> list[np.ndarray]:
    samples = [np.asarray(sample, np.float64) for sample in samples]
    shapes = [sample.shape for sample in samples]
    if samples[0].ndim != 1 or len(set(shapes)) != 1:
        raise ValueError(f"scores must be 1-D and of one length, not of shapes {shapes}")
    if len(samples[0]) < 2:
        raise ValueError(f"scores of at least 2 images are needed, not {len(samples[0])}")
    if not (np.abs(samples) < 1e150).all():  # or squares overflow; NaN is not below either
        raise ValueError("scores hold NaN or infinite values; mend what made them")
    return samples


def bootstrap_interval(
    values: np.ndarray | tuple, n_boot: int = 2000, seed: int = 0, statistic: Callable = np.mean
) -> tuple[float, float]:
    """95 % percentile bootstrap interval of a statistic over units (Efron and Tibshirani 1993).

    `values`: one a unit, (n,), or a tuple of arrays, resampled together, for `srocc` and the like.
    """
    samples = _check_scores(*(values if isinstance(values, tuple) else (values,)))
    # The batch bounds the memory; the resamples do not depend on it.
    options = {"method": "percentile", "n_resamples": n_boot, "batch": 256, "paired": True}
    interval = scipy.stats.bootstrap(samples, statistic, rng=seed, **options).confidence_interval
    return float(interval.low), float(interval.high)


@dataclass(frozen=True)
class Difference:
    """A mean paired difference, its 95 % interval, and the test of its being zero."""

    difference: float
    low: float
    high: float
    p_value: float  # two-sided
    n: int  # units
    effect_size: float = np.nan  # matched-pairs rank-biserial correlation, -1 to 1


def paired_test(a: np.ndarray, b: np.ndarray, seed: int = 0) -> Difference:
    """Compare two methods by their values on the same units: Wilcoxon's signed-rank test.

    The interval of the mean difference a - b is by bootstrap. The effect size is the share of the
    rank sum that speaks for a, less the share that speaks for b.
    """
    a, b = _check_scores(a, b)
    difference = a - b
    low, high = bootstrap_interval(difference, seed=seed)
    p_value, effect_size = 1.0, 0.0  # of methods that never differ
    changed = difference[difference != 0]
    if len(changed):
        p_value = float(scipy.stats.wilcoxon(difference).pvalue)
        ranks = scipy.stats.rankdata(np.abs(changed))
        effect_size = float((np.sign(changed) * ranks).sum() / ranks.sum())
    return Difference(float(difference.mean()), low, high, p_value, len(a), effect_size)


def resampled_test(
    a: np.ndarray, b: np.ndarray, seed: int = 0, test_to_train: float | None = None
) -> Difference:
    """Compare two methods over repeated splits of one data set: the corrected resampled t-test.

    Splits share most of their training images, so a plain t-test is too sure of itself. C. Nadeau,
    Y. Bengio, Machine Learning 52, 2003: the variance of the mean is s^2 (1/J + n_test/n_train),
    the last 1 / (J - 1) by default, as in cross-validation by J folds. Nothing is drawn by `seed`.
    """
    a, b = _check_scores(a, b)
    values, count = a - b, len(a)
    ratio = 1 / (count - 1) if test_to_train is None else test_to_train
    mean, error = float(values.mean()), np.sqrt(values.var(ddof=1) * (1 / count + ratio))
    if error == 0:
        return Difference(mean, mean, mean, float(mean == 0), count)
    reach = float(scipy.stats.t.ppf(0.975, count - 1) * error)
    p_value = float(2 * scipy.stats.t.sf(abs(mean) / error, count - 1))
    return Difference(mean, mean - reach, mean + reach, p_value, count)


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Correct a family of p-values for their number (S. Holm's step-down procedure, 1979)."""
    p_values = np.asarray(p_values, np.float64)
    order = np.argsort(p_values, kind="stable")
    stepped = p_values[order] * np.arange(len(p_values), 0, -1)
    return np.minimum(np.maximum.accumulate(stepped), 1.0)[np.argsort(order)]


def summarize(
    table: pd.DataFrame,
    against: str | None = None,
    test: Callable = paired_test,
    seed: int = 0,
    **options: object,
) -> pd.DataFrame:
    """Average over units, with intervals, and compare each method with one of them, `against`.

    The table holds method, metric, unit, value, and stage where there is one; a method may lack
    units. Returns stage, method, metric, value, then low and high (a bootstrap interval) or, with
    `resampled_test`, std over the repeats, n, and with `against` difference, difference_low,
    difference_high, p_value by `test` and its options. A single unit has no spread: NaN.
    """
    keys = [k for k in ("stage", "metric") if k in table]
    rows = []
    for (*stage, metric), block in table.groupby(keys, sort=False):
        values = block.pivot(index="unit", columns="method", values="value")
        for method in block.method.drop_duplicates():
            ours = values[method].dropna().to_numpy()
            row = dict(zip(keys[:-1], stage, strict=True)) | {"method": method, "metric": metric}
            row["value"] = ours.mean()
            if test is resampled_test:
                row["std"] = ours.std(ddof=1) if len(ours) > 1 else np.nan
            else:
                ends = bootstrap_interval(ours, seed=seed) if len(ours) > 1 else (np.nan, np.nan)
                row["low"], row["high"] = ends
            row["n"] = len(ours)
            both = values[[method, against]].dropna() if against not in (None, method) else []
            if len(both) > 1:
                gap = test(both[method].to_numpy(), both[against].to_numpy(), seed, **options)
                row |= {"difference": gap.difference, "difference_low": gap.low}
                row |= {"difference_high": gap.high, "p_value": gap.p_value}
            rows.append(row)
    return pd.DataFrame(rows)
