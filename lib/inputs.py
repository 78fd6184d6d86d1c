"""What networks learn from: pictures resized once, run through frozen stages once, and by scene."""

import io
from collections.abc import Iterator
from copy import deepcopy
from itertools import chain

import numpy as np
import torch
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components
from torch import nn
from tqdm.auto import tqdm

from lib.images import resize_image
from lib.losses import Recipe
from lib.models.backbones import best_device
from lib.models.baseline import Baseline
from lib.paths import cache_dir
from lib.records import Dataset, Part
from lib.store import Store, fingerprint, read_sealed, weights_fingerprint, write_sealed

VERSION = 1  # of the numbers in the cache
SAME_SCENE = 0.7  # cosine of ImageNet features above which two photographs count as one scene's


def resized_images(dataset: Dataset, size: int) -> np.ndarray:
    """Read all images at `size` x `size`, once: NxSxSx3 uint8, memory-mapped."""

    def blocks() -> Iterator[np.ndarray]:
        for i in tqdm(range(len(dataset)), desc=f"resizing {dataset.name}", unit="image"):
            yield resize_image(dataset[i].image, size, size)[None]

    return _kept(f"{dataset.fingerprint}-{size}", len(dataset), blocks())


def network_inputs(dataset: Dataset, model: Baseline, recipe: Recipe) -> np.ndarray:
    """Return all images as `lib.training` takes them, memory-mapped.

    What the frozen stages make of an image is worked out once, for the image and for its mirror
    image: Nx2xhxwxC float16. Without frozen stages: the pixels, NxSxSx3 uint8.
    """
    size = recipe.image_size
    if not recipe.frozen_stages:
        return resized_images(dataset, size)
    model = deepcopy(model).to(best_device(), memory_format=torch.channels_last)
    trunk = nn.Sequential(*model.stages[: recipe.frozen_stages + 1])

    @torch.inference_mode()
    def blocks() -> Iterator[np.ndarray]:
        images = resized_images(dataset, size)
        for i in tqdm(range(0, len(images), 8), desc="frozen stages, once", unit="batch"):
            x = model.normalize(np.array(images[i : i + 8]))
            both = torch.stack([trunk(x), trunk(x.flip(3))], dim=1).permute(0, 1, 3, 4, 2)
            yield both.half().cpu().contiguous().numpy()

    key = fingerprint([VERSION, weights_fingerprint(trunk)])
    return _kept(f"{dataset.fingerprint}-{size}-{key}", len(dataset), blocks())


def plain(images: np.ndarray, chosen: slice | np.ndarray) -> np.ndarray:
    """Return some of `network_inputs`, not mirrored: of each the first of two, or the pixels."""
    return np.array(images[chosen, 0] if images.dtype == np.float16 else images[chosen])


def by_scene(dataset: Dataset, other: Dataset | None = None) -> Part:
    """Return the photographs that share no scene with `other`; their `contents` are scenes.

    Two photographs show one scene where the cosine of their ImageNet features is above
    `SAME_SCENE`, and so do all that a chain of such pairs joins. A threshold by eye: pairs just
    above it are one subject about half of the time, most pairs below it are two.
    """
    found = np.concatenate([_pooled(d) for d in (dataset, other) if d is not None])
    unit = found / np.linalg.norm(found, axis=1, keepdims=True)
    _, scene = connected_components(csr_matrix(unit @ unit.T > SAME_SCENE), directed=False)
    own, others = np.split(scene, [len(dataset)])
    chosen = np.flatnonzero(~np.isin(own, others))
    part = Part(dataset, chosen)
    part.contents = [f"scene {number}" for number in own[chosen]]
    part.scores = dataset.scores.loc[part.names]
    # Arrays of all its images are kept by number, and its numbers are not the whole's.
    part.fingerprint = fingerprint([dataset.fingerprint, *part.names])
    return part


@torch.inference_mode()
def _pooled(dataset: Dataset) -> np.ndarray:
    """Pool the last features of a network that learned ImageNet alone: NxK; memoised."""
    size = 192
    store = Store("scenes", VERSION, data=dataset.fingerprint, size=size)
    if (found := store.get("features")) is None:
        model = Baseline().to(best_device(), memory_format=torch.channels_last)
        images = resized_images(dataset, size)
        starts = tqdm(range(0, len(images), 16), desc=f"scenes of {dataset.name}", unit="batch")
        parts = (torch.from_numpy(plain(images, slice(i, i + 16))) for i in starts)
        pooled = [model.read(part).mean(dim=(2, 3)).cpu() for part in parts]
        found = store.put("features", torch.cat(pooled).numpy())
    return found


def _kept(name: str, count: int, blocks: Iterator[np.ndarray]) -> np.ndarray:
    """Return `count` rows of the cache, memory-mapped; written in blocks where they are missing."""
    path = cache_dir() / "resized" / f"{name}.npy"

    def content() -> Iterator[bytes]:
        first = next(blocks)
        kind = np.lib.format.dtype_to_descr(first.dtype)
        about = {"descr": kind, "fortran_order": False, "shape": (count, *first.shape[1:])}
        np.lib.format.write_array_header_1_0(header := io.BytesIO(), about)
        yield header.getvalue()
        yield from (block.tobytes() for block in chain([first], blocks))

    try:
        read_sealed(path)
    except OSError:
        write_sealed(path, content())
    return np.load(path, mmap_mode="r")
