"""Section III-A from end to end: maps of every method on a data set.

A *source* is anything that turns a record into a saliency map. Maps are computed once, image by
image, and memoised.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from tqdm.auto import tqdm

from lib import cam
from lib.images import network_size, resize_image
from lib.maps import resize_map
from lib.models import saliency
from lib.models.baseline import Baseline
from lib.records import Dataset, Record
from lib.store import Store, fingerprint, weights_fingerprint

VERSION = 1  # of the numbers in the cache


@dataclass(frozen=True)
class Source:
    """A way to get a saliency map.

    Attributes
    ----------
    group, method : str
        As they stand in the table.
    compute : callable
        From a list of same-sized records to BxHxW maps, at any resolution.
    key : str
        Everything that decides the maps: weights, parameters, the version of the code.
    """

    group: str
    method: str
    compute: Callable[[Sequence[Record]], np.ndarray]
    key: str


def network_input(records: Sequence[Record], long_side: int) -> np.ndarray:
    """Resize the records' images so that the long side is `long_side`, sides multiples of 32."""
    size = network_size(records[0].image.shape[:2], long_side)
    return np.stack([resize_image(r.image, *size) for r in records])


def cam_source(
    method: str,
    model: Baseline,
    group: str = "GradCAM from IQA",
    kind: str = "hirescam",
    layer: torch.nn.Module | None = None,
    layer_name: str = "last",
    aug_smooth: bool = True,
    eigen_smooth: bool = True,
    eigen_sign: str = "cam",
    long_side: int = 384,
) -> Source:
    """GradCAM-type maps of an IQA model; by default the paper's: HiResCAM [33], smoothed [44].

    Parameters
    ----------
    method : str
        The row's name.
    model : Baseline
        A trained IQA model.
    kind : {"hirescam", "gradcam"}
        Which CAM.
    layer, layer_name : torch.nn.Module, str
        The layer whose feature map is explained (None: the last one) and its name for the cache.
    aug_smooth, eigen_smooth : bool
        Average over six views; keep the first principal component.
    eigen_sign : {"cam", "lapack"}
        Which way that component points; see `lib.cam.extract_cam`.
    long_side : int
        Input resolution, pixels.
    """
    target = model.backbone.bn2 if layer is None and hasattr(model.backbone, "bn2") else layer
    if target is None:  # ResNets have no layer after the last stage
        target = model.backbone.layer4

    def compute(records: Sequence[Record]) -> np.ndarray:
        with torch.no_grad():
            x = model.normalize(network_input(records, long_side))
        return cam.extract_cam(model, x, target, kind, aug_smooth, eigen_smooth, eigen_sign)

    decided = [cam.VERSION, kind, layer_name, aug_smooth, eigen_smooth, eigen_sign, long_side]
    key = fingerprint([weights_fingerprint(model), *decided])
    return Source(group, method, compute, key)


def energy_source(method: str, model: Baseline, group: str, long_side: int = 384) -> Source:
    """Energy of the last feature map: what a trunk looks at when nobody asks it anything."""

    def compute(records: Sequence[Record]) -> np.ndarray:
        with torch.no_grad():
            x = model.normalize(network_input(records, long_side))
            both = model.features(torch.cat([x, x.flip(-1)]))
        energy = cam.channel_energy(both)
        plain, mirrored = energy[: len(records)], energy[len(records) :]
        return np.asarray(plain + mirrored[..., ::-1]) / 2

    key = fingerprint([weights_fingerprint(model), cam.VERSION, "energy", long_side])
    return Source(group, method, compute, key)


def image_source(group: str, method: str, function: Callable[[np.ndarray], np.ndarray]) -> Source:
    """Wrap a function from a picture (HxWx3 uint8) to its map (HxW)."""
    return Source(
        group,
        method,
        lambda records: np.stack([function(r.image) for r in records]),
        function.__name__,
    )


def extract(
    source: Source, dataset: Dataset, batch_size: int = 8, progress: bool = True
) -> list[np.ndarray]:
    """Return the map of every record, HxW float16 at the record's resolution, memoised per image.

    A run that is killed goes on with the first image that has no map yet.
    """
    store = Store("maps", VERSION, data=dataset.fingerprint, source=source.key)
    found: list[np.ndarray | None] = [store.get(name) for name in dataset.names]
    todo = [i for i, saved in enumerate(found) if saved is None]
    bar = tqdm(total=len(todo), desc=source.method, unit="image", disable=not (todo and progress))
    batch: list[tuple[int, Record]] = []

    def flush() -> None:
        for (index, record), saliency_map in zip(
            batch, source.compute([r for _, r in batch]) if batch else [], strict=True
        ):
            full = resize_map(np.asarray(saliency_map, np.float32), record.image.shape[:2])
            peak = full.max()
            full = full / peak if peak > 0 else full  # float16 holds eleven bits: keep them
            found[index] = store.put(dataset.names[index], full.astype(np.float16))
        bar.update(len(batch))
        batch.clear()

    for index in todo:
        record = dataset[index]
        if batch and batch[0][1].image.shape != record.image.shape:
            flush()
        batch.append((index, record))
        if len(batch) == batch_size:
            flush()
    flush()
    bar.close()
    return found


def predictor_source(dataset: Dataset, readout_path: object, folds: int, seed: int) -> Source:
    """Predict with the project's saliency predictor, never on an image that it learned from.

    On OSIE, its training set, each map comes from a read-out trained without that image; on any
    other data set from the shipped read-out.
    """
    group, method = "Saliency predictor", "Lite0 read-out (ours)"
    if dataset.name == "OSIE":
        densities = saliency.cross_validate(dataset, folds, seed)
        by_name = dict(zip(dataset.names, densities, strict=True))
        key = fingerprint(["cross-validated", folds, seed, *dataset.names])
        return Source(
            group,
            f"{method}, cross-validated",
            lambda records: np.stack([by_name[r.name] for r in records]),
            key,
        )
    readout = saliency.load_readout(readout_path)
    predictor = saliency.SaliencyPredictor(readout)
    return Source(
        group,
        method,
        lambda records: np.stack([predictor(r.image) for r in records]),
        weights_fingerprint(readout),
    )


def ablation_sources(model: Baseline, long_side: int) -> list[Source]:
    """One change at a time from the paper's choice: CAM method, layer, smoothing and its sign."""
    blocks = model.backbone.blocks
    layers = {"stride 32, 320 channels": blocks[6], "stride 16, 112 channels": blocks[4]}
    layers["stride 8, 40 channels"] = blocks[2]
    made = [
        cam_source("HiResCAM, last layer, both", model, "the paper's choice", long_side=long_side)
    ]
    made += [cam_source("GradCAM", model, "method", kind="gradcam", long_side=long_side)]
    made += [
        cam_source(title, model, "layer", layer=layer, layer_name=title, long_side=long_side)
        for title, layer in layers.items()
    ]
    smoothings = {
        "none": {"aug_smooth": False, "eigen_smooth": False},
        "six views": {"eigen_smooth": False},
        "component": {"aug_smooth": False},
        "both, sign as LAPACK gives it": {"eigen_sign": "lapack"},
    }
    return made + [
        cam_source(title, model, "smoothing", **options, long_side=long_side)
        for title, options in smoothings.items()
    ]
