"""All 25 metrics of Table III, and more: `metric(name)(images, reference, saliency)`.

Most are pyiqa's [50], at the pictures' own resolution and as pyiqa sets them up. Ours are EW-PSNR
and EW-SSIM [9]: each takes a metric's own map and replaces its average over pixels by one weighted
by the saliency map, normalised to sum 1. With a constant map each is the plain metric again.
Checkpoints from outside are read as numbers only; nothing in them is run.
"""

import os
import pickle
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache, partial

os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"  # pyiqa asks torch for the opposite
os.environ.setdefault("HF_HUB_ETAG_TIMEOUT", "3")  # seconds to find out that there is no network

import numpy as np
import torch
from safetensors.torch import load_file

from lib import models
from lib.maps import check_map
from lib.models.backbones import best_device
from lib.models.baseline import Baseline
from lib.store import fingerprint, weights_fingerprint

# Beside tensors, training may leave its last loss in a checkpoint: a NumPy number.
_numbers = [np.dtype, *(type(np.dtype(kind)) for kind in ("f4", "f8", "i8"))]
_scalar = np.float64(0).__reduce__()[0]
torch.serialization.add_safe_globals(
    [*_numbers, *((_scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core"))]
)

NSS_BASED, FULL_REFERENCE, NO_REFERENCE = "NSS based", "FR", "NR"  # the groups of Table III
BEYOND = "beyond the paper"
# From images BxHxWx3, reference HxWx3 or None, saliency HxW or None to (B,) float64; all checked.
Score = Callable[[np.ndarray, np.ndarray | None, np.ndarray | None], np.ndarray]


@dataclass(frozen=True)
class Metric:
    """A metric ready to score."""

    name: str  # as printed in Table III
    score: Score
    sign: int  # 1 where higher is better, else -1
    key: str  # everything that decides the scores; for caches
    reads: tuple[str, ...] = ()  # of "reference" and "saliency"
    network: Baseline | None = None  # where a GradCAM can be had of it

    @torch.inference_mode()
    def __call__(
        self,
        images: np.ndarray,
        reference: np.ndarray | None = None,
        saliency: np.ndarray | None = None,
    ) -> np.ndarray:
        """Score pictures BxHxWx3 uint8, in the metric's own unit and direction: (B,) float64.

        `reference` is HxWx3 uint8, for a full-reference metric; `saliency` HxW, finite,
        non-negative, not all zero, of any sum, for one that uses saliency.
        """
        if images.ndim != 4 or images.shape[-1] != 3 or images.dtype != np.uint8:
            raise ValueError(f"images must be BxHxWx3 uint8, not {images.shape} {images.dtype}")
        if "reference" in self.reads and np.shape(reference) != images.shape[1:]:
            raise ValueError(
                f"{self.name} needs a reference of {images.shape[1:]}, not {np.shape(reference)}"
            )
        if "saliency" in self.reads:
            saliency = check_map(saliency, "saliency")
            if saliency.shape != images.shape[1:3] or not saliency.any():
                raise ValueError(
                    f"{self.name} needs a saliency map of {images.shape[1:3]}, not zero everywhere"
                )
        return np.asarray(self.score(images, reference, saliency), np.float64).reshape(len(images))


@dataclass(frozen=True)
class Entry:
    """One row of the registry: what is known of a metric before it is opened."""

    group: str
    open: Callable[[str], Metric]  # from its name
    reads: tuple[str, ...] = ()  # of "reference" and "saliency"; VSI finds a saliency of its own
    weights: str = "none"  # "none", "shipped", or what must be downloaded

    @property
    def needs_download(self) -> bool:
        """Whether it has weights that do not ship with the project."""
        return self.weights.startswith("download")


@lru_cache(maxsize=64)
def metric(name: str) -> Metric:
    """Load a metric, once a process: a name of `REGISTRY`, one of our networks, or pyiqa's.

    Weights that are not here nor within reach are an OSError, damaged ones an UnpicklingError; the
    message says the mend.
    """
    if name in REGISTRY:
        return REGISTRY[name].open(name)
    if name in models.SHIPPED | models.REMADE:
        return _own(name, name)
    import pyiqa  # takes seconds to import, and only here is it needed

    if name not in (others := pyiqa.list_models(metric_mode="NR")):
        known = [*REGISTRY, *models.SHIPPED, *others]
        raise KeyError(f"no metric {name!r}; there are {', '.join(known)}")
    return _pyiqa(name, name)


def available(names: Iterable[str]) -> tuple[list[Metric], dict[str, str]]:
    """Load what can be had; the rest is named with its reason, never dropped in silence."""
    found, missing = [], {}
    for name in names:
        try:
            found.append(metric(name))
        except (OSError, pickle.UnpicklingError, NotImplementedError) as error:
            missing[name] = str(error).splitlines()[0]
    return found, missing


# -- the metrics weighted by saliency ----------------------------------------------------------


def weighted_mean(maps: torch.Tensor, saliency: torch.Tensor) -> torch.Tensor:
    """Average maps BxCxHxW over pixels, weighted by saliency HxW: BxC float64."""
    return (maps * (saliency / saliency.sum())).sum(dim=(-2, -1))


def ew_psnr(x: torch.Tensor, y: torch.Tensor, saliency: torch.Tensor) -> torch.Tensor:
    """EW-PSNR [9]: PSNR with the squared error of RGB (0 to 1) averaged by saliency; (B,) dB."""
    error = weighted_mean((x - y).double().square(), saliency).mean(dim=1)
    return -10 * torch.log10(error + 1e-8)  # pyiqa's constant: 80 dB for identical pictures


def ew_ssim(x: torch.Tensor, y: torch.Tensor, saliency: torch.Tensor) -> torch.Tensor:
    """EW-SSIM [9]: the SSIM map of luma, averaged by saliency: (B,).

    The map ends half a window, 5 pixels, inside the frame, and the saliency map is cut to it.
    """
    from pyiqa.archs import ssim_arch
    from pyiqa.archs.func_util import preprocess_rgb

    x, y = (preprocess_rgb(image, True, 255).double() for image in (x, y))
    ssim_map = ssim_arch.ssim(x, y.expand_as(x), get_ssim_map=True, data_range=255)
    return weighted_mean(ssim_map, saliency[5:-5, 5:-5]).squeeze(1)


# -- how each metric is opened -----------------------------------------------------------------


def pixels(images: np.ndarray) -> torch.Tensor:
    """Turn BxHxWx3 uint8 into what pyiqa's metrics take: Bx3xHxW float32 in [0, 1]."""
    channels_first = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
    return channels_first.to(best_device()).float() / 255


def _ew(pool: Callable, name: str) -> Metric:
    def score(images: np.ndarray, reference: np.ndarray, saliency: np.ndarray) -> np.ndarray:
        weights = torch.from_numpy(saliency.astype(np.float64)).to(best_device())
        return pool(pixels(images), pixels(reference[None]), weights).cpu().numpy()

    import pyiqa

    return Metric(name, score, 1, fingerprint([name, pyiqa.__version__]), ("reference", "saliency"))


def _pyiqa(architecture: str, name: str) -> Metric:
    """Build one of pyiqa's metrics with its weights."""
    import pyiqa

    if architecture in ("ahiq", "paq2piq") and not hasattr(torch.ops.torchvision, "roi_pool"):
        raise NotImplementedError(f"{name} needs torchvision's operators, which do not load here")
    try:
        network = pyiqa.create_metric(architecture, device=best_device())
    except pickle.UnpicklingError as error:
        raise pickle.UnpicklingError(
            f"the checkpoint of {name} is damaged or holds more than numbers; nothing in it was "
            "run: delete it and download it again"
        ) from error
    except (OSError, RuntimeError) as error:  # urllib's, requests' and the hub's are OSErrors
        raise ConnectionError(
            f"the weights of {name} are not on this machine and could not be downloaded ("
            f'{type(error).__name__}); run once where there is network: python -c "from lib import '
            f"iqa; iqa.metric('{name}')\""
        ) from error
    # CLIP-IQA keeps CLIP in a list, out of its own state.
    parts = map(weights_fingerprint, [network.net, *getattr(network.net, "clip_model", [])])
    reads = ("reference",) if network.metric_mode == "FR" else ()

    def score(images: np.ndarray, reference: np.ndarray | None, _: object) -> np.ndarray:
        inputs = [pixels(images)]
        inputs += [pixels(reference[None]).expand_as(inputs[0])] if reads else []
        return network(*inputs).double().cpu().numpy()

    key = fingerprint(["pyiqa", pyiqa.__version__, architecture, *parts])
    return Metric(name, score, -1 if network.lower_better else 1, key, reads)


def _brisque(name: str) -> Metric:
    """Open pyiqa's BRISQUE with the support vectors of its authors' release, shipped here."""
    import pyiqa
    from pyiqa.archs.brisque_arch import brisque

    path = models.weights_path("brisque")
    svm = {name: tensor.to(best_device()) for name, tensor in load_file(path).items()}
    key = fingerprint(["brisque", pyiqa.__version__, path.read_bytes()])
    return Metric(name, lambda images, *_: brisque(pixels(images), **svm).cpu().numpy(), -1, key)


def _own(weights: str, name: str) -> Metric:
    network = models.load(weights).to(best_device())

    def score(images: np.ndarray, *_: object) -> np.ndarray:
        return network(network.normalize(images)).double().cpu().numpy()

    return Metric(name, score, 1, weights_fingerprint(network), network=network)


def _sgdnet(variant: str, name: str) -> Metric:
    from lib.models import sgdnet

    network = sgdnet.load(variant).to(best_device())
    key = fingerprint(["sgdnet", variant, weights_fingerprint(network)])
    return Metric(name, lambda images, *_: network.score(images).cpu().numpy(), 1, key)


def _full(group: str, name: str, weights: str = "none") -> Entry:
    return Entry(group, partial(_pyiqa, name), ("reference",), weights)


def _none(group: str, name: str, weights: str = "none") -> Entry:
    return Entry(group, partial(_pyiqa, name), (), weights)


def _ours(weights: str) -> Entry:
    return Entry(NO_REFERENCE, partial(_own, weights), weights="shipped")


BOTH, BY_HAND = ("reference", "saliency"), "download by hand, ~110 MB"
# The order is Table III's. Sizes count the ImageNet trunk that pyiqa fetches beside the metric.
REGISTRY: dict[str, Entry] = {
    "MS-SSIM": _full(NSS_BASED, "ms_ssim"),
    "BRISQUE": Entry(NSS_BASED, _brisque, weights="shipped"),
    "PSNR": _full(NSS_BASED, "psnr"),
    "SSIM": _full(NSS_BASED, "ssim"),
    "VIF": _full(NSS_BASED, "vif"),
    "EW-SSIM": Entry(NSS_BASED, partial(_ew, ew_ssim), BOTH),
    "EW-PSNR": Entry(NSS_BASED, partial(_ew, ew_psnr), BOTH),
    "AHIQ": _full(FULL_REFERENCE, "ahiq", "download, ~560 MB"),
    "LPIPS": _full(FULL_REFERENCE, "lpips", "download, ~245 MB"),
    "PieAPP": _full(FULL_REFERENCE, "pieapp", "download, ~275 MB"),
    "TOPIQ-FR": _full(FULL_REFERENCE, "topiq_fr", "download, ~250 MB"),
    "DISTS": _full(FULL_REFERENCE, "dists", "download, ~555 MB"),
    "MANIQA": _none(NO_REFERENCE, "maniqa", "download, ~890 MB"),
    "TReS": _none(NO_REFERENCE, "tres", "download, ~715 MB"),
    "HyperIQA": _none(NO_REFERENCE, "hyperiqa", "download, ~210 MB"),
    "SGDNet-None": Entry(NO_REFERENCE, partial(_sgdnet, "none"), (), BY_HAND),
    "PaQ2PiQ": _none(NO_REFERENCE, "paq2piq", "download, ~95 MB"),
    "SGDNet-Output": Entry(NO_REFERENCE, partial(_sgdnet, "output"), (), BY_HAND),
    "Baseline-GradCAM-Loss": _ours("gradcam-loss-lite0"),
    "CLIP-IQA+": _none(NO_REFERENCE, "clipiqa+", "download, ~256 MB"),
    "Baseline": _ours("baseline-lite0"),
    "TOPIQ-NR": _none(NO_REFERENCE, "topiq_nr", "download, ~285 MB"),
    "Baseline-Sal-Loss": _ours("sal-loss-lite0"),
    "MUSIQ": _none(NO_REFERENCE, "musiq", "download, ~110 MB"),
    "DBCNN": _none(NO_REFERENCE, "dbcnn", "download, ~620 MB"),
    "FSIM": _full(BEYOND, "fsim"),
    "GMSD": _full(BEYOND, "gmsd"),
    "VSI": _full(BEYOND, "vsi"),
    "PIQE": _none(BEYOND, "piqe"),
}
