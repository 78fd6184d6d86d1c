"""The 25 metrics of Table III, and more, under one call: ``metric("PSNR")(images, reference)``.

Most are pyiqa's [50], at the pictures' own resolution and as pyiqa sets them up. Ours are EW-PSNR
and EW-SSIM [9] (Section III-D): the mean over pixels of an error or SSIM map is weighted by the
saliency map, normalised to sum 1. With a constant map they are PSNR and SSIM again.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from importlib.metadata import version

import numpy as np
import pandas as pd
import requests
import torch
from huggingface_hub import constants as hub
from safetensors.torch import load_file

from lib import models
from lib._torchvision import ensure_torchvision_imports
from lib.models.backbones import best_device
from lib.models.baseline import Baseline
from lib.models.sgdnet import load_sgdnet
from lib.report import require
from lib.store import Store, fingerprint, run_all, weights_fingerprint

# pyiqa asks torch.load for `weights_only=False`, with which a checkpoint can run any code. This
# variable wins over the argument. Training may leave its last loss in a checkpoint: a NumPy number.
os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"
_scalar = np.float64(0).__reduce__()[0]
torch.serialization.add_safe_globals(
    [np.dtype, *(type(np.dtype(kind)) for kind in ("f4", "f8", "i8"))]
    + [(_scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")]  # NumPy 1, 2
)

Score = Callable[[np.ndarray, np.ndarray | None, np.ndarray | None], torch.Tensor]
Opened = tuple[Score, int, str, Baseline | None]  # score, sign, key, network
OURS = ("baseline-", "control-", "sal-loss-", "gradcam-loss-")  # how our networks' names begin
CALL_TORCHVISION = ("ahiq", "paq2piq")  # deform_conv2d and roi_pool, from torchvision's binary


@dataclass(frozen=True)
class Entry:
    """One row of the registry: what is known of a metric before it is opened."""

    group: str  # in Table III, or "beyond the paper"
    open: Callable[[], Opened]
    reads_reference: bool = False
    reads_saliency: bool = False  # a saliency map from outside, when it judges a picture
    weights: str = "none"  # or "shipped", or what must be downloaded


@dataclass(frozen=True)
class Metric:
    """A metric ready to score."""

    name: str
    group: str
    reads_reference: bool
    reads_saliency: bool
    score: Score
    sign: int  # 1 where higher is better, else -1
    key: str  # digest of everything that decides the scores; for caches
    network: Baseline | None  # ours, of which a GradCAM can be had

    @torch.inference_mode()
    def __call__(
        self,
        images: np.ndarray,
        reference: np.ndarray | None = None,
        saliency: np.ndarray | None = None,
    ) -> np.ndarray:
        """Score pictures of one size, BxHxWx3 uint8: (B,) float64, in the metric's own direction.

        `reference` is HxWx3 uint8; `saliency` HxW, non-negative, of any sum. What the metric does
        not read may be left out. In a batch float32 sums come out a little different.
        """
        good = images.ndim == 4 and images.shape[-1] == 3 and images.dtype == np.uint8
        require(good, f"images must be BxHxWx3 uint8, not {images.shape} {images.dtype}")
        if self.reads_reference:
            require(reference is not None, f"{self.name} needs the reference")
            good = reference.shape == images.shape[1:] and reference.dtype == np.uint8
            require(good, f"the reference must be {images.shape[1:]} uint8, as the images are")
        if self.reads_saliency:
            require(saliency is not None, f"{self.name} needs the saliency map")
            good = saliency.shape == images.shape[1:3] and np.isfinite(saliency).all()
            good = good and saliency.min() >= 0 and saliency.any()
            require(good, "the saliency map must have the images' size and weights >= 0, some > 0")
        scores = self.score(images, reference, saliency)
        return scores.double().cpu().numpy().reshape(len(images))


@cache
def metric(name: str) -> Metric:
    """Open a metric, once a process: a name of `REGISTRY`, of our networks, or of pyiqa's NR ones.

    Raises
    ------
    ValueError
        For an unknown name; the message lists the known ones.
    OSError
        If its weights are missing or damaged; the message holds the command that gets them.
    """
    entry = REGISTRY.get(name) or _unregistered(name)
    score, sign, key, network = entry.open()
    reads = entry.reads_reference, entry.reads_saliency
    return Metric(name, entry.group, *reads, score, sign, key, network)


def available(names: Iterable[str]) -> tuple[list[Metric], dict[str, str]]:
    """Open what can be had; the reason for each that can't, by name."""
    found, missing = [], {}
    for name in names:
        try:
            found.append(metric(name))
        except OSError as error:
            missing[name] = str(error)
    return found, missing


