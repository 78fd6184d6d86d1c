"""All 25 metrics of Table III, and more, under one call: `metric(name).score(...)`.

Most are pyiqa's [50], at the pictures' own resolution and as pyiqa sets them up. Ours here are the
full-reference metrics weighted by saliency (Section III-D). Each takes a metric's own map and
replaces its average over pixels by one weighted by the saliency map, normalised to sum 1; where
the metric's map is smaller or cropped, so is the saliency map (its average over each pixel's
area). With a constant map every one of them is the plain metric again.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from lib.maps import check_maps
from lib.models import weights_path, zoo
from lib.models.backbones import best_device
from lib.store import fingerprint, weights_fingerprint

NSS_BASED, FULL_REFERENCE, NO_REFERENCE = "NSS based", "FR", "NR"  # the groups of Table III
BEYOND = "beyond the paper"

# From image HxWx3, reference HxWx3 or None, saliency HxW or None to a number; all are checked.
Score = Callable[[np.ndarray, np.ndarray | None, np.ndarray | None], float]
# From metric, image and reference 1x3xHxW (0 to 1) and saliency 1x1xHxW to (1,).
Weighted = Callable[[torch.nn.Module, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Entry:
    """One row of the registry: what is known of a metric before it is opened.

    Attributes
    ----------
    group : str
        The paper's group in Table III, or "beyond the paper".
    open : callable
        Loads it: returns its score, whether lower is better, and its key.
    full_reference, uses_saliency : bool
        Whether `score` reads the reference, and the saliency map. (VSI computes a saliency of its
        own and reads none; SGDNet-Output, Sal-Loss and GradCAM-Loss saw saliency only when they
        were trained.)
    weights : str
        "none", "shipped", or what must be downloaded.
    """

    group: str
    open: Callable[[], tuple[Score, bool, str]]
    full_reference: bool = False
    uses_saliency: bool = False
    weights: str = "none"

    @property
    def needs_download(self) -> bool:
        """Whether it has weights that do not ship with the project."""
        return self.weights.startswith("download")


@dataclass(frozen=True)
class Metric:
    """A metric ready to score.

    Attributes
    ----------
    name : str
        As printed in Table III.
    group, full_reference, uses_saliency, weights
        As in `Entry`.
    lower_better : bool
        The direction of the scores.
    key : str
        Everything that decides the scores; for caches.
    """

    name: str
    group: str
    full_reference: bool
    uses_saliency: bool
    lower_better: bool
    weights: str
    key: str
    _score: Score

    @torch.inference_mode()
    def score(
        self,
        images: np.ndarray,
        reference: np.ndarray | None = None,
        saliency: np.ndarray | None = None,
    ) -> np.ndarray:
        """Score pictures of one size, such as the twelve versions of one reference.

        Parameters
        ----------
        images : array
            BxHxWx3 uint8.
        reference : array, optional
            HxWx3 uint8; for a full-reference metric.
        saliency : array, optional
            HxW, finite, non-negative, not all zero, any sum; for one that uses saliency.

        Returns
        -------
        array, (B,) float64
            In the metric's own unit and direction. A picture's score does not depend on the
            others beside it.

        Raises
        ------
        ValueError
            If something that the metric reads is missing, of another size, or no valid map.
        """
        if images.ndim != 4 or images.shape[-1] != 3 or images.dtype != np.uint8:
            raise ValueError(f"images must be BxHxWx3 uint8, not {images.shape} {images.dtype}")
        if self.full_reference:
            if reference is None:
                raise ValueError(f"{self.name} needs the reference")
            if reference.shape != images.shape[1:] or reference.dtype != np.uint8:
                raise ValueError(
                    f"reference is {reference.shape} {reference.dtype}, the images are "
                    f"{images.shape[1:]} uint8; they must be alike"
                )
        if self.uses_saliency:
            if saliency is None:
                raise ValueError(f"{self.name} needs the saliency map")
            saliency = check_maps(saliency, "saliency")
            if saliency.shape != images.shape[1:3]:
                raise ValueError(
                    f"saliency is {saliency.shape}, the images are {images.shape[1:3]}; resize it"
                )
            if not saliency.any():
                raise ValueError("saliency is zero everywhere; there is nothing to weight by")
        # One at a time: in a batch float32 sums differ (VIF by 4e-6, BRISQUE by 7e-5), and at
        # this size of picture it gains no time and takes memory.
        return np.array([self._score(image, reference, saliency) for image in images])


def metric(name: str) -> Metric:
    """Load a metric by its name in Table III, or another name of `REGISTRY`.

    Raises
    ------
    KeyError
        If the registry has no such metric.
    FileNotFoundError, ConnectionError
        If its weights are neither on this machine nor within reach; the message holds the command
        that gets them.
    pickle.UnpicklingError
        If a file of weights is damaged or holds anything but numbers.
    """
    if name not in REGISTRY:
        raise KeyError(f"no metric {name!r}; there are {', '.join(REGISTRY)}")
    entry = REGISTRY[name]
    score, lower_better, key = entry.open()
    known = {field: value for field, value in vars(entry).items() if field != "open"}
    return Metric(name=name, lower_better=lower_better, key=key, _score=score, **known)


def metrics(names: Iterable[str]) -> tuple[list[Metric], dict[str, str]]:
    """Load what can be had; the rest is named with its reason, never dropped in silence.

    Returns
    -------
    (list of Metric, dict)
        The metrics, and the reason for each name that is missing.
    """
    return zoo.found_and_missing(metric, names)


# The metrics weighted by saliency.


def weighted_mean(maps: torch.Tensor, saliency: torch.Tensor) -> torch.Tensor:
    """Average maps over pixels, weighted by saliency: BxCxhxw and 1x1xHxW to BxC float64."""
    return (maps * _weights(saliency, maps.shape[-2:])).sum(dim=(-2, -1))


def _weights(saliency: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
    """Average saliency over the area of each of hxw pixels; normalise to sum 1."""
    weights = F.adaptive_avg_pool2d(saliency, shape)
    if not weights.any():
        raise ValueError("saliency is zero wherever this metric looks (it leaves out a border)")
    return weights / weights.sum()


def _cropped(saliency: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
    """Keep the centre hxw: what a filter without padding leaves."""
    top, left = ((old - new) // 2 for old, new in zip(saliency.shape[-2:], shape, strict=True))
    return saliency[..., top : top + shape[0], left : left + shape[1]]


def ew_psnr(
    psnr: torch.nn.Module, x: torch.Tensor, y: torch.Tensor, saliency: torch.Tensor
) -> torch.Tensor:
    """EW-PSNR [9]: PSNR with the squared error of RGB averaged by saliency; dB."""
    error = weighted_mean((x - y).double().square(), saliency).mean(dim=1)
    return -10 * torch.log10(error + 1e-8)  # pyiqa's constant: 80 dB for identical pictures


def ew_ssim(
    ssim: torch.nn.Module, x: torch.Tensor, y: torch.Tensor, saliency: torch.Tensor
) -> torch.Tensor:
    """EW-SSIM [9]: the SSIM map of luma, averaged by saliency.

    The map ends half a window, 5 pixels, inside the frame, and the saliency map is cut to it.
    """
    from pyiqa.archs import ssim_arch
    from pyiqa.archs.func_util import preprocess_rgb

    x, y = (preprocess_rgb(image, True, ssim.net.data_range).double() for image in (x, y))
    ssim_map = ssim_arch.ssim(x, y, get_ssim_map=True, data_range=ssim.net.data_range)
    return weighted_mean(ssim_map, _cropped(saliency, ssim_map.shape[-2:])).squeeze(1)


def ew_vif(
    vif: torch.nn.Module, x: torch.Tensor, y: torch.Tensor, saliency: torch.Tensor
) -> torch.Tensor:
    """EW-VIF: information that reached the eye over that of the reference, block by block.

    Each block of 3x3 coefficients counts by the saliency of its place, in the numerator and the
    denominator alike. In each subband the weights have mean 1, so that the balance of the scales
    is VIF's.
    """
    from pyiqa.archs.vif_arch import SteerablePyramidSpace
    from pyiqa.utils.color_util import to_y_channel

    net = vif.net
    x, y = (
        SteerablePyramidSpace(to_y_channel(image, 255), net.level, net.ori, net.channels)[::-1]
        for image in (x, y)
    )
    gains, noises = net.vifsub_est_M(y, x)
    variances, eigenvalues, _ = net.refparams_vecgsm(y)
    seen = available = 0
    for subband, gain, noise, variance, eigenvalue in zip(
        net.subbands, gains, noises, variances, eigenvalues, strict=True
    ):
        blocks = [net.M * side for side in gain.shape[-2:]]  # the subband without its odd edge
        weights = F.adaptive_avg_pool2d(saliency, y[subband - 1].shape[-2:])
        weights = F.avg_pool2d(weights[..., : blocks[0], : blocks[1]], net.M)
        # As VIF does: leave out the blocks that the window of estimation reaches past the frame.
        border = int(np.ceil(2 ** np.ceil((subband - 1) / 6) / 2 / net.M))
        gain, noise, variance, weights = (
            each[..., border : each.shape[-2] - border, border : each.shape[-1] - border]
            for each in (gain, noise, variance, weights)
        )
        weights = _weights(weights, weights.shape[-2:]) * weights.numel()
        signal = variance.unsqueeze(-1) * eigenvalue[:, :, None, None]  # (B, 1, h, w, M M)
        through = torch.log2(
            1 + gain.square().unsqueeze(-1) * signal / (noise + net.sigma_nsq).unsqueeze(-1)
        )
        source = torch.log2(1 + signal / net.sigma_nsq)
        seen = seen + (through.sum(dim=-1) * weights).sum(dim=(1, 2, 3))
        available = available + (source.sum(dim=-1) * weights).sum(dim=(1, 2, 3))
    return seen / (available + 1e-12)


def ew_fsim(
    fsim: torch.nn.Module, x: torch.Tensor, y: torch.Tensor, saliency: torch.Tensor
) -> torch.Tensor:
    """EW-FSIM: FSIMc pools its map by phase congruency; here by that times saliency.

    FSIM works on pictures averaged down to about 256 pixels on the short side, and so is the map.
    """
    from pyiqa.archs import fsim_arch
    from pyiqa.archs.func_util import gradient_map, scharr_filter, similarity_map
    from pyiqa.utils.color_util import rgb2yiq

    factor = max(1, round(min(x.shape[-2:]) / 256))
    x, y = (rgb2yiq(F.avg_pool2d(255 * image, factor)) for image in (x, y))
    kernels = torch.stack([scharr_filter(), scharr_filter().transpose(-1, -2)])
    congruency = [fsim_arch._phase_congruency(image[:, :1]) for image in (x, y)]
    gradients = [gradient_map(image[:, :1], kernels) for image in (x, y)]
    chroma = similarity_map(x[:, 1:], y[:, 1:], 200).prod(dim=1, keepdim=True)
    # The constants are the paper's of FSIM, as are pyiqa's.
    similarity = similarity_map(*congruency, 0.85) * similarity_map(*gradients, 160)
    similarity = similarity * chroma.abs() ** 0.03
    importance = torch.maximum(*congruency).double()
    saliency = F.avg_pool2d(saliency, factor)
    pooled = weighted_mean(similarity * importance, saliency) / weighted_mean(importance, saliency)
    return pooled.squeeze(1)


def ew_gmsd(
    gmsd: torch.nn.Module, x: torch.Tensor, y: torch.Tensor, saliency: torch.Tensor
) -> torch.Tensor:
    """EW-GMSD: GMSD is the deviation of its map over pixels; here the deviation by saliency.

    The square root of the weighted mean of squares about the weighted mean, times n / (n - 1),
    as GMSD counts it for n pixels.
    """
    from pyiqa.utils.color_util import to_y_channel

    x, y = (F.avg_pool2d(to_y_channel(image, 255), 2) for image in (x, y))
    prewitt = torch.tensor([[1.0, 0, -1]] * 3, device=x.device) / 3
    kernels = torch.stack([prewitt, prewitt.T])[:, None]
    gradients = [
        (F.conv2d(image, kernels, padding=1).square().sum(dim=1, keepdim=True) + 1e-12).sqrt()
        for image in (x, y)
    ]
    quality = (2 * gradients[0] * gradients[1] + 170) / (
        gradients[0].square() + gradients[1].square() + 170
    )  # 170 is GMSD's constant
    # An odd last row or column has no place in the halved map.
    saliency = F.avg_pool2d(saliency, 2)
    mean = weighted_mean(quality, saliency)[..., None, None]
    count = quality[0].numel()
    variance = weighted_mean((quality - mean).square(), saliency) * count / (count - 1)
    return variance.sqrt().squeeze(1)


def ew_lpips(
    lpips: torch.nn.Module, x: torch.Tensor, y: torch.Tensor, saliency: torch.Tensor
) -> torch.Tensor:
    """EW-LPIPS: the map of each layer's distances is averaged by saliency, then added."""
    from pyiqa.archs.lpips_arch import normalize_tensor

    net = lpips.net
    layers = [net.net(net.scaling_layer(2 * image - 1)) for image in (x, y)]
    distances = [
        weight((normalize_tensor(a) - normalize_tensor(b)).square())
        for weight, a, b in zip(net.lins, *layers, strict=True)
    ]
    return torch.stack([weighted_mean(each, saliency) for each in distances]).sum(dim=(0, 2))


