"""How well a saliency map agrees with people, how well scores agree, and how sure that is.

Every saliency metric takes one map HxW and returns a float, or a batch BxHxW and returns (B,)
float64: one value an image; averages and intervals are the caller's. Definitions follow the
MIT/Tuebingen benchmark, as reviewed by Z. Bylinskii, T. Judd, A. Oliva, A. Torralba, F. Durand,
"What do different evaluation metrics tell us about saliency models?", IEEE TPAMI 2019.

Arguments that every metric shares
    `saliency_map`: the prediction, HxW or BxHxW, finite and non-negative, on any scale.
    `density`: HxW for all maps, or BxHxW; finite, non-negative, not all zero; any sum.
    `fixations`: Nx2 (x, y) pixels for all maps, or a list of B such arrays. Rounded down to the
    pixel; those outside the frame are dropped; a pixel fixated twice counts twice.

Maps that say nothing have defined values: for a constant map NSS and CC are 0 and AUC is 0.5, and
SIM and KLD take it, all-zero or not, for a uniform density. Anything else that has no value is a
ValueError that names the argument, never NaN.
"""

from collections.abc import Sequence

import numpy as np

from lib.maps import FRAME, check_densities, check_maps, fixated_pixels, to_density
from lib.records import Record

KLD_EPSILON = 2.2204e-16  # of the MIT/Tuebingen benchmark: MATLAB's eps, as it is printed there


def nss(
    saliency_map: np.ndarray, fixations: np.ndarray | Sequence[np.ndarray]
) -> float | np.ndarray:
    """NSS, normalized scanpath saliency: the z-scored map, averaged over the fixations.

    R. J. Peters, A. Iyer, L. Itti, C. Koch, "Components of bottom-up gaze allocation in natural
    images", Vision Research, 2005. The usual, discrete NSS: 0 at chance, no upper bound.

    Raises
    ------
    ValueError
        If an image has no fixation inside the frame.
    """
    maps = check_maps(saliency_map, "saliency_map")
    number, rows, columns = _fixated_pixels(fixations, maps)
    at_fixations = _standardize(maps).reshape(-1, *maps.shape[-2:])[number, rows, columns]
    values = np.bincount(number, at_fixations) / np.bincount(number)
    return values if maps.ndim == 3 else float(values[0])


def nss_support(saliency_map: np.ndarray, density: np.ndarray) -> float | np.ndarray:
    """NSS on the paper's scale: the z-scored map, averaged over the support of the density.

    The support is where the density, stored with 8 bits (its peak at 255), is not 0. It ignores
    how often a pixel was looked at, so it saturates: on OSIE the density itself scores about 0.5,
    below the centre prior.
    """
    maps, density = _check_pair(saliency_map, density)
    support = np.rint(255 * (density / density.max(axis=FRAME, keepdims=True))) > 0
    inside = np.sum(_standardize(maps) * support, axis=FRAME)
    return _per_image(inside / support.sum(axis=FRAME))


def similarity(saliency_map: np.ndarray, density: np.ndarray) -> float | np.ndarray:
    """SIM: the mass that the two densities share, 0 to 1 (histogram intersection)."""
    maps, density = _check_pair(saliency_map, density)
    return _per_image(np.minimum(to_density(maps), to_density(density)).sum(axis=FRAME))


def cc(saliency_map: np.ndarray, density: np.ndarray) -> float | np.ndarray:
    """CC: Pearson's correlation of the map with the density over pixels, -1 to 1."""
    maps, density = _check_pair(saliency_map, density)
    return _per_image((_standardize(maps) * _standardize(density)).mean(axis=FRAME))


def kld(saliency_map: np.ndarray, density: np.ndarray) -> float | np.ndarray:
    """KLD: Kullback-Leibler divergence KL(density || map) in nats, 0 for a perfect map.

    With the benchmark's regularisation, sum of G log(eps + G / (S + eps)), eps = 2.2204e-16: a
    pixel that people look at and the map calls impossible costs a lot, but not infinity. Its price
    is a value off by up to eps for each pixel.
    """
    maps, density = _check_pair(saliency_map, density)
    predicted, true = to_density(maps), to_density(density)
    ratio = KLD_EPSILON + true / (predicted + KLD_EPSILON)
    return _per_image((true * np.log(ratio)).sum(axis=FRAME))