def score_pictures(sacid: "SACID", names: Sequence[str], jobs: int | str = 1) -> pd.DataFrame:  # noqa: F821
    """Score every picture of a tree with every metric, one at a time; memoised by sequence.

    Returns
    -------
    DataFrame
        The rows of ``sacid.table`` once for each metric, with metric, value (in its own units and
        direction) and reason. What could not be scored has NaN and says why.
    """
    found, missing = available(names)
    tasks = [(sacid, sequence, [m.name for m in found]) for sequence in sacid.sequences]
    scored = run_all(_score_sequence, tasks, jobs, f"scoring {sacid.name}", "sequence")
    holes = [sacid.table.assign(metric=n, value=np.nan, reason=r) for n, r in missing.items()]
    return pd.concat([*scored, *holes], ignore_index=True)


def _score_sequence(sacid: "SACID", sequence: str, names: Sequence[str]) -> pd.DataFrame:  # noqa: F821
    rows = sacid.table[sacid.table.sequence == sequence]
    files = [sacid.root / kind / f"{sequence}.png" for kind in ("reference", "saliency")]
    files += [sacid.root / "compressed" / f"{sacid.names[row]}.jpg" for row in rows.index]
    item = f"{sequence} {fingerprint(path.read_bytes() for path in files)}"
    inputs, blocks = None, [rows.assign(metric="", value=np.nan, reason="")[:0]]
    for one in map(metric, names):
        store = Store("iqa-scores", 2, metric=one.name, key=one.key)
        values, reasons = store.get(item), [""] * len(rows)
        if values is None:
            if inputs is None:  # decoded once for all metrics, or never if all are known
                extras = sacid.reference(sequence), sacid.saliency_map(sequence)
                inputs = [(sacid[row].image[None], *extras) for row in rows.index]
            values, reasons = zip(*(_try(one, *each) for each in inputs), strict=True)
            if not any(reasons):
                store.put(item, np.array(values))
        blocks.append(rows.assign(metric=one.name, value=values, reason=reasons))
    return pd.concat(blocks)


def _try(one: Metric, *inputs: np.ndarray) -> tuple[float, str]:
    """Score one picture; a failure is NaN and its reason, never the end of a long run."""
    try:
        (value,) = one(*inputs)
    except (ValueError, RuntimeError, AssertionError) as error:
        return np.nan, (str(error).splitlines() or [type(error).__name__])[0]
    return (value, "") if np.isfinite(value) else (np.nan, f"the score is {value}")


def pixels(images: np.ndarray) -> torch.Tensor:
    """Turn BxHxWx3 uint8 into what pyiqa's metrics take: Bx3xHxW float32 in [0, 1]."""
    channels_first = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
    return channels_first.to(best_device()).float() / 255


def weighted_mean(maps: torch.Tensor, saliency: torch.Tensor) -> torch.Tensor:
    """Mean over pixels weighted by saliency: BxCxHxW and 1x1xHxW to BxC float64."""
    require(bool(saliency.any()), "saliency is zero wherever this metric looks")
    return (maps * (saliency / saliency.sum())).sum(dim=(-2, -1))


def ew_psnr(x: torch.Tensor, y: torch.Tensor, saliency: torch.Tensor) -> torch.Tensor:
    """EW-PSNR [9]: PSNR with the squared error of RGB averaged by saliency; dB."""
    error = weighted_mean((x - y).double().square(), saliency).mean(dim=1)
    return -10 * torch.log10(error + 1e-8)  # pyiqa's constant: 80 dB for identical pictures


