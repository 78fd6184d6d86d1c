"""Masking a share of an image, most or least relevant pixels first (Section III-B).

Orders: by a saliency map, by a model's own GradCAM, by chance, or by the twelve square patches of
[13]. Fills: black and the ImageNet mean as in the paper, and one that stays closer to photographs,
a strong blur. A masked picture lives for one forward pass; only its score is kept.
"""

from collections.abc import Sequence

import cv2
import numpy as np
import pandas as pd
from scipy.ndimage import gaussian_filter
from tqdm.auto import tqdm

from lib.images import network_size, resize_image
from lib.iqa import Metric
from lib.maps import resize_map
from lib.records import Dataset, Part, Record
from lib.sources import Source, extract
from lib.store import Store, fingerprint

VERSION = 1  # of the numbers in the cache
STRATEGIES = ("MoRF", "LeRF")  # most, least relevant first [36]
FILLS = ("black", "mean", "blur")
IMAGENET_MEAN = np.array([124, 116, 104], np.uint8)  # 0.485, 0.456, 0.406 of 255
MAP_BLUR = 1 / 24  # sigma of the blur of a map, in shares of the long side
WIDER = 6  # so many times as wide is the blur that decides between ties
FILL_BLUR = 1 / 12  # sigma of the fill by blur, likewise
PATCHES = (3, 4)  # rows and columns of [13] in a landscape picture
PATCHES_OF_13 = "Patches [13]"
CHUNK, AT_ONCE = 8, 16  # images read together; masked pictures in a forward pass
Cell = tuple[str, str, float]  # strategy, fill, share


def relevance_ranks(saliency_map: np.ndarray, blur: float = MAP_BLUR) -> np.ndarray:
    """Rank the pixels of a map HxW from 0, the most relevant, to HW - 1: HxW int32.

    The map is blurred with a large kernel first, as in the paper, so that (nearly) every quantile
    exists; `blur` is its sigma in shares of the longer side, 0 for none. Where the map still ties,
    as in the black parts of a GradCAM, a much wider blur decides: the nearer to what is relevant,
    the more relevant. What ties even then is put in an order that is random but always the same: a
    constant map is masked everywhere alike.
    """
    values = np.asarray(saliency_map, np.float64)
    if values.ndim != 2 or not values.size or not np.isfinite(values).all():
        raise ValueError(f"a map must be HxW and finite; this one is of shape {values.shape}")
    chance = np.random.default_rng(0).permutation(values.size)
    keys = [chance, *(-_blurred(values, factor * blur).ravel() for factor in (WIDER, 1))]
    order = np.lexsort(keys)  # by the last key first
    ranks = np.empty(values.size, np.int32)
    ranks[order] = np.arange(values.size, dtype=np.int32)
    return ranks.reshape(values.shape)


def _blurred(values: np.ndarray, blur: float) -> np.ndarray:
    values = gaussian_filter(values, blur * max(values.shape), mode="nearest")
    # Twenty bits: enough for any order, and coarser than what rounding does to a constant map.
    return np.round(values * (2**20 / (np.abs(values).max() or 1.0)))


