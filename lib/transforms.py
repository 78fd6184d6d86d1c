"""The map transforms of [45]: brightness correction and blending with the centre prior.

Models differ in how bright they draw what is a little salient and in how much centre bias they
hold; neither says whether they know *where* people look. So before a map S is judged it becomes
f(S) + w C, where C is the centre prior, w is at least 0 and f is non-negative and never decreases:
the f and w, one pair for the whole data set, that come nearest to the human densities of training
images. A metric of the result is invariant to any increasing change of brightness, and to a centre
bias up to that of people. [45] is V. Lyudvichenko, M. Erofeev, Y. Gitman, D. Vatolin, ICCP 2017.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_triangular
from scipy.optimize import nnls

from lib.maps import check_density, check_map, over_peak, resize_map

KNOTS = 16  # of f, at most (equal quantiles are merged)
Maps = Sequence[np.ndarray]


@dataclass(frozen=True, eq=False)
class MapTransform:
    """f(S) + w C, fitted; f is linear between the knots."""

    knots: np.ndarray  # (K,) brightness of the map, 0 to 1
    values: np.ndarray  # (K,) f at the knots, in units of the density's peak
    center_weight: float  # w, in the same units

    @classmethod
    def fit(cls, maps: Maps, densities: Maps, centers: Maps, stride: int = 4) -> "MapTransform":
        """Minimise the mean squared error of f(S) + w C against the density G over all images.

        S goes from 0 to 1 in each image, C and G (image by image too, each HxW) have peak 1, and
        every `stride`-th row and column is used. f is a non-negative constant plus ramps with
        non-negative heights, so f and w together are one non-negative least squares problem; its
        normal equations are summed image by image, and each image counts the same.
        """
        maps = [check_map(m, f"maps[{number}]") for number, m in enumerate(maps)]
        corners, gram, moment = _knots(maps), 0.0, 0.0
        triples = zip(maps, densities, centers, strict=True)
        for number, (found, density, center) in enumerate(triples):
            density = check_density(density, f"densities[{number}]")
            shapes = found.shape, density.shape, np.shape(center)
            if len(set(shapes)) > 1:
                which = f"maps[{number}], its density and centre prior"
                raise ValueError(f"{which} are {shapes}; resize them to one size")
            scaled = unit_range(found), over_peak(density), over_peak(center)
            S, G, C = (each[::stride, ::stride].ravel() for each in scaled)
            design = np.column_stack([np.ones_like(S), ramps(S, corners), C])  # (pixels, K+1)
            gram = gram + design.T @ design / len(design)
            moment = moment + design.T @ G / len(design)
        # Least x' gram x - 2 moment' x over x >= 0: with gram = L L', solve L' x = L^-1 moment. The
        # ridge, as columns may be alike or empty: the map is the centre prior, all are constant.
        ridge = 1e-10 * np.trace(gram) / len(gram)
        lower = np.linalg.cholesky(gram + ridge * np.eye(len(gram)))
        solution, _ = nnls(lower.T, solve_triangular(lower, moment, lower=True))
        constant, *heights, weight = solution
        values = constant + np.concatenate([[0.0], np.cumsum(heights)])
        return cls(corners, values, float(weight))

    def apply(self, saliency_map: np.ndarray, center: np.ndarray) -> np.ndarray:
        """Transform a map HxW of any image to f(S) + w C, float32 (1 is about a density's peak)."""
        saliency_map = check_map(saliency_map, "saliency_map")
        center = over_peak(resize_map(center, saliency_map.shape))
        corrected = np.interp(unit_range(saliency_map), self.knots, self.values)
        return (corrected + self.center_weight * center).astype(np.float32)


def unit_range(saliency_map: np.ndarray) -> np.ndarray:
    """Map the smallest value to 0 and the largest to 1, float64; a constant map to 0."""
    shifted = np.asarray(saliency_map, np.float64) - np.min(saliency_map).astype(np.float64)
    return shifted / (shifted.max() or 1)


def ramps(brightness: np.ndarray, knots: np.ndarray) -> np.ndarray:
    """Return for each pair of neighbouring knots the ramp from 0 at the lower to 1 at the upper."""
    return np.clip((brightness[:, None] - knots[:-1]) / np.diff(knots), 0, 1)


def _knots(maps: list[np.ndarray]) -> np.ndarray:
    """Choose knots at quantiles of brightness: they move with any increasing change of it."""
    steps = [max(1, math.isqrt(m.size // 1000)) for m in maps]  # a thousand pixels each will do
    pooled = [unit_range(m)[::step, ::step].ravel() for m, step in zip(maps, steps, strict=True)]
    levels = 1 - (1 - np.linspace(0, 1, KNOTS)[1:-1]) ** 2  # dense where the few salient pixels are
    inner = np.quantile(np.concatenate(pooled), levels, method="lower")
    return np.unique(np.concatenate([[0.0], inner, [1.0]]))
