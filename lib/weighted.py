"""EW-PSNR and EW-SSIM [9] (Section III-D): metrics whose pixels count by saliency.

The mean over pixels of an error map or an SSIM map is weighted by the saliency map, normalised to
sum 1. With a constant map they are PSNR and SSIM again. Constants and windows are pyiqa's [50].
"""

from functools import lru_cache

import numpy as np
import torch
from pyiqa.archs import func_util, ssim_arch

from lib.models.backbones import best_device
from lib.report import require


def pixels(images: np.ndarray) -> torch.Tensor:
    """Turn BxHxWx3 uint8 into what pyiqa's metrics take: Bx3xHxW float32 in [0, 1]."""
    channels_first = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    return torch.from_numpy(channels_first).to(best_device()).float() / 255


def weighted_mean(maps: torch.Tensor, saliency: np.ndarray) -> torch.Tensor:
    """Mean over pixels, BxCxHxW to BxC, weighted by a saliency map HxW."""
    good = saliency.min() >= 0 and 0 < saliency.sum() < np.inf
    require(good, "saliency must be finite, >= 0, and not zero wherever the metric looks")
    weights = torch.from_numpy(saliency.astype(np.float64)).to(maps.device)
    return (maps * (weights / weights.sum())).sum(dim=(-2, -1))


def ew_psnr(images: np.ndarray, reference: np.ndarray, saliency: np.ndarray) -> torch.Tensor:
    """EW-PSNR [9]: PSNR with the squared error of RGB averaged by saliency; dB."""
    error = (pixels(images) - pixels(reference[None])).double().square()
    return -10 * torch.log10(weighted_mean(error, saliency).mean(dim=1) + 1e-8)  # pyiqa's 1e-8


def ssim(images: np.ndarray, reference: np.ndarray, saliency: np.ndarray | None) -> torch.Tensor:
    """EW-SSIM [9]: the SSIM map of luma, 5 pixels inside the frame, likewise; SSIM without one."""
    found = _ssim_map(images.tobytes(), reference.tobytes(), images.shape)
    if saliency is None:
        return found.mean(dim=(1, 2, 3))
    return weighted_mean(found, saliency[5:-5, 5:-5]).squeeze(1)


@lru_cache(maxsize=1)
def _ssim_map(images: bytes, reference: bytes, shape: tuple[int, ...]) -> torch.Tensor:
    pair = (np.frombuffer(each, np.uint8).reshape(-1, *shape[1:]) for each in (images, reference))
    luma = (func_util.preprocess_rgb(pixels(each), True, 255).double() for each in pair)
    return ssim_arch.ssim(*luma, get_ssim_map=True, data_range=255)
