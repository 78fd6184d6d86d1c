"""Saliency maps: scales, densities, centre priors, a classical model, the transforms of [45].

A map is HxW, finite and non-negative; the functions take batches BxHxW too and treat each map of a
batch by itself. A *density* is a map that sums to 1.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.fft
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter, uniform_filter
from skimage.color import rgb2gray
from skimage.transform import resize

FRAME = (-2, -1)  # the axes of height and width, with or without a batch axis before them


def check_maps(maps: np.ndarray, argument: str) -> np.ndarray:
    """Return maps as an array, or say what is wrong with them.

    Parameters
    ----------
    maps : array
        HxW or BxHxW real numbers.
    argument : str
        The name that the caller's user knows it by.

    Raises
    ------
    ValueError
        If it has no pixels, another number of axes, or values that are not real, finite and
        non-negative.
    """
    maps = np.asarray(maps)
    if maps.ndim not in (2, 3) or maps.size == 0:
        raise ValueError(f"{argument} must be HxW or BxHxW with pixels in it, not {maps.shape}")
    if maps.dtype.kind not in "buif":
        raise ValueError(f"{argument} must hold real numbers, not {maps.dtype}")
    if not np.isfinite(maps).all():
        raise ValueError(f"{argument} holds NaN or infinite values; mend what made them")
    if maps.min() < 0:
        raise ValueError(f"{argument} holds negative values; clip or shift them first")
    return maps


def check_densities(densities: np.ndarray, argument: str) -> np.ndarray:
    """Return densities as an array, or say what is wrong with them.

    Raises
    ------
    ValueError
        As `check_maps`, and if a density is zero everywhere.
    """
    densities = check_maps(densities, argument)
    if (densities.max(axis=FRAME) == 0).any():
        raise ValueError(f"{argument} is zero everywhere in at least one image; leave it out")
    return densities


def normalize_max(maps: np.ndarray) -> np.ndarray:
    """Scale each map so that its largest value is 1 (float32); an all-zero map stays zero."""
    return _over_peak(check_maps(maps, "maps")).astype(np.float32)


def normalize_sum(maps: np.ndarray) -> np.ndarray:
    """Scale each map so that it sums to 1 (float32); an all-zero map becomes uniform."""
    return to_density(check_maps(maps, "maps")).astype(np.float32)


def to_density(maps: np.ndarray) -> np.ndarray:
    """Do as `normalize_sum` does, in float64 and for maps already checked."""
    scaled = _over_peak(maps)
    total = scaled.sum(axis=FRAME, keepdims=True)
    height, width = scaled.shape[-2:]
    return np.where(total > 0, scaled / np.where(total > 0, total, 1), 1 / (height * width))


def _over_peak(maps: np.ndarray) -> np.ndarray:
    """Divide by the largest value, in float64: no later sum or square can over- or underflow."""
    maps = np.asarray(maps, np.float64)
    peak = maps.max(axis=FRAME, keepdims=True)
    return maps / np.where(peak > 0, peak, 1)


def _to_unit_range(maps: np.ndarray) -> np.ndarray:
    """Map each map's smallest value to 0 and its largest to 1, float64; constant maps to 0."""
    maps = np.asarray(maps, np.float64)
    low = maps.min(axis=FRAME, keepdims=True)
    extent = maps.max(axis=FRAME, keepdims=True) - low
    return (maps - low) / np.where(extent > 0, extent, 1)