def auc_judd(
    saliency_map: np.ndarray, fixations: np.ndarray | Sequence[np.ndarray]
) -> float | np.ndarray:
    """AUC-Judd: area under the ROC curve of fixated against unfixated pixels, 0 to 1.

    T. Judd, K. Ehinger, F. Durand, A. Torralba, "Learning to predict where humans look", ICCV
    2009. Thresholds are the fixated values; the curve is taken just above and just at each, and
    joined by trapezoids. That is the exact area (the chance that a fixated pixel is brighter than
    an unfixated one, ties counting half), with no jitter and nothing random. Joining only one
    point a threshold, as the original code does, adds up to 1 / (2 N) for N fixations, and more
    where values are tied. Where every pixel is fixated there is nothing to tell apart: 0.5.

    Raises
    ------
    ValueError
        If an image has no fixation inside the frame.
    """
    maps = check_maps(saliency_map, "saliency_map")
    number, rows, columns = _fixated_pixels(fixations, maps)
    pixels = rows * maps.shape[-1] + columns
    flat = maps.reshape(-1, maps.shape[-2] * maps.shape[-1])  # (B, H W)
    # NumPy searches one sorted list at a time, so this is the one loop over images here.
    values = np.array([_auc(values, pixels[number == b]) for b, values in enumerate(flat)])
    return values if maps.ndim == 3 else float(values[0])


def _auc(values: np.ndarray, fixated: np.ndarray) -> float:
    """AUC-Judd of one map, given as its pixels and the indices of the fixated ones."""
    distinct = np.unique(fixated)
    unfixated_count = len(values) - len(distinct)
    if unfixated_count == 0:
        return 0.5
    thresholds = values[fixated]
    below = _count_below(values, thresholds) - _count_below(values[distinct], thresholds)
    return float(below.mean() / unfixated_count)


def _count_below(values: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Count for each threshold the values below it, and half of those equal to it."""
    ordered = np.sort(values)
    strictly = np.searchsorted(ordered, thresholds, side="left")
    return (strictly + np.searchsorted(ordered, thresholds, side="right")) / 2


def _standardize(maps: np.ndarray) -> np.ndarray:
    """Give each map mean 0 and standard deviation 1 (float64); a constant map becomes 0."""
    maps = maps.astype(np.float64)
    low, peak = maps.min(axis=FRAME, keepdims=True), maps.max(axis=FRAME, keepdims=True)
    constant = low == peak  # exact, where a computed deviation would be rounding error
    # From 0 to 1 first: the squares of very small or very large values leave float64.
    unit = (maps - low) / np.where(constant, 1, peak - low)
    deviation = unit.std(axis=FRAME, keepdims=True)
    return (unit - unit.mean(axis=FRAME, keepdims=True)) / np.where(constant, 1, deviation)


def _check_pair(saliency_map: np.ndarray, density: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    maps, density = check_maps(saliency_map, "saliency_map"), check_densities(density, "density")
    if density.shape not in (maps.shape, maps.shape[-2:]):
        raise ValueError(
            f"saliency_map is {maps.shape} and density {density.shape}; resize one of them"
        )
    return maps, density


def _fixated_pixels(
    fixations: np.ndarray | Sequence[np.ndarray], maps: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the map number, row and column of every fixation inside the frame."""
    count = len(maps) if maps.ndim == 3 else 1
    one_each = isinstance(fixations, list | tuple) and any(np.ndim(f) == 2 for f in fixations)
    each = list(fixations) if one_each else [fixations] * count
    if len(each) != count:
        raise ValueError(f"fixations holds {len(each)} arrays for {count} maps; give one a map")
    found = [fixated_pixels(f, maps.shape[-2:]) for f in each]
    number = np.repeat(np.arange(count), [len(rows) for rows, _ in found])
    rows, columns = (np.concatenate(part) for part in zip(*found, strict=True))
    return number, rows, columns


def _per_image(values: np.ndarray) -> float | np.ndarray:
    return values if np.ndim(values) else float(values)


METRICS = ("NSS", "NSS-paper", "SIM", "CC", "KLD", "AUC-Judd")
LOWER_IS_BETTER = ("KLD",)


def score_map(saliency_map: np.ndarray, record: Record) -> dict[str, float]:
    """Return every metric of `METRICS` for one map."""
    return {
        "NSS": nss(saliency_map, record.fixations),
        "NSS-paper": nss_support(saliency_map, record.density),
        "SIM": similarity(saliency_map, record.density),
        "CC": cc(saliency_map, record.density),
        "KLD": kld(saliency_map, record.density),
        "AUC-Judd": auc_judd(saliency_map, record.fixations),
    }