def ew_dists(
    dists: torch.nn.Module, x: torch.Tensor, y: torch.Tensor, saliency: torch.Tensor
) -> torch.Tensor:
    """EW-DISTS: the means, variances and covariances of each layer's features, by saliency."""
    net = dists.net
    alphas, betas = (
        torch.split((each / (net.alpha.sum() + net.beta.sum())).flatten(), net.chns)
        for each in (net.alpha, net.beta)
    )
    similarity = 0
    for alpha, beta, a, b in zip(
        alphas, betas, net.forward_once(x), net.forward_once(y), strict=True
    ):
        weights = _weights(saliency, a.shape[-2:]).float()  # float64 would double the memory

        def mean(maps: torch.Tensor, weights: torch.Tensor = weights) -> torch.Tensor:
            return (maps * weights).sum(dim=(-2, -1), keepdim=True)

        mean_a, mean_b = mean(a), mean(b)
        variance_a, variance_b = mean((a - mean_a).square()), mean((b - mean_b).square())
        covariance = mean((a - mean_a) * (b - mean_b))
        # 1e-6 is DISTS' constant, in both.
        texture = (2 * mean_a * mean_b + 1e-6) / (mean_a.square() + mean_b.square() + 1e-6)
        structure = (2 * covariance + 1e-6) / (variance_a + variance_b + 1e-6)
        terms = alpha * texture.flatten(1) + beta * structure.flatten(1)
        similarity = similarity + terms.sum(dim=1)
    return 1 - similarity