def fixated_pixels(fixations: np.ndarray, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows and columns of the pixels that fixations fall on.

    Parameters
    ----------
    fixations : array (N, 2)
        x, then y, in pixels; a fixation belongs to the pixel that its coordinates, rounded down,
        name. Those outside the frame are dropped.
    shape : tuple of int
        Height and width of the frame.

    Returns
    -------
    tuple of array (n,)
        Rows and columns, one entry a fixation: a pixel fixated twice stands there twice.

    Raises
    ------
    ValueError
        If `fixations` is not Nx2 and finite, or if none lies inside the frame.
    """
    fixations = np.asarray(fixations, np.float64)
    if fixations.size and (fixations.ndim != 2 or fixations.shape[1] != 2):
        raise ValueError(f"fixations must be Nx2 (x, y), not of shape {fixations.shape}")
    if not np.isfinite(fixations).all():
        raise ValueError("fixations hold NaN or infinite coordinates; drop those rows first")
    height, width = shape
    x, y = np.floor(fixations.reshape(-1, 2)).T
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    if not inside.any():
        raise ValueError(
            f"fixations: none of the {len(x)} lies inside the {width}x{height} frame; "
            "leave the image out, or check that they are (x, y) in pixels of this image"
        )
    return y[inside].astype(int), x[inside].astype(int)


def fixation_density(fixations: np.ndarray, shape: tuple[int, int], sigma: float) -> np.ndarray:
    """Turn fixations into a density: a Gaussian on each fixated pixel.

    The mass that a Gaussian puts outside the frame is not lost but spread in proportion over what
    is inside.

    Parameters
    ----------
    fixations : array (N, 2)
        x, then y, in pixels (see `fixated_pixels`).
    shape : tuple of int
        Height and width.
    sigma : float
        Standard deviation of the Gaussian, pixels; customarily one degree of visual angle.

    Returns
    -------
    array (H, W), float32
        Sums to 1.

    Raises
    ------
    ValueError
        If `sigma` is not positive, or no fixation lies inside the frame.
    """
    _check_sigma(sigma)
    rows, columns = fixated_pixels(fixations, shape)
    # The Gaussian is separable, so the sum over fixations is one matrix product, without the
    # truncation of a filter kernel.
    vertical = np.exp(-0.5 * ((np.arange(shape[0]) - rows[:, None]) / sigma) ** 2)  # (N, H)
    horizontal = np.exp(-0.5 * ((np.arange(shape[1]) - columns[:, None]) / sigma) ** 2)  # (N, W)
    return normalize_sum(vertical.T @ horizontal)


def blur(maps: np.ndarray, sigma: float) -> np.ndarray:
    """Blur maps with a Gaussian; the frame mirrors what is inside, so that the sum stays.

    Parameters
    ----------
    maps : array
        HxW or BxHxW.
    sigma : float
        Standard deviation, pixels.

    Raises
    ------
    ValueError
        If `sigma` is not positive.
    """
    _check_sigma(sigma)
    maps = np.asarray(check_maps(maps, "maps"), np.float32)
    return gaussian_filter(maps, sigma, mode="reflect", axes=FRAME)


def _check_sigma(sigma: float) -> None:
    if not (math.isfinite(sigma) and sigma > 0):
        raise ValueError(f"sigma must be a positive number of pixels, not {sigma}")


def resize_map(maps: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Resize maps: triangle filter over the area that a new pixel covers, bilinear where it grows.

    The filter's weights are non-negative and add to 1: no value leaves the range of the old ones.
    Sums change with the number of pixels; follow by `normalize_sum` for a density.

    Parameters
    ----------
    maps : array
        HxW or BxHxW.
    shape : tuple of int
        New height and width.

    Returns
    -------
    array, float32

    Raises
    ------
    ValueError
        If `shape` is not two positive numbers.
    """
    height, width = (int(side) for side in shape)
    if min(height, width) < 1:
        raise ValueError(f"shape must be (height, width), both at least 1, not {tuple(shape)}")
    maps = np.array(check_maps(maps, "maps"), np.float32)
    if maps.shape[-2:] == (height, width):
        return maps
    old = torch.from_numpy(maps.reshape(-1, 1, *maps.shape[-2:]))  # (B, 1, h, w)
    new = F.interpolate(old, size=(height, width), mode="bilinear", antialias=True)
    return new.numpy().reshape(*maps.shape[:-2], height, width)


def average_prior(densities: Sequence[np.ndarray]) -> np.ndarray:
    """Average densities over a data set: the centre prior without a formula.

    Parameters
    ----------
    densities : sequence of array (H, W)
        Of one shape (`resize_map` first where images differ); each counts the same.

    Returns
    -------
    array (H, W), float32
        Sums to 1.

    Raises
    ------
    ValueError
        If there is none, or shapes differ.
    """
    total = None
    for number, density in enumerate(densities):
        density = to_density(check_densities(density, f"densities[{number}]"))
        if total is not None and density.shape != total.shape:
            raise ValueError(
                f"densities[{number}] is {density.shape} and those before it {total.shape}; "
                "resize them to one shape"
            )
        total = density if total is None else total + density
    if total is None:
        raise ValueError("densities is empty: there is nothing to average")
    return normalize_sum(total)


@dataclass(frozen=True)
class GaussianPrior:
    """Axis-aligned Gaussian centre prior, the same for every image but for its size.

    Attributes
    ----------
    center_x, center_y : float
        Mean, as a share of width and of height (0.5 is the middle).
    sigma_x, sigma_y : float
        Standard deviations, as a share of width and of height.
    """

    center_x: float
    center_y: float
    sigma_x: float
    sigma_y: float

    @classmethod
    def fit(cls, densities: Sequence[np.ndarray]) -> "GaussianPrior":
        """Match the mean and variances of the average density.

        Parameters
        ----------
        densities : sequence of array (H, W)
            Of any shapes; each counts the same.

        Raises
        ------
        ValueError
            If there is none, or one is not a density.
        """
        moments = []  # of each density: E[x], E[y], E[x^2], E[y^2]
        for number, density in enumerate(densities):
            mass = to_density(check_densities(density, f"densities[{number}]"))
            if mass.ndim != 2:
                raise ValueError(f"densities[{number}] must be HxW, not {mass.shape}")
            mean, square = zip(*(_moments(mass.sum(axis)) for axis in (0, 1)), strict=True)
            moments.append(mean + square)
        if not moments:
            raise ValueError("densities is empty: there is nothing to fit")
        x, y, xx, yy = (float(moment) for moment in np.mean(moments, axis=0))
        return cls(x, y, math.sqrt(xx - x * x), math.sqrt(yy - y * y))

    def render(self, shape: tuple[int, int]) -> np.ndarray:
        """Draw the prior at a height and width: HxW float32 that sums to 1."""
        height, width = shape
        y = -0.5 * ((_pixel_centers(height) - self.center_y) / self.sigma_y) ** 2
        x = -0.5 * ((_pixel_centers(width) - self.center_x) / self.sigma_x) ** 2
        # Less the maximum: a prior far narrower than a pixel must not vanish between two of them.
        return normalize_sum(np.outer(np.exp(y - y.max()), np.exp(x - x.max())))


def _pixel_centers(count: int) -> np.ndarray:
    return (np.arange(count) + 0.5) / count


def _moments(profile: np.ndarray) -> tuple[float, float]:
    """First and second moment of a row of pixels that sums to 1, on the unit interval."""
    centers = _pixel_centers(len(profile))
    # 1/12 of a squared pixel: the variance inside a pixel, without which a single one has none.
    return profile @ centers, profile @ centers**2 + 1 / (12 * len(profile) ** 2)


def spectral_residual(image: np.ndarray) -> np.ndarray:
    """Predict saliency as what is unexpected in the spectrum: the classical, untrained row.

    X. Hou, L. Zhang, "Saliency detection: a spectral residual approach", CVPR 2007: on the gray
    image, 64 pixels wide, the log amplitude spectrum less its 3x3 mean is transformed back with
    the phase as it was, squared and blurred.

    Parameters
    ----------
    image : array (H, W, 3), uint8

    Returns
    -------
    array (H, W), float32
        Largest value 1; zero everywhere for an image of a single gray value.

    Raises
    ------
    ValueError
        If the image is not HxWx3 uint8.
    """
    image = np.asarray(image)
    if image.ndim != 3 or image.shape[2] != 3 or image.size == 0 or image.dtype != np.uint8:
        raise ValueError(f"image must be HxWx3 uint8, not {image.shape} {image.dtype}")
    height, width = image.shape[:2]
    gray = resize(rgb2gray(image), (max(1, round(64 * height / width)), 64), anti_aliasing=True)
    if np.ptp(gray) < 1e-6:  # below a thousandth of a gray level: the spectrum is rounding error
        return np.zeros((height, width), np.float32)
    spectrum = scipy.fft.fft2(gray)
    amplitude, phase = np.abs(spectrum), np.angle(spectrum)
    # Photographs lie far above this floor; drawings have exact zeros, whose logarithm is infinite.
    log_amplitude = np.log(amplitude + 1e-8 * amplitude.max())
    residual = log_amplitude - uniform_filter(log_amplitude, 3, mode="nearest")
    energy = np.abs(scipy.fft.ifft2(np.exp(residual + 1j * phase))) ** 2
    smooth = gaussian_filter(energy, 2.5, mode="nearest")  # sigma of the authors' code
    return normalize_max(resize_map(smooth, (height, width)))
