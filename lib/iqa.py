"""The 25 metrics of Table III, and more, under one call: ``metric("PSNR")(images, reference)``.

Most are pyiqa's [50], as it sets them up; EW-PSNR and EW-SSIM [9] are in `lib.weighted`.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from importlib.metadata import version

import numpy as np
import pandas as pd
import pyiqa
import requests
import torch
from huggingface_hub import constants as hub
from pyiqa.archs import brisque_arch
from safetensors.torch import load_file

from lib import models
from lib._torchvision import ensure_torchvision_imports
from lib.images import NoScoreError, check_batch
from lib.jobs import run_all
from lib.models.backbones import best_device
from lib.models.published import explain
from lib.models.sgdnet import VARIANTS, load_sgdnet
from lib.paths import MEND
from lib.records import Dataset
from lib.report import require
from lib.store import Store, fingerprint, weights_fingerprint
from lib.weighted import ew_psnr, pixels, ssim

Maybe = np.ndarray | None
OURS = ("baseline-", "control-", "sal-loss-", "gradcam-loss-")  # how our networks' names begin
# pyiqa asks torch.load for `weights_only=False`, with which a checkpoint can run any code; this
# variable wins. Training may leave its last loss in a checkpoint: a NumPy number, of NumPy 1 or 2.
os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"
_scalar = np.float64(0).__reduce__()[0]
_allowed = [(_scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")]
_allowed += [np.dtype, *(type(np.dtype(kind)) for kind in ("f4", "f8", "i8"))]
torch.serialization.add_safe_globals(_allowed)


@dataclass(frozen=True)
class Entry:
    """One row of the registry: what is known of a metric before it is opened."""

    group: str  # in Table III, or "beyond the paper"
    open: Callable[[], tuple]  # score and sign of `Metric`, digest of weights, network if any
    reads_reference: bool = False
    reads_saliency: bool = False  # a saliency map from outside, when it judges a picture
    weights: str = "none"  # or "shipped", or what must be downloaded


@dataclass(frozen=True, kw_only=True)
class Metric(Entry):
    """A metric ready to score."""

    name: str
    score: Callable[..., torch.Tensor]  # of images, reference, saliency
    sign: int  # 1 where higher is better, else -1
    key: str  # digest of everything that decides the scores; for caches
    network: torch.nn.Module | None = None  # ours or `PUBLISHED`: a GradCAM of it can be had

    @torch.inference_mode()
    def __call__(self, images: np.ndarray, reference: Maybe = None, saliency: Maybe = None):
        """Score pictures of one size, BxHxWx3 uint8: (B,) float64, in the metric's own direction.

        `reference` is HxWx3 uint8, `saliency` HxW, >= 0; both may be None if it reads neither.
        """
        shape = (images := check_batch(np.asarray(images))).shape[1:]
        good = not self.reads_reference or np.shape(reference) == shape
        require(good, f"{self.name} needs the reference, {shape} as the images")
        good = not self.reads_saliency or np.shape(saliency) == shape[:2]
        require(good, f"{self.name} needs the saliency map, {shape[:2]} as the images")
        reference = check_batch(np.asarray(reference)[None])[0] if self.reads_reference else None
        saliency = np.asarray(saliency) if self.reads_saliency else None
        try:
            scores = self.score(images, reference, saliency).double().cpu().numpy()
        except Exception as error:  # of tiny or flat pictures, metrics raise anything
            raise ValueError(f"{self.name} can't score a picture {shape}: {error}") from error
        if not np.isfinite(scores).all():
            raise NoScoreError(f"{self.name} can't score a picture {shape}: it gives no number")
        return scores.reshape(len(images))


def entry(name: str) -> Entry:
    """Find a metric: of `REGISTRY`, our networks, or pyiqa's no-reference ones; else ValueError."""
    if name in REGISTRY or str(name).startswith(OURS):
        return REGISTRY.get(name) or Entry(BEYOND, partial(_network, name))
    known = f"{', '.join(REGISTRY)}; our networks; and pyiqa.list_models('NR')"
    require(name in pyiqa.list_models("NR"), f"no metric {name!r}; there are {known}")
    return Entry(BEYOND, partial(_pyiqa, name))