# How each metric is opened.


def _from_pyiqa(name: str) -> tuple[Score, bool, str]:
    network = zoo.open_pyiqa(name)

    def score(image: np.ndarray, reference: np.ndarray | None, _: object) -> float:
        inputs = [image, reference] if network.metric_mode == "FR" else [image]
        return network(*(zoo.pixels(each[None]) for each in inputs)).item()

    return score, network.lower_better, zoo.pyiqa_key(name, network)


def _weighted(name: str, pool: Weighted) -> tuple[Score, bool, str]:
    network = zoo.open_pyiqa(name)

    def score(image: np.ndarray, reference: np.ndarray, saliency: np.ndarray) -> float:
        pair = [zoo.pixels(each[None]) for each in (image, reference)]
        weights = torch.from_numpy(saliency.astype(np.float64)).to(best_device())
        return pool(network, *pair, weights[None, None]).item()

    key = fingerprint([pool.__name__, zoo.pyiqa_key(name, network)])
    return score, network.lower_better, key


def _brisque() -> tuple[Score, bool, str]:
    """Open pyiqa's BRISQUE with the support vectors of its authors' release, shipped here."""
    import pyiqa
    from pyiqa.archs.brisque_arch import brisque
    from pyiqa.default_model_configs import DEFAULT_CONFIGS

    path = weights_path("brisque")
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing (about 115 kB); `git checkout weights` has it")
    svm = {name: tensor.to(best_device()) for name, tensor in load_file(path).items()}

    def score(image: np.ndarray, *_: object) -> float:
        return brisque(zoo.pixels(image[None]), **svm).item()

    key = fingerprint(["brisque", pyiqa.__version__, path.read_bytes()])
    return score, DEFAULT_CONFIGS["brisque"]["lower_better"], key


