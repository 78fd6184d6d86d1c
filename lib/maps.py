"""Saliency maps: checks, scales, fixation densities, centre priors.

A map is HxW, finite and non-negative. A *density* is a map that sums to 1. `resize_map` and the
normalisations take batches BxHxW too and treat each map of a batch by itself.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F


def check_map(saliency_map: np.ndarray, argument: str, ndim: tuple[int, ...] = (2,)) -> np.ndarray:
    """Return a map as an array, or say what is wrong with the argument of that name."""
    found = np.asarray(saliency_map)
    if found.ndim not in ndim or found.size == 0:
        raise ValueError(f"{argument} must be one map HxW with pixels in it, not {found.shape}")
    if found.dtype.kind not in "buif":
        raise ValueError(f"{argument} must hold real numbers, not {found.dtype}")
    if not np.isfinite(found).all():
        raise ValueError(f"{argument} holds NaN or infinite values; mend what made them")
    if found.min() < 0:
        raise ValueError(f"{argument} holds negative values; clip or shift them first")
    return found


def check_density(density: np.ndarray, argument: str) -> np.ndarray:
    """Do as `check_map`, and refuse a density that is zero everywhere."""
    density = check_map(density, argument)
    if density.max() == 0:
        raise ValueError(f"{argument} is zero everywhere; leave the image out")
    return density


def normalize_sum(maps: np.ndarray, dtype: type = np.float32) -> np.ndarray:
    """Scale each map so that it sums to 1; an all-zero map becomes uniform."""
    scaled = over_peak(check_map(maps, "maps", (2, 3)))
    total = scaled.sum(axis=(-2, -1), keepdims=True)
    uniform = 1 / math.prod(scaled.shape[-2:])
    return np.where(total > 0, scaled / np.where(total > 0, total, 1), uniform).astype(dtype)


def over_peak(maps: np.ndarray) -> np.ndarray:
    """Divide by the largest value, in float64: no later sum or square can over- or underflow."""
    maps = np.asarray(maps, np.float64)
    peak = maps.max(axis=(-2, -1), keepdims=True)
    return maps / np.where(peak > 0, peak, 1)


def resize_map(maps: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Resize maps, float32: triangle filter over a new pixel's area, bilinear where it grows.

    No value leaves the range of the old ones. Sums change: `normalize_sum` a density afterwards.
    """
    maps = np.array(check_map(maps, "maps", (2, 3)), np.float32)
    if maps.shape[-2:] == tuple(shape):
        return maps
    old = torch.from_numpy(maps.reshape(-1, 1, *maps.shape[-2:]))  # (B, 1, h, w)
    new = F.interpolate(old, size=tuple(shape), mode="bilinear", antialias=True)
    return new.numpy().reshape(*maps.shape[:-2], *shape)


def fixated_pixels(fixations: np.ndarray, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the fixations (Nx2, x then y, rounded down) inside a frame of `shape`."""
    fixations = np.asarray(fixations, np.float64)
    if fixations.size and (fixations.ndim != 2 or fixations.shape[1] != 2):
        raise ValueError(f"fixations must be Nx2 (x, y), not of shape {fixations.shape}")
    if not np.isfinite(fixations).all():
        raise ValueError("fixations hold NaN or infinite coordinates; drop those rows first")
    height, width = shape
    x, y = np.floor(fixations.reshape(-1, 2)).T
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    if not inside.any():
        frame = f"the {width}x{height} frame; leave the image out, or check that they are (x, y)"
        raise ValueError(f"fixations: none of the {len(x)} lies inside {frame}")
    return y[inside].astype(int), x[inside].astype(int)


def fixation_density(fixations: np.ndarray, shape: tuple[int, int], sigma: float) -> np.ndarray:
    """Turn fixations into a density HxW: a Gaussian, `sigma` pixels wide, on each fixated pixel.

    Customarily sigma is one degree of visual angle. The mass that a Gaussian puts outside the frame
    is spread in proportion over what is inside.
    """
    if not 0 < sigma < math.inf:
        raise ValueError(f"sigma must be a positive number of pixels, not {sigma}")
    rows, columns = fixated_pixels(fixations, shape)
    # A Gaussian is separable: the sum over fixations is one matrix product, and none is truncated.
    vertical = np.exp(-0.5 * ((np.arange(shape[0]) - rows[:, None]) / sigma) ** 2)  # (N, H)
    horizontal = np.exp(-0.5 * ((np.arange(shape[1]) - columns[:, None]) / sigma) ** 2)  # (N, W)
    return normalize_sum(vertical.T @ horizontal)


@dataclass(frozen=True)
class GaussianPrior:
    """CenterPrior (III-A): the Gaussian that approximates the average density of a data set."""

    center_x: float  # mean, as a share of the width (0.5 is the middle)
    center_y: float  # and of the height
    sigma_x: float  # standard deviation, as a share of the width
    sigma_y: float  # and of the height

    @classmethod
    def fit(cls, densities: Iterable[np.ndarray]) -> "GaussianPrior":
        """Match mean and variances of the average of densities HxW; each counts the same."""
        moments = []  # of each density: E[x], E[x^2], E[y], E[y^2]
        for number, density in enumerate(densities):
            mass = normalize_sum(check_density(density, f"densities[{number}]"), np.float64)
            moments.append([*_moments(mass.sum(axis=0)), *_moments(mass.sum(axis=1))])
        if not moments:
            raise ValueError("densities is empty: there is nothing to fit")
        x, xx, y, yy = np.mean(moments, axis=0).tolist()
        return cls(x, y, math.sqrt(xx - x * x), math.sqrt(yy - y * y))

    def render(self, shape: tuple[int, int]) -> np.ndarray:
        """Draw the prior at a height and width, as a density HxW."""
        y, x = ((np.arange(count) + 0.5) / count for count in shape)  # centres of pixels
        y = -0.5 * ((y - self.center_y) / self.sigma_y) ** 2
        x = -0.5 * ((x - self.center_x) / self.sigma_x) ** 2
        # Less the maximum: a prior far narrower than a pixel must not vanish between two of them.
        return normalize_sum(np.outer(np.exp(y - y.max()), np.exp(x - x.max())))


def _moments(profile: np.ndarray) -> tuple[float, float]:
    """First and second moment of a row of pixels that sums to 1, on the unit interval."""
    centers = (np.arange(len(profile)) + 0.5) / len(profile)
    # 1/12 of a squared pixel: the variance inside a pixel, without which a single one has none.
    return profile @ centers, profile @ centers**2 + 1 / (12 * len(profile) ** 2)