@cache
def metric(name: str) -> Metric:
    """Open an `entry`, once a process. OSError, with a command: weights are missing or damaged."""
    found = entry(name)
    opened = dict(zip(("score", "sign", "key", "network"), found.open(), strict=False))
    opened["key"] = fingerprint([name, version("pyiqa"), opened["key"]])
    return Metric(**vars(found), **opened, name=name)


def available(names: Iterable[str]) -> tuple[list[Metric], dict[str, str]]:
    """Open what can be had; the reason for each that can't, by name."""
    found, missing = [], {}
    for name in names:
        try:
            found.append(metric(name))
        except OSError as error:
            missing[name] = str(error)
    return found, missing


def score_pictures(sacid: Dataset, names: Sequence[str], jobs: int | str = 1) -> pd.DataFrame:
    """Add metric, value and reason (why it is NaN) to ``sacid.table``, once a metric; memoised."""
    found, missing = available(names)
    tasks = [(sacid, sequence, [m.name for m in found]) for sequence in sacid.sequences if found]
    scored = run_all(_score_sequence, tasks, jobs, f"scoring {sacid.name}", "sequence")
    scored.append([(i, n, np.nan, r) for n, r in missing.items() for i in sacid.table.index])
    rows = pd.DataFrame([r for s in scored for r in s], columns=["at", "metric", "value", "reason"])
    return sacid.table.loc[rows.pop("at")].reset_index(drop=True).join(rows)


def _score_sequence(sacid: Dataset, sequence: str, names: Sequence[str]) -> list[tuple]:
    rows = sacid.table[sacid.table.sequence == sequence]
    files = [sacid.root / kind / f"{sequence}.png" for kind in ("reference", "saliency")]
    files += [sacid.root / "compressed" / f"{sacid.names[row]}.jpg" for row in rows.index]
    item = f"{sequence} {fingerprint(path.read_bytes() for path in files)}"
    extras = sacid.reference(sequence), sacid.saliency_map(sequence)
    stores = {m: Store("iqa-scores", 2, metric=m.name, key=m.key) for m in map(metric, names)}
    found = {one: store.get(item) for one, store in stores.items()}
    tried = {one: [] for one, values in found.items() if values is None}
    for row in rows.index if tried else []:
        picture = sacid[row].image[None]  # read once; what two metrics share is made once
        for one, pairs in tried.items():
            pairs.append(attempt(one, picture, *extras))
    scored = []
    for one, values in found.items():
        reasons = [""] * len(rows)
        if one in tried:
            values, reasons = zip(*tried[one], strict=True)
            if not any(reasons):
                stores[one].put(item, np.array(values))
        scored += zip(rows.index, [one.name] * len(rows), values, reasons, strict=True)
    return scored


def attempt(one: Metric, *inputs: np.ndarray) -> tuple[float, str]:
    """Score one picture, or return NaN and the reason: no failure ends a long run."""
    try:
        return one(*inputs)[0], ""
    except ValueError as error:
        return np.nan, str(error).splitlines()[0]


def _pyiqa(name: str) -> tuple:
    if name in ("ahiq", "paq2piq") and ensure_torchvision_imports():
        raise OSError(f"{name!r} calls torchvision's binary, which does not load beside this torch")
    if not hub.HF_HUB_OFFLINE:
        try:
            requests.head(hub.ENDPOINT, timeout=5)
        except requests.RequestException:
            hub.HF_HUB_OFFLINE = True  # else its client tries for 23 s a file
    try:
        network = pyiqa.create_metric(name, device=best_device())
    except Exception as error:  # those of urllib, requests and the hub are OSErrors
        bad = f"not plain numbers (nothing was run); delete them in {torch.hub.get_dir()}"
        why = f"{'not here' if isinstance(error, OSError) else bad} ({str(error).splitlines()[0]})"
        mend = f'python -c "import lib.iqa, pyiqa; pyiqa.create_metric({name!r})"'
        raise OSError(f"the weights of {name!r} are {why}. To get them online: {mend}") from error

    def score(images: np.ndarray, reference: Maybe, _: Maybe) -> torch.Tensor:
        extra = [reference] if network.metric_mode == "FR" else []
        return network(*(pixels(np.broadcast_to(each, images.shape)) for each in (images, *extra)))

    parts = [network.net, *getattr(network.net, "clip_model", [])]  # CLIP-IQA hides CLIP in a list
    digest, sign = fingerprint(map(weights_fingerprint, parts)), -1 if network.lower_better else 1
    return score, sign, digest, explain(name, network.net, sign)


