"""Masking a share of an image, most or least relevant pixels first (Section III-B).

Fills: black and the ImageNet mean as in the paper, and one that stays closer to photographs, a
strong blur. A masked picture lives for one forward pass; only its score is kept.
"""

from collections.abc import Sequence

import cv2
import numpy as np
import pandas as pd
from scipy.ndimage import gaussian_filter
from tqdm.auto import tqdm

from lib.images import NoScoreError, network_size, resize_image
from lib.iqa import Metric, attempt
from lib.jobs import run_all
from lib.maps import resize_map
from lib.records import Dataset, Record, parts_of
from lib.report import require
from lib.sources import Source, extract
from lib.store import Store

VERSION = 1  # of the numbers in the cache
STRATEGIES = ("MoRF", "LeRF")  # most, least relevant first [36]
FILLS = ("black", "mean", "blur")
IMAGENET_MEAN = np.array([124, 116, 104], np.uint8)  # 0.485, 0.456, 0.406 of 255
MAP_BLUR, FILL_BLUR = 1 / 24, 1 / 12  # sigmas in shares of the long side: of maps, of the fill
PATCHES_OF_13 = "Patches [13]"  # maps of this group are ranked as they are, without a blur
AT_ONCE = 16  # masked pictures in a forward pass
Cell = tuple[int, int, float]  # a masked picture: numbers of its strategy and fill, share


def relevance_ranks(saliency_map: np.ndarray, blur: float = MAP_BLUR) -> np.ndarray:
    """Rank the pixels of a map HxW from 0, the most relevant, to HW - 1: HxW int32.

    The map is blurred with a large kernel first, as in the paper, so that (nearly) every quantile
    exists; `blur` is its sigma in shares of the longer side, 0 for none. Where the map still ties,
    as in the black parts of a GradCAM, a kernel six times as wide decides: the nearer to what is
    relevant, the more relevant. What ties even then is put in an order that is random but always
    the same: a constant map is masked everywhere alike.
    """
    values = np.asarray(saliency_map, np.float64)
    good = values.ndim == 2 and values.size > 0 and np.isfinite(values).all()
    require(good, f"a map must be HxW and finite; this one is of shape {values.shape}")
    keys = [np.random.default_rng(0).permutation(values.size)]
    for wider in (6, 1):  # lexsort sorts by the last key first
        blurred = gaussian_filter(values, wider * blur * max(values.shape), mode="nearest")
        # Twenty bits: enough for any order, and coarser than what rounding does to a constant map.
        keys.append(-np.round(blurred * (2**20 / (np.abs(blurred).max() or 1.0))).ravel())
    ranks = np.empty(values.size, np.int32)
    ranks[np.lexsort(keys)] = np.arange(values.size, dtype=np.int32)
    return ranks.reshape(values.shape)


def mask(ranks: np.ndarray, share: float, strategy: str) -> np.ndarray:
    """Choose the most (MoRF) or least (LeRF) relevant `share` of the pixels to mask: HxW bool.

    MoRF at a share p and LeRF at 1 - p are complements, to the pixel.
    """
    require(0 <= share <= 1, f"a share must be from 0 to 1, not {share}")
    require(strategy in STRATEGIES, f"strategy must be one of {STRATEGIES}, not {strategy!r}")
    first = share if strategy == "MoRF" else 1 - share
    # Nine digits, so that 1 - (1 - p) counts the same pixels as p.
    count = int(np.floor(round(first, 9) * ranks.size + 0.5))
    return ranks < count if strategy == "MoRF" else ranks >= count


def background(image: np.ndarray, kind: str) -> np.ndarray:
    """Return what is put in the hole, HxWx3 uint8: black, the ImageNet mean, the blurred image."""
    if kind == "blur":
        return cv2.GaussianBlur(image, (0, 0), FILL_BLUR * max(image.shape[:2]))
    require(kind in FILLS, f"fill must be one of {FILLS}, not {kind!r}")
    return np.broadcast_to(IMAGENET_MEAN if kind == "mean" else np.uint8(0), image.shape)