def ew_ssim(x: torch.Tensor, y: torch.Tensor, saliency: torch.Tensor) -> torch.Tensor:
    """EW-SSIM [9]: the SSIM map of luma averaged by saliency."""
    from pyiqa.archs.func_util import preprocess_rgb
    from pyiqa.archs.ssim_arch import ssim

    x, y = (preprocess_rgb(each, True, 255).double() for each in (x, y))
    ssim_map = ssim(x, y, get_ssim_map=True, data_range=255)  # ends 5 pixels inside the frame
    return weighted_mean(ssim_map, saliency[..., 5:-5, 5:-5]).squeeze(1)


def _weighted(pool: Callable[..., torch.Tensor]) -> Opened:
    def score(images: np.ndarray, reference: np.ndarray, saliency: np.ndarray) -> torch.Tensor:
        weights = torch.from_numpy(saliency.astype(np.float64))[None, None].to(best_device())
        return pool(pixels(images), pixels(reference[None]), weights)

    return score, 1, fingerprint([pool.__name__, version("pyiqa")]), None


def _pyiqa(name: str) -> Opened:
    network = create_pyiqa(name)

    def score(images: np.ndarray, reference: np.ndarray | None, _: object) -> torch.Tensor:
        if network.metric_mode == "NR":
            return network(pixels(images))
        return network(pixels(images), pixels(np.broadcast_to(reference, images.shape)))

    # CLIP-IQA keeps CLIP in a list, out of its own state.
    parts = [network.net, *getattr(network.net, "clip_model", [])]
    key = fingerprint(["pyiqa", version("pyiqa"), name, *map(weights_fingerprint, parts)])
    return score, -1 if network.lower_better else 1, key, None


def create_pyiqa(name: str) -> torch.nn.Module:
    """Build one of pyiqa's metrics with its weights; OSError in one sentence where there are none."""
    import pyiqa  # takes seconds, and only here is it needed

    if name in CALL_TORCHVISION and ensure_torchvision_imports():
        raise OSError(
            f"{name!r} calls operators of torchvision, whose binary does not load beside this "
            "torch; install a pair that fits (pytorch.org/get-started)"
        )
    # The hub's client tries for 23 s a file where there is no network.
    hub.HF_HUB_OFFLINE = hub.HF_HUB_OFFLINE or not _in_reach(hub.ENDPOINT)
    try:
        return pyiqa.create_metric(name, device=best_device())
    except OSError as error:  # urllib's, requests' and the hub's are
        raise ConnectionError(
            f"the weights of {name!r} are not on this machine and could not be downloaded "
            f'({error}); run once where there is network: python -c "from lib import iqa; '
            f"iqa.create_pyiqa('{name}')\""
        ) from error
    except Exception as error:
        raise OSError(
            f"the weights of {name!r} are damaged, or not what they should be; nothing in them was "
            f"run. Delete them from {torch.hub.get_dir()} and run again ({error})".splitlines()[0]
        ) from error


@cache
def _in_reach(url: str) -> bool:
    try:
        requests.head(url, timeout=5)
    except requests.RequestException:
        return False
    return True


def _brisque() -> Opened:
    """pyiqa's BRISQUE with the support vectors of its authors' release, shipped here."""
    from pyiqa.archs.brisque_arch import brisque

    path = models.weights_path("brisque")
    svm = {name: tensor.to(best_device()) for name, tensor in load_file(path).items()}
    key = fingerprint(["brisque", version("pyiqa"), path.read_bytes()])
    return lambda images, *_: brisque(pixels(images), **svm), -1, key, None


def _own(name: str) -> Opened:
    network = models.load(name).to(best_device())
    key = weights_fingerprint(network)
    return lambda images, *_: network(network.normalize(images)), 1, key, network


def _sgdnet(variant: str) -> Opened:
    network = load_sgdnet(variant).to(best_device())
    key = fingerprint(["sgdnet", variant, weights_fingerprint(network)])
    return lambda images, *_: network.score(images), 1, key, None


