"""How well a saliency map agrees with people: NSS (both conventions), SIM, CC, KLD, AUC-Judd.

Every metric takes one map HxW (finite, non-negative, on any scale) and a density HxW (not all zero)
or fixations (Nx2, x then y, pixels), and returns a float. Definitions follow the MIT/Tuebingen
benchmark (Z. Bylinskii et al., "What do different evaluation metrics tell us about saliency
models?", IEEE TPAMI 2019). For a constant map NSS and CC are 0 and AUC is 0.5, and SIM and KLD take
it for a uniform density. Anything else that has no value is a ValueError, never NaN.
"""

import numpy as np

from lib.maps import check_density, check_map, fixated_pixels, normalize_sum
from lib.records import Record
from lib.transforms import unit_range

KLD_EPSILON = 2.2204e-16  # of the MIT/Tuebingen benchmark: MATLAB's eps, as it is printed there


def nss(saliency_map: np.ndarray, fixations: np.ndarray) -> float:
    """NSS: the z-scored map, averaged over the fixations; 0 at chance, no upper bound.

    R. J. Peters, A. Iyer, L. Itti, C. Koch, Vision Research 2005: the usual, discrete NSS.
    """
    saliency_map = check_map(saliency_map, "saliency_map")
    return float(_standardize(saliency_map)[fixated_pixels(fixations, saliency_map.shape)].mean())


def nss_support(saliency_map: np.ndarray, density: np.ndarray) -> float:
    """NSS on the paper's scale: the z-scored map, averaged over the support of the density.

    The support is where the density, stored with 8 bits (its peak at 255), is not 0. It saturates:
    on OSIE the density itself scores about 0.5, below the centre prior.
    """
    saliency_map, density = _check_pair(saliency_map, density)
    support = np.rint(255 * (density / density.max())) > 0
    return float((_standardize(saliency_map) * support).sum() / support.sum())


def similarity(saliency_map: np.ndarray, density: np.ndarray) -> float:
    """SIM: the mass that the two densities share, 0 to 1 (histogram intersection)."""
    pair = _check_pair(saliency_map, density)
    return float(np.minimum(*(normalize_sum(each, np.float64) for each in pair)).sum())


def cc(saliency_map: np.ndarray, density: np.ndarray) -> float:
    """CC: Pearson's correlation of the map with the density over pixels, -1 to 1."""
    saliency_map, density = _check_pair(saliency_map, density)
    return float((_standardize(saliency_map) * _standardize(density)).mean())


def kld(saliency_map: np.ndarray, density: np.ndarray) -> float:
    """KLD: Kullback-Leibler divergence KL(density || map) in nats, 0 for a perfect map.

    With the benchmark's regularisation, sum of G log(eps + G / (S + eps)): a pixel that people look
    at and the map calls impossible costs a lot, but not infinity.
    """
    pair = _check_pair(saliency_map, density)
    predicted, true = (normalize_sum(each, np.float64) for each in pair)
    return float((true * np.log(KLD_EPSILON + true / (predicted + KLD_EPSILON))).sum())


def auc_judd(saliency_map: np.ndarray, fixations: np.ndarray) -> float:
    """AUC-Judd: area under the ROC curve of fixated against unfixated pixels, 0 to 1.

    T. Judd, K. Ehinger, F. Durand, A. Torralba, ICCV 2009. The exact area, without jitter: the
    chance that a fixated pixel is brighter than an unfixated one, ties counting half.
    """
    saliency_map = check_map(saliency_map, "saliency_map")
    rows, columns = fixated_pixels(fixations, saliency_map.shape)
    unfixated = np.ones(saliency_map.shape, bool)
    unfixated[rows, columns] = False
    others = np.sort(saliency_map[unfixated])
    if len(others) == 0:  # every pixel is fixated: there is nothing to tell
        return 0.5
    fixated = saliency_map[rows, columns]
    below, up_to = (others.searchsorted(fixated, side) for side in ("left", "right"))
    return float(((below + up_to) / 2).mean() / len(others))


def _standardize(values: np.ndarray) -> np.ndarray:
    """Give a map mean 0 and standard deviation 1 (float64); a constant map becomes 0."""
    # From 0 to 1 first: the squares of very small or very large values leave float64.
    unit = unit_range(values)
    return (unit - unit.mean()) / (unit.std() or 1)


def _check_pair(saliency_map: np.ndarray, density: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    found = check_map(saliency_map, "saliency_map"), check_density(density, "density")
    if found[0].shape != found[1].shape:
        shapes = f"saliency_map is {found[0].shape} and density {found[1].shape}"
        raise ValueError(f"{shapes}; resize one of them")
    return found


# name, as in Table I -> the metric, and what of a record it reads; in the order of the tables
METRICS = {
    "NSS": (nss, "fixations"),
    "NSS-paper": (nss_support, "density"),
    "SIM": (similarity, "density"),
    "CC": (cc, "density"),
    "KLD": (kld, "density"),
    "AUC-Judd": (auc_judd, "fixations"),
}
LOWER_IS_BETTER = ("KLD",)


def score_map(saliency_map: np.ndarray, record: Record) -> dict[str, float]:
    """Return every metric of `METRICS` for one map."""
    return {name: f(saliency_map, getattr(record, what)) for name, (f, what) in METRICS.items()}