def _brisque() -> tuple:  # pyiqa's, with the support vectors of its authors' release
    path = models.weights_path("brisque")
    try:
        svm = {name: load_file(path)[name].to(best_device()) for name in ("sv", "sv_coef")}
    except Exception as error:  # safetensors has an error of its own
        raise OSError(f"{path} is not BRISQUE's ({error}); {MEND}") from error
    return lambda images, *_: brisque_arch.brisque(pixels(images), **svm), -1, path.read_bytes()


def _network(name: str) -> tuple:
    network = (load_sgdnet if name in VARIANTS else models.load)(name).to(best_device())
    opened = lambda images, *_: network(network.normalize(images)), 1, weights_fingerprint(network)
    return opened if name in VARIANTS else (*opened, network)


NSS, FR, NR, BEYOND = "NSS based", "FR", "NR", "beyond the paper"
# The order is Table III's. Sizes count the ImageNet trunk that pyiqa fetches beside the metric.
REGISTRY: dict[str, Entry] = {
    "MS-SSIM": Entry(NSS, partial(_pyiqa, "ms_ssim"), True),
    "BRISQUE": Entry(NSS, _brisque, weights="shipped"),
    "PSNR": Entry(NSS, partial(_pyiqa, "psnr"), True),
    "SSIM": Entry(NSS, lambda: (ssim, 1, ""), True),
    "VIF": Entry(NSS, partial(_pyiqa, "vif"), True),
    "EW-SSIM": Entry(NSS, lambda: (ssim, 1, ""), True, True),
    "EW-PSNR": Entry(NSS, lambda: (ew_psnr, 1, ""), True, True),
    "AHIQ": Entry(FR, partial(_pyiqa, "ahiq"), True, weights="download, ~560 MB"),
    "LPIPS": Entry(FR, partial(_pyiqa, "lpips"), True, weights="download, ~245 MB"),
    "PieAPP": Entry(FR, partial(_pyiqa, "pieapp"), True, weights="download, ~275 MB"),
    "TOPIQ-FR": Entry(FR, partial(_pyiqa, "topiq_fr"), True, weights="download, ~250 MB"),
    "DISTS": Entry(FR, partial(_pyiqa, "dists"), True, weights="download, ~555 MB"),
    "MANIQA": Entry(NR, partial(_pyiqa, "maniqa"), weights="download, ~890 MB"),
    "TReS": Entry(NR, partial(_pyiqa, "tres"), weights="download, ~715 MB"),
    "HyperIQA": Entry(NR, partial(_pyiqa, "hyperiqa"), weights="download, ~210 MB"),
    "SGDNet-None": Entry(NR, partial(_network, "none"), weights="download: none is published"),
    "PaQ2PiQ": Entry(NR, partial(_pyiqa, "paq2piq"), weights="download, ~95 MB"),
    "SGDNet-Output": Entry(NR, partial(_network, "output"), weights="download by make data"),
    "Baseline-GradCAM-Loss": Entry(NR, partial(_network, "gradcam-loss-lite0"), weights="shipped"),
    "CLIP-IQA+": Entry(NR, partial(_pyiqa, "clipiqa+"), weights="download, ~256 MB"),
    "Baseline": Entry(NR, partial(_network, "baseline-lite0"), weights="shipped"),
    "TOPIQ-NR": Entry(NR, partial(_pyiqa, "topiq_nr"), weights="download, ~285 MB"),
    "Baseline-Sal-Loss": Entry(NR, partial(_network, "sal-loss-lite0"), weights="shipped"),
    "MUSIQ": Entry(NR, partial(_pyiqa, "musiq"), weights="download, ~110 MB"),
    "DBCNN": Entry(NR, partial(_pyiqa, "dbcnn"), weights="download, ~620 MB"),
    **{n: Entry(BEYOND, partial(_pyiqa, n.lower()), True) for n in ("FSIM", "GMSD", "VSI")},
    "PIQE": Entry(BEYOND, partial(_pyiqa, "piqe")),
}
