"""The map transforms of [45]: brightness correction and blending with the centre prior."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_triangular
from scipy.optimize import nnls

from lib.maps import _over_peak, _to_unit_range, check_densities, check_maps, resize_map


@dataclass(frozen=True, eq=False)
class MapTransform:
    """The map transforms of [45]: brightness correction and blending with the centre prior.

    V. Lyudvichenko, M. Erofeev, Y. Gitman, D. Vatolin, "A semi-automatic saliency model and its
    application to video compression", ICCP 2017. Models differ in how bright they draw what is a
    little salient and in how much centre bias they hold; neither says whether they know *where*
    people look. So before a map S is judged it becomes f(S) + w C, where C is the centre prior, w
    is at least 0 and f is non-negative and never decreases: the f and w, one pair for the whole
    data set, that come nearest to the human densities of training images. A metric of the result
    is therefore a measure of quality that is invariant to both: to any increasing change of
    brightness, and to a centre bias up to that of people (w adds what a map lacks; what it has too
    much it keeps).

    Attributes
    ----------
    knots : array (K,)
        Brightness of the map, 0 to 1, between whose values f is linear.
    values : array (K,)
        f at the knots, in units of the density's peak.
    center_weight : float
        w, in the same units.
    center_prior : array (H, W)
        C; the mean of those fitted with.
    """

    knots: np.ndarray
    values: np.ndarray
    center_weight: float
    center_prior: np.ndarray

    @classmethod
    def fit(
        cls,
        maps: Sequence[np.ndarray],
        densities: Sequence[np.ndarray],
        center_prior: np.ndarray | Sequence[np.ndarray],
        knots: int = 16,
        stride: int = 4,
    ) -> "MapTransform":
        """Minimise the mean squared error of f(S) + w C against the density G over all images.

        S goes from 0 to 1 in each image, C and G have peak 1. f is a non-negative constant plus
        ramps with non-negative heights, so f and w together are one non-negative least squares
        problem; its normal equations are summed image by image, and each image counts the same.
        The span holds every a S + b with a and b at least 0. The knots are quantiles of the
        training maps, dense at the top where the few salient pixels are: they move with any
        increasing change of brightness. Maps that are all constant leave only C and a constant.

        Parameters
        ----------
        maps, densities : sequence of array (H, W)
            Of the same images; sizes may differ between images.
        center_prior : array (H, W), or sequence of array (H, W)
            C for all images (resized to each), or one for each image.
        knots : int
            Number of knots of f at most (equal quantiles are merged).
        stride : int
            Every `stride`-th row and column is used; 1 uses all pixels.

        Raises
        ------
        ValueError
            If there is no image, the lists do not go together, or a map or density is broken.
        """
        if knots < 2 or stride < 1:
            raise ValueError(f"knots must be at least 2 and stride 1, not {knots} and {stride}")
        if len(maps) == 0:
            raise ValueError("maps is empty: a transform needs at least one training image")
        shared = isinstance(center_prior, np.ndarray) and center_prior.ndim == 2
        centers = [center_prior] * len(maps) if shared else center_prior
        if not len(maps) == len(densities) == len(centers):
            raise ValueError(
                f"maps, densities and center_prior must go together image by image: there are "
                f"{len(maps)}, {len(densities)} and {len(centers)}"
            )
        corners = _knots(maps, knots)
        gram, moment, mean_center = 0.0, 0.0, 0.0
        for number, (saliency_map, density) in enumerate(zip(maps, densities, strict=True)):
            saliency_map = _check_single(saliency_map, f"maps[{number}]")
            density = check_densities(density, f"densities[{number}]")
            if density.shape != saliency_map.shape:
                raise ValueError(
                    f"maps[{number}] is {saliency_map.shape} and densities[{number}] "
                    f"{density.shape}; resize one of them"
                )
            center = resize_map(_check_single(centers[number], "center_prior"), saliency_map.shape)
            sample = (slice(None, None, stride), slice(None, None, stride))
            brightness = _to_unit_range(saliency_map)[sample].ravel()
            design = np.column_stack(
                [
                    np.ones_like(brightness),
                    _ramps(brightness, corners),
                    _over_peak(center)[sample].ravel(),
                ]
            )  # (pixels, K + 1)
            gram = gram + design.T @ design / len(design)
            moment = moment + design.T @ _over_peak(density)[sample].ravel() / len(design)
            mean_center = mean_center + resize_map(center, np.shape(centers[0]))
        constant, *heights, weight = _nonnegative_solution(gram, moment)
        values = constant + np.concatenate([[0.0], np.cumsum(heights)])
        return cls(corners, values, float(weight), mean_center / len(maps))

    def apply(self, saliency_map: np.ndarray, center_prior: np.ndarray | None = None) -> np.ndarray:
        """Transform maps of any images: f(S) + w C.

        Parameters
        ----------
        saliency_map : array
            HxW or BxHxW.
        center_prior : array (H, W), optional
            C for this size; by default the one fitted with, resized.

        Returns
        -------
        array, float32
            Of the same shape; non-negative, 1 about the peak of a density.
        """
        saliency_map = check_maps(saliency_map, "saliency_map")
        center = _check_single(
            self.center_prior if center_prior is None else center_prior, "center_prior"
        )
        center = _over_peak(resize_map(center, saliency_map.shape[-2:]))
        corrected = np.interp(_to_unit_range(saliency_map), self.knots, self.values)
        return (corrected + self.center_weight * center).astype(np.float32)

    def curve(self) -> tuple[np.ndarray, np.ndarray]:
        """Return f as a polyline: brightness of the map, corrected brightness."""
        return self.knots.copy(), self.values.copy()


def _check_single(saliency_map: np.ndarray, argument: str) -> np.ndarray:
    saliency_map = check_maps(saliency_map, argument)
    if saliency_map.ndim != 2:
        raise ValueError(f"{argument} must be one map HxW, not of shape {saliency_map.shape}")
    return saliency_map


def _knots(maps: Sequence[np.ndarray], count: int) -> np.ndarray:
    """Choose knots at quantiles of the brightness of about a thousand pixels of each map."""
    pooled = []
    for number, saliency_map in enumerate(maps):
        saliency_map = _check_single(saliency_map, f"maps[{number}]")
        step = max(1, math.isqrt(saliency_map.size // 1000))
        pooled.append(_to_unit_range(saliency_map)[::step, ::step].ravel())
    levels = 1 - (1 - np.linspace(0, 1, count)[1:-1]) ** 2
    inner = np.quantile(np.concatenate(pooled), levels, method="lower")
    return np.unique(np.concatenate([[0.0], inner, [1.0]]))


def _ramps(brightness: np.ndarray, knots: np.ndarray) -> np.ndarray:
    """Return for each pair of neighbouring knots the ramp from 0 at the lower to 1 at the upper."""
    return np.clip((brightness[:, None] - knots[:-1]) / np.diff(knots), 0, 1)


def _nonnegative_solution(gram: np.ndarray, moment: np.ndarray) -> np.ndarray:
    """Minimise x' gram x - 2 moment' x over x >= 0.

    With gram = L L', that is the least squares problem L' x = L^-1 moment. The ridge keeps L where
    columns are alike or empty (the map is the centre prior, all maps are constant).
    """
    ridge = 1e-10 * np.trace(gram) / len(gram)
    lower = np.linalg.cholesky(gram + ridge * np.eye(len(gram)))
    solution, _ = nnls(lower.T, solve_triangular(lower, moment, lower=True))
    return solution