def _unregistered(name: str) -> Entry:
    if name.startswith(OURS):
        return Entry(BEYOND, partial(_own, name), weights="shipped")
    import pyiqa

    known = f"there are {', '.join(REGISTRY)}; our networks ({', '.join(OURS)}...); and pyiqa's"
    no_reference = pyiqa.list_models(metric_mode="NR")
    require(name in no_reference, f"no metric {name!r}; {known} {', '.join(no_reference)}")
    return Entry(BEYOND, partial(_pyiqa, name), weights="pyiqa's")


NSS, FR, NR, BEYOND = "NSS based", "FR", "NR", "beyond the paper"
# The order is Table III's. Sizes count the ImageNet trunk that pyiqa fetches beside the metric.
REGISTRY: dict[str, Entry] = {
    "MS-SSIM": Entry(NSS, partial(_pyiqa, "ms_ssim"), True),
    "BRISQUE": Entry(NSS, _brisque, weights="shipped"),
    "PSNR": Entry(NSS, partial(_pyiqa, "psnr"), True),
    "SSIM": Entry(NSS, partial(_pyiqa, "ssim"), True),
    "VIF": Entry(NSS, partial(_pyiqa, "vif"), True),
    "EW-SSIM": Entry(NSS, partial(_weighted, ew_ssim), True, True),
    "EW-PSNR": Entry(NSS, partial(_weighted, ew_psnr), True, True),
    "AHIQ": Entry(FR, partial(_pyiqa, "ahiq"), True, weights="download, ~560 MB"),
    "LPIPS": Entry(FR, partial(_pyiqa, "lpips"), True, weights="download, ~245 MB"),
    "PieAPP": Entry(FR, partial(_pyiqa, "pieapp"), True, weights="download, ~275 MB"),
    "TOPIQ-FR": Entry(FR, partial(_pyiqa, "topiq_fr"), True, weights="download, ~250 MB"),
    "DISTS": Entry(FR, partial(_pyiqa, "dists"), True, weights="download, ~555 MB"),
    "MANIQA": Entry(NR, partial(_pyiqa, "maniqa"), weights="download, ~890 MB"),
    "TReS": Entry(NR, partial(_pyiqa, "tres"), weights="download, ~715 MB"),
    "HyperIQA": Entry(NR, partial(_pyiqa, "hyperiqa"), weights="download, ~210 MB"),
    "SGDNet-None": Entry(NR, partial(_sgdnet, "none"), weights="download by hand, ~110 MB"),
    "PaQ2PiQ": Entry(NR, partial(_pyiqa, "paq2piq"), weights="download, ~95 MB"),
    "SGDNet-Output": Entry(NR, partial(_sgdnet, "output"), weights="download by hand, ~110 MB"),
    "Baseline-GradCAM-Loss": Entry(NR, partial(_own, "gradcam-loss-lite0"), weights="shipped"),
    "CLIP-IQA+": Entry(NR, partial(_pyiqa, "clipiqa+"), weights="download, ~256 MB"),
    "Baseline": Entry(NR, partial(_own, "baseline-lite0"), weights="shipped"),
    "TOPIQ-NR": Entry(NR, partial(_pyiqa, "topiq_nr"), weights="download, ~285 MB"),
    "Baseline-Sal-Loss": Entry(NR, partial(_own, "sal-loss-lite0"), weights="shipped"),
    "MUSIQ": Entry(NR, partial(_pyiqa, "musiq"), weights="download, ~110 MB"),
    "DBCNN": Entry(NR, partial(_pyiqa, "dbcnn"), weights="download, ~620 MB"),
    "FSIM": Entry(BEYOND, partial(_pyiqa, "fsim"), True),
    "GMSD": Entry(BEYOND, partial(_pyiqa, "gmsd"), True),
    "VSI": Entry(BEYOND, partial(_pyiqa, "vsi"), True),
    "PIQE": Entry(BEYOND, partial(_pyiqa, "piqe")),
}