def fill(image: np.ndarray, masked: np.ndarray, kind: str) -> np.ndarray:
    """Fill the pixels of `masked` (HxW bool) of an image HxWx3 uint8."""
    return np.where(masked[..., None], background(image, kind), image)


def masked_scores(
    metric: Metric,
    dataset: Dataset,
    sources: Sequence[Source],
    fills: Sequence[str],
    shares: Sequence[float],
    long_side: int,
    jobs: int | str = 1,
) -> pd.DataFrame:
    """Score every image with every share of its pixels masked, in every order and fill.

    One forward pass a masked picture, at a long side of `long_side` pixels. Scores are memoised per
    image, model, map, strategy, fill and share, so a longer list of shares costs the new ones only.
    For `jobs` see `lib.jobs`. Returns model, map, strategy, fill, share, image, score (high: good).
    """
    if jobs != 1:
        tasks = [(metric, p, sources, fills, shares, long_side) for p in parts_of(dataset)]
        scored = run_all(masked_scores, tasks, jobs, f"masking for {metric.name}", "part")
        return pd.concat(scored, ignore_index=True)
    asked = [(s, f, float(p)) for s in STRATEGIES for f in fills for p in shares]
    cells = {one: _cell(*one) for one in asked}
    key = {"data": dataset.fingerprint, "model": metric.key, "long_side": long_side}
    stores = [Store("masking", VERSION, map=s.key, **key) for s in sources]
    maps = [extract(source, dataset) for source in sources]
    rows = []
    for index, name in enumerate(tqdm(dataset.names, f"masking for {metric.name}", unit="image")):
        record: Record | None = None  # read once for all maps, or never
        for source, store, drawn in zip(sources, stores, maps, strict=True):
            stored = store.get(name)
            found = {} if stored is None else {tuple(r[:3]): r[3] for r in stored.tolist()}
            if missing := [c for c in dict.fromkeys(cells.values()) if c not in found]:
                record = record or dataset[index]
                size = network_size(record.image.shape[:2], long_side)
                blur = 0 if source.group == PATCHES_OF_13 else MAP_BLUR
                ranks = relevance_ranks(resize_map(drawn[index].astype(np.float32), size), blur)
                found |= _score(metric, resize_image(record.image, *size), ranks, missing)
                store.put(name, np.array([(*c, v) for c, v in found.items()]))
            rows += [(metric.name, source.method, *one, name, found[cells[one]]) for one in asked]
    columns = ["model", "map", "strategy", "fill", "share", "image", "score"]
    return pd.DataFrame(rows, columns=columns)


def _cell(strategy: str, kind: str, share: float) -> Cell:
    """Give a masked picture its place in the store: nothing masked, or everything, is one cell."""
    strategy = STRATEGIES[0] if share in (0, 1) else strategy
    kind = FILLS[0] if share == 0 else kind
    return STRATEGIES.index(strategy), FILLS.index(kind), share


def _score(metric: Metric, image: np.ndarray, ranks: np.ndarray, cells: Sequence[Cell]) -> dict:
    behind = {f: background(image, FILLS[f]) for f in {f for _, f, _ in cells}}
    scores: list[float] = []
    for start in range(0, len(cells), AT_ONCE):
        holes = [(mask(ranks, p, STRATEGIES[s]), f) for s, f, p in cells[start : start + AT_ONCE]]
        masked = [np.where(hole[..., None], behind[f], image) for hole, f in holes]
        try:
            found = metric(batch := np.stack(masked))
        except NoScoreError:  # one of them at least; a blank picture has no PIQE: NaN
            found = np.array([attempt(metric, one[None])[0] for one in batch])
        scores += (metric.sign * found).tolist()
    return dict(zip(cells, scores, strict=True))