def _own(name: str) -> tuple[Score, bool, str]:
    scorer = zoo.scorer(name)
    return lambda image, *_: scorer.score(image[None]).item(), False, scorer.key


def _sgdnet(variant: str) -> tuple[Score, bool, str]:
    from lib.models import sgdnet

    network = sgdnet.load_sgdnet(variant).to(best_device())
    key = fingerprint(["sgdnet", variant, weights_fingerprint(network)])
    return lambda image, *_: network.score(image[None]).item(), False, key


def _full(group: str, name: str, weights: str = "none") -> Entry:
    return Entry(group, partial(_from_pyiqa, name), full_reference=True, weights=weights)


def _none(group: str, name: str, weights: str = "none") -> Entry:
    return Entry(group, partial(_from_pyiqa, name), weights=weights)


def _ew(group: str, name: str, pool: Weighted, weights: str = "none") -> Entry:
    return Entry(group, partial(_weighted, name, pool), True, True, weights)


# The order is Table III's. Sizes count the ImageNet trunk that pyiqa fetches beside the metric.
REGISTRY: dict[str, Entry] = {
    "MS-SSIM": _full(NSS_BASED, "ms_ssim"),
    "BRISQUE": Entry(NSS_BASED, _brisque, weights="shipped"),
    "PSNR": _full(NSS_BASED, "psnr"),
    "SSIM": _full(NSS_BASED, "ssim"),
    "VIF": _full(NSS_BASED, "vif"),
    "EW-SSIM": _ew(NSS_BASED, "ssim", ew_ssim),
    "EW-PSNR": _ew(NSS_BASED, "psnr", ew_psnr),
    "AHIQ": _full(FULL_REFERENCE, "ahiq", "download, ~560 MB"),
    "LPIPS": _full(FULL_REFERENCE, "lpips", "download, ~245 MB"),
    "PieAPP": _full(FULL_REFERENCE, "pieapp", "download, ~275 MB"),
    "TOPIQ-FR": _full(FULL_REFERENCE, "topiq_fr", "download, ~250 MB"),
    "DISTS": _full(FULL_REFERENCE, "dists", "download, ~555 MB"),
    "MANIQA": _none(NO_REFERENCE, "maniqa", "download, ~890 MB"),
    "TReS": _none(NO_REFERENCE, "tres", "download, ~715 MB"),
    "HyperIQA": _none(NO_REFERENCE, "hyperiqa", "download, ~210 MB"),
    "SGDNet-None": Entry(
        NO_REFERENCE, partial(_sgdnet, "none"), weights="download by hand, ~110 MB"
    ),
    "PaQ2PiQ": _none(NO_REFERENCE, "paq2piq", "download, ~95 MB"),
    "SGDNet-Output": Entry(
        NO_REFERENCE, partial(_sgdnet, "output"), weights="download by hand, ~110 MB"
    ),
    "Baseline-GradCAM-Loss": Entry(
        NO_REFERENCE, partial(_own, "gradcam-loss-lite0"), weights="shipped"
    ),
    "CLIP-IQA+": _none(NO_REFERENCE, "clipiqa+", "download, ~256 MB"),
    "Baseline": Entry(NO_REFERENCE, partial(_own, "baseline-lite0"), weights="shipped"),
    "TOPIQ-NR": _none(NO_REFERENCE, "topiq_nr", "download, ~285 MB"),
    "Baseline-Sal-Loss": Entry(NO_REFERENCE, partial(_own, "sal-loss-lite0"), weights="shipped"),
    "MUSIQ": _none(NO_REFERENCE, "musiq", "download, ~110 MB"),
    "DBCNN": _none(NO_REFERENCE, "dbcnn", "download, ~620 MB"),
    "FSIM": _full(BEYOND, "fsim"),
    "GMSD": _full(BEYOND, "gmsd"),
    "VSI": _full(BEYOND, "vsi"),
    "PIQE": _none(BEYOND, "piqe"),
    "EW-VIF": _ew(BEYOND, "vif", ew_vif),
    "EW-FSIM": _ew(BEYOND, "fsim", ew_fsim),
    "EW-GMSD": _ew(BEYOND, "gmsd", ew_gmsd),
    "EW-LPIPS": _ew(BEYOND, "lpips", ew_lpips, "download, ~245 MB"),
    "EW-DISTS": _ew(BEYOND, "dists", ew_dists, "download, ~555 MB"),
}
