"""Section III-A from end to end: maps of every method on a data set.

A *source* turns a record into a saliency map. Maps are computed once, image by image, and memoised.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch

from lib import cam
from lib.images import network_size, resize_image
from lib.jobs import run_all
from lib.maps import resize_map
from lib.models import saliency
from lib.models.backbones import best_device
from lib.models.baseline import Baseline
from lib.models.published import Published
from lib.records import Dataset, Part, Record, parts_of
from lib.store import Kept, Store, fingerprint, weights_fingerprint

VERSION = 1  # of the numbers in the cache


@dataclass(frozen=True)
class Source:
    """A way to get a saliency map."""

    group: str  # as it stands in the table
    method: str  # likewise
    compute: Callable[[Sequence[Record]], np.ndarray]  # same-sized records to maps BxhxW
    key: str  # everything that decides the maps: weights, parameters, the version of the code


def network_input(records: Sequence[Record], long_side: int) -> np.ndarray:
    """Resize the records' images so that the long side is `long_side`, sides multiples of 32."""
    size = network_size(records[0].image.shape[:2], long_side)
    return np.stack([resize_image(r.image, *size) for r in records])


def cam_source(
    method: str,
    model: Baseline | Published,
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

    `layer` is the one whose feature map is explained (None: the last one), `layer_name` its name
    for the cache, `long_side` the input's, in pixels; for the rest see `lib.cam.extract_cam`.
    """
    options = (kind, aug_smooth, eigen_smooth, eigen_sign)
    model.to(best_device())
    explained = model.last_layer if layer is None else layer

    def compute(records: Sequence[Record]) -> np.ndarray:
        x = model.normalize(network_input(records, long_side))
        return cam.extract_cam(model, x, explained, *options)

    key = [weights_fingerprint(model), cam.VERSION, *options, layer_name, long_side]
    return Source(group, method, compute, fingerprint(key))


def extract(source: Source, dataset: Dataset, batch_size: int = 8, jobs: int | str = 1) -> Kept:
    """Return each record's map, HxW float16 of its size, memoised; for `jobs` see `lib.jobs`."""
    store = Store("maps", VERSION, data=dataset.fingerprint, source=source.key)
    todo = Part(dataset, [i for i, name in enumerate(dataset.names) if store.get(name) is None])
    if tasks := [(source, part, store) for part in parts_of(todo, batch_size)]:
        run_all(_extract, tasks, jobs, source.method, "batch")
    return Kept([store.path(name) for name in dataset.names])


def _extract(source: Source, part: Part, store: Store) -> None:
    for _, alike in groupby(part, lambda record: record.image.shape):
        records = list(alike)
        for record, found in zip(records, source.compute(records), strict=True):
            full = resize_map(np.asarray(found, np.float32), record.image.shape[:2])
            full = full / (full.max() or 1)  # float16 holds eleven bits: keep them
            store.put(record.name, full.astype(np.float16))


def predictor_source(dataset: Dataset, folds: int, seed: int, name: str = saliency.NAME) -> Source:
    """Predict with the project's saliency predictor, or a published one (`published_source`).

    On OSIE, its training set, each map of ours comes from a read-out trained without that image; on
    any other data set from the shipped read-out.
    """
    if name != saliency.NAME:
        return published_source(name)
    group, method = "Saliency predictor", "Lite0 read-out (ours)"
    if dataset.name == "OSIE":
        found = saliency.cross_validate(dataset, folds, seed)
        by_name = dict(zip(dataset.names, found, strict=True))
        key = fingerprint(["cross-validated", folds, seed, *dataset.names])
        method = f"{method}, cross-validated"
        return Source(group, method, lambda rs: np.stack([by_name[r.name] for r in rs]), key)
    predict = saliency.SaliencyPredictor(saliency.load_readout())
    key = weights_fingerprint(predict.readout)
    return Source(group, method, lambda rs: np.stack([predict(r.image) for r in rs]), key)


def published_source(name: str) -> Source:
    """Predict with one of `saliency.PUBLISHED`; FileNotFoundError says where its weights are."""
    if name not in saliency.PUBLISHED:
        known = ", ".join(saliency.PUBLISHED)
        raise ValueError(f"there is no published network {name!r}; choose one of {known}")
    method, load = saliency.PUBLISHED[name]
    network = load().to(best_device())
    key = fingerprint([name, weights_fingerprint(network)])
    predict, group = network.predict, "Saliency predictor"
    return Source(group, method, lambda rs: np.stack([predict(r.image) for r in rs]), key)
