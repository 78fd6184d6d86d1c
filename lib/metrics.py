"""How well a saliency map agrees with people: NSS (both conventions), SIM, CC, KLD, AUC-Judd.

Every metric takes one map HxW (finite, non-negative, on any scale) and a density HxW (not all zero)
or fixations (Nx2, x then y, pixels), and returns a float. Definitions follow the MIT/Tuebingen
benchmark (Z. Bylinskii et al., "What do different evaluation metrics tell us about saliency
models?", IEEE TPAMI 2019). For a constant map NSS and CC are 0 and AUC is 0.5, and SIM and KLD take
it for a uniform density. Anything else that has no value is a ValueError, never NaN.
"""

from collections.abc import Callable
from functools import cached_property

import numpy as np

from lib.maps import check_density, check_map, fixated_pixels, normalize_sum
from lib.records import Record
from lib.transforms import unit_range

KLD_EPSILON = 2.2204e-16  # of the MIT/Tuebingen benchmark: MATLAB's eps, as it is printed there


class Checked:
    """A map or density that was checked; what several metrics make of it is worked out once."""

    def __init__(self, values: np.ndarray, argument: str, check: Callable = check_map):
        self.values = check(values, argument)

    def __array__(self, *how: object, **options: object) -> np.ndarray:
        return np.array(self.values, *how, **options)

    @cached_property
    def standard(self) -> np.ndarray:
        """The map with mean 0 and standard deviation 1, float64; a constant map becomes 0."""
        # From 0 to 1 first: the squares of very small or very large values leave float64.
        unit = unit_range(self.values)
        return (unit - unit.mean()) / (unit.std() or 1)

    @cached_property
    def density(self) -> np.ndarray:
        """The map as a density, which sums to 1, float64."""
        return normalize_sum(self.values, np.float64)

    @cached_property
    def support(self) -> np.ndarray:
        """Where the map, stored with 8 bits (its peak at 255), is not 0."""
        return np.rint(255 * (self.values / self.values.max())) > 0


Map = np.ndarray | Checked


def nss(saliency_map: Map, fixations: np.ndarray) -> float:
    """NSS: the z-scored map, averaged over the fixations; 0 at chance, no upper bound.

    R. J. Peters, A. Iyer, L. Itti, C. Koch, Vision Research 2005: the usual, discrete NSS.
    """
    found = _checked(saliency_map)
    return float(found.standard[fixated_pixels(fixations, found.values.shape)].mean())


def nss_support(saliency_map: Map, density: Map) -> float:
    """NSS on the paper's scale: the z-scored map, averaged over the support of the density.

    The support is where the density, stored with 8 bits (its peak at 255), is not 0. It saturates:
    on OSIE the density itself scores about 0.5, below the centre prior.
    """
    found, people = _check_pair(saliency_map, density)
    return float((found.standard * people.support).sum() / people.support.sum())


def similarity(saliency_map: Map, density: Map) -> float:
    """SIM: the mass that the two densities share, 0 to 1 (histogram intersection)."""
    found, people = _check_pair(saliency_map, density)
    return float(np.minimum(found.density, people.density).sum())


def cc(saliency_map: Map, density: Map) -> float:
    """CC: Pearson's correlation of the map with the density over pixels, -1 to 1."""
    found, people = _check_pair(saliency_map, density)
    return float((found.standard * people.standard).mean())


def kld(saliency_map: Map, density: Map) -> float:
    """KLD: Kullback-Leibler divergence KL(density || map) in nats, 0 for a perfect map.

    With the benchmark's regularisation, sum of G log(eps + G / (S + eps)): a pixel that people look
    at and the map calls impossible costs a lot, but not infinity.
    """
    found, people = _check_pair(saliency_map, density)
    ratio = people.density / (found.density + KLD_EPSILON)
    return float((people.density * np.log(KLD_EPSILON + ratio)).sum())


def auc_judd(saliency_map: Map, fixations: np.ndarray) -> float:
    """AUC-Judd: area under the ROC curve of fixated against unfixated pixels, 0 to 1.

    T. Judd, K. Ehinger, F. Durand, A. Torralba, ICCV 2009. The exact area, without jitter: the
    chance that a fixated pixel is brighter than an unfixated one, ties counting half.
    """
    saliency_map = _checked(saliency_map).values
    pixels = fixated_pixels(fixations, saliency_map.shape)
    others = np.sort(np.delete(saliency_map, np.ravel_multi_index(pixels, saliency_map.shape)))
    if len(others) == 0:  # every pixel is fixated: there is nothing to tell
        return 0.5
    fixated = saliency_map[pixels]
    below, up_to = (others.searchsorted(fixated, side) for side in ("left", "right"))
    return float(((below + up_to) / 2).mean() / len(others))


def _checked(values: Map, argument: str = "saliency_map", check: Callable = check_map) -> Checked:
    return values if isinstance(values, Checked) else Checked(values, argument, check)


def _check_pair(saliency_map: Map, density: Map) -> tuple[Checked, Checked]:
    found, people = _checked(saliency_map), _checked(density, "density", check_density)
    if found.values.shape != people.values.shape:
        shapes = f"saliency_map is {found.values.shape} and density {people.values.shape}"
        raise ValueError(f"{shapes}; resize one of them")
    return found, people


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


def score_map(
    saliency_map: Map, record: Record, density: Checked | None = None
) -> dict[str, float]:
    """Return every metric of `METRICS` for one map; `density` is the record's, checked before."""
    people = {"fixations": record.fixations}
    people["density"] = density or Checked(record.density, "density", check_density)
    found = _checked(saliency_map)
    return {name: metric(found, people[what]) for name, (metric, what) in METRICS.items()}