def mask(ranks: np.ndarray, share: float, strategy: str) -> np.ndarray:
    """Choose the pixels to mask: HxW bool.

    The most relevant `share` (MoRF) or the least relevant (LeRF), to within half a pixel. MoRF at
    a share p and LeRF at 1 - p are complements, to the pixel.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"a share must be from 0 to 1, not {share}")
    if strategy == "MoRF":
        return ranks < _pixels(share, ranks.size)
    if strategy == "LeRF":
        return ranks >= _pixels(1 - share, ranks.size)
    raise ValueError(f"strategy must be one of {STRATEGIES}, not {strategy!r}")


def _pixels(share: float, count: int) -> int:
    # Nine digits, so that 1 - (1 - p) counts the same pixels as p.
    return int(np.floor(round(share, 9) * count + 0.5))


def background(image: np.ndarray, kind: str) -> np.ndarray:
    """Return what is put in the hole, HxWx3 uint8: black, the ImageNet mean, the blurred image."""
    if kind == "blur":
        return cv2.GaussianBlur(image, (0, 0), FILL_BLUR * max(image.shape[:2]))
    if kind not in FILLS:
        raise ValueError(f"fill must be one of {FILLS}, not {kind!r}")
    color = IMAGENET_MEAN if kind == "mean" else np.zeros(3, np.uint8)
    return np.broadcast_to(color, image.shape)


def fill(image: np.ndarray, masked: np.ndarray, kind: str) -> np.ndarray:
    """Fill the pixels of `masked` (HxW bool) of an image HxWx3 uint8."""
    return np.where(masked[..., None], background(image, kind), image)


# -- orders beside saliency and GradCAM --------------------------------------------------------


def patch_numbers(shape: tuple[int, int]) -> np.ndarray:
    """Return the number, 0 to 11, of the patch of [13] that each pixel is in: HxW int."""
    rows, columns = PATCHES if shape[1] >= shape[0] else PATCHES[::-1]
    sides = zip(shape, (rows, columns), strict=True)
    down, across = (np.arange(n) * parts // n for n, parts in sides)
    return down[:, None] * columns + across[None, :]


def patch_source(metric: Metric, long_side: int) -> Source:
    """Twelve patches by what they mean to a model, in the manner of [13].

    A patch is as relevant as the score changes when that patch alone is filled with the mean
    color. Unlike saliency, this order is made with the very model that is then judged by it.
    """

    def compute(records: Sequence[Record]) -> np.ndarray:
        found = []
        for record in records:
            size = network_size(record.image.shape[:2], long_side)
            image, numbers = resize_image(record.image, *size), patch_numbers(size)
            hidden = [fill(image, numbers == k, "mean") for k in range(numbers.max() + 1)]
            scores = metric.sign * metric(np.stack([image, *hidden]))
            found.append(np.abs(scores[1:] - scores[0])[patch_numbers(record.image.shape[:2])])
        return np.stack(found)

    return Source(PATCHES_OF_13, "patches", compute, fingerprint([VERSION, metric.key, long_side]))


def center_source() -> Source:
    """Nearest the centre first: what a map must beat to have looked at the picture at all."""

    def compute(records: Sequence[Record]) -> np.ndarray:
        sides = [[np.linspace(-1, 1, side) for side in r.image.shape[:2]] for r in records]
        return np.stack([np.exp(-2 * (y[:, None] ** 2 + x[None, :] ** 2)) for y, x in sides])

    return Source("Dummy", "centre", compute, "centre")


def chance_source(seed: int) -> Source:
    """Blobs by chance: noise, which the blur of `relevance_ranks` turns into blobs of its size."""

    def compute(records: Sequence[Record]) -> np.ndarray:
        pairs = ((np.random.default_rng([seed, *r.name.encode()]), r) for r in records)
        return np.stack([rng.random(r.image.shape[:2]) for rng, r in pairs])

    return Source("Dummy", "chance", compute, fingerprint(["chance", seed]))


# -- scores of masked pictures -----------------------------------------------------------------


def masked_scores(
    metric: Metric,
    dataset: Dataset,
    sources: Sequence[Source],
    fills: Sequence[str],
    shares: Sequence[float],
    long_side: int,
) -> pd.DataFrame:
    """Score every image with every share of its pixels masked, in every order and fill.

    One forward pass a masked picture, at a long side of `long_side` pixels; masks are made on the
    fly, images read a few at a time. Scores are memoised per image, model, map, strategy, fill and
    share, so a longer list of shares costs only the new ones.

    Returns
    -------
    DataFrame
        Columns model, map, strategy, fill, share, image, score (higher is better).
    """
    combinations = [(s, f, float(p)) for s in STRATEGIES for f in fills for p in shares]
    key = {"data": dataset.fingerprint, "model": metric.key, "long_side": long_side}
    stores = {s.method: Store("masking", VERSION, map=s.key, **key) for s in sources}
    rows = []
    starts = range(0, len(dataset), CHUNK)
    for start in tqdm(starts, desc=f"masking for {metric.name}", unit="8 images"):
        part = Part(dataset, range(start, min(start + CHUNK, len(dataset))))
        records: list[Record] = []
        for source in sources:
            store = stores[source.method]
            known = [_read(store, name) for name in part.names]
            needed = dict.fromkeys(_canonical(*c) for c in combinations)
            missing = [[c for c in needed if c not in k] for k in known]
            if any(missing):
                records = records or list(part)
                maps = extract(source, part, progress=False)
                work = zip(records, maps, known, missing, strict=True)
                for one, found_map, found, cells in work:
                    if cells:
                        found |= _score(metric, one.image, found_map, cells, source, long_side)
                        _write(store, one.name, found)
            rows += [
                (metric.name, source.method, *c, name, found[_canonical(*c)])
                for name, found in zip(part.names, known, strict=True)
                for c in combinations
            ]
    columns = ["model", "map", "strategy", "fill", "share", "image", "score"]
    return pd.DataFrame(rows, columns=columns)


def _canonical(strategy: str, kind: str, share: float) -> Cell:
    """Name equal pictures alike: nothing masked, or everything."""
    if share == 0:
        return "MoRF", FILLS[0], 0.0
    return ("MoRF" if share == 1 else strategy), kind, share


def _score(
    metric: Metric,
    image: np.ndarray,
    saliency_map: np.ndarray,
    cells: Sequence[Cell],
    source: Source,
    long_side: int,
) -> dict[Cell, float]:
    size = network_size(image.shape[:2], long_side)
    small = resize_image(image, *size)
    blur = 0 if source.group == PATCHES_OF_13 else MAP_BLUR
    ranks = relevance_ranks(resize_map(np.asarray(saliency_map, np.float32), size), blur)
    behind = {kind: background(small, kind) for kind in {kind for _, kind, _ in cells}}
    scores: list[float] = []
    for start in range(0, len(cells), AT_ONCE):
        chosen = [(mask(ranks, p, s), f) for s, f, p in cells[start : start + AT_ONCE]]
        batch = np.stack([np.where(m[..., None], behind[f], small) for m, f in chosen])
        scores += (metric.sign * metric(batch)).tolist()
    return dict(zip(cells, scores, strict=True))


def _read(store: Store, name: str) -> dict[Cell, float]:
    table = store.get(name)
    return {
        (STRATEGIES[int(s)], FILLS[int(f)], float(p)): float(score)
        for s, f, p, score in (table if table is not None else [])
    }


def _write(store: Store, name: str, known: dict[Cell, float]) -> None:
    rows = [(STRATEGIES.index(s), FILLS.index(f), p, score) for (s, f, p), score in known.items()]
    store.put(name, np.array(rows, np.float64))
