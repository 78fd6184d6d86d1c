"""Masking a share of an image, most or least relevant pixels first (Section III-B).

Orders: by a saliency map, by a model's own GradCAM, by chance, or by the twelve square patches of
[13]. Fills: black and the ImageNet mean as in the paper, and two that stay closer to photographs,
a strong blur and in-painting. A masked picture lives for one forward pass; only its score is kept.
"""

from collections.abc import Sequence

import cv2
import numpy as np
import pandas as pd
from scipy.ndimage import gaussian_filter
from tqdm.auto import tqdm

from lib.images import network_size, resize_image
from lib.maps import resize_map
from lib.models.zoo import Scorer
from lib.records import Dataset, Part, Record
from lib.sources import Source, extract
from lib.store import Store, fingerprint

VERSION = 1  # of the numbers in the cache
STRATEGIES = ("MoRF", "LeRF")  # most, least relevant first [36]
FILLS = ("black", "mean", "blur", "in-painting")
IMAGENET_MEAN = np.array([124, 116, 104], np.uint8)  # 0.485, 0.456, 0.406 of 255
MAP_BLUR = 1 / 24  # sigma of the blur of a map, in shares of the long side
WIDER = 6  # so many times as wide is the blur that decides between ties
FILL_BLUR = 1 / 12  # sigma of the fill by blur, likewise
INPAINTING_SIDE = 96  # pixels: in-painting invents no detail, so it is computed small
PATCHES = (3, 4)  # rows and columns of [13] in a landscape picture
PATCH_MAP, PATCHES_OF_13 = "patches", "Patches [13]"
CHUNK, AT_ONCE = 8, 16  # images read together; masked pictures in a forward pass


def relevance_ranks(saliency_map: np.ndarray, blur: float = MAP_BLUR) -> np.ndarray:
    """Rank the pixels of a map from 0, the most relevant, to HW - 1.

    The map is blurred with a large kernel first, as in the paper, so that (nearly) every quantile
    exists. Where it still ties, as in the black parts of a GradCAM, a much wider blur decides: the
    nearer to what is relevant, the more relevant. What ties even then is put in an order that is
    random but always the same: a constant map is masked everywhere alike.

    Parameters
    ----------
    saliency_map : numpy.ndarray
        HxW, finite; larger is more relevant.
    blur : float
        Sigma, in shares of the longer side; 0 for none, and ties are left to chance.

    Returns
    -------
    numpy.ndarray
        HxW int32, a permutation.

    Raises
    ------
    ValueError
        If the map is not HxW, or holds NaN or infinite values.
    """
    values = np.asarray(saliency_map, np.float64)
    if values.ndim != 2 or not values.size:
        raise ValueError(f"a map must be HxW, not of shape {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError("the map holds NaN or infinite values; mend what made it")
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

    Raises
    ------
    ValueError
        For a share outside 0 to 1, or an unknown strategy.
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


class Filler:
    """Fill masked pixels of one image.

    Parameters
    ----------
    image : numpy.ndarray
        HxWx3 uint8.
    fill : {"black", "mean", "blur", "in-painting"}
        Zero; the ImageNet mean color; the image itself, blurred; or Telea's in-painting (OpenCV),
        which carries the surroundings into the hole. With nothing left to carry, the mean.
    """

    def __init__(self, image: np.ndarray, fill: str):
        if fill not in FILLS:
            raise ValueError(f"fill must be one of {FILLS}, not {fill!r}")
        self.image, self.fill = image, fill
        if fill == "blur":
            self._behind = cv2.GaussianBlur(image, (0, 0), FILL_BLUR * max(image.shape[:2]))
        elif fill in ("black", "mean"):
            color = IMAGENET_MEAN if fill == "mean" else np.zeros(3, np.uint8)
            self._behind = np.broadcast_to(color, image.shape)
        else:
            scale = min(1.0, INPAINTING_SIDE / max(image.shape[:2]))
            size = (max(1, round(side * scale)) for side in image.shape[:2])
            self._small = resize_image(image, *size)

    def __call__(self, masked: np.ndarray) -> np.ndarray:
        """Return the image, HxWx3 uint8, with the pixels of `masked` (HxW bool) filled."""
        behind = self._inpainted(masked) if self.fill == "in-painting" else self._behind
        return np.where(masked[..., None], behind, self.image)

    def _inpainted(self, masked: np.ndarray) -> np.ndarray:
        height, width = self._small.shape[:2]
        # A pixel of the small picture that has any masked part must not leak into the filling.
        share = cv2.resize(masked.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
        hole = (share > 0).astype(np.uint8)
        if hole.all():
            return np.broadcast_to(IMAGENET_MEAN, self.image.shape)
        small = cv2.inpaint(self._small, hole, 3, cv2.INPAINT_TELEA)
        return cv2.resize(small, self.image.shape[1::-1], interpolation=cv2.INTER_LINEAR)


def patch_numbers(shape: tuple[int, int]) -> np.ndarray:
    """Return the number, 0 to 11, of the patch of [13] that each pixel is in: HxW int."""
    rows, columns = PATCHES if shape[1] >= shape[0] else PATCHES[::-1]
    down, across = (
        np.arange(n) * parts // n for n, parts in zip(shape, (rows, columns), strict=True)
    )
    return down[:, None] * columns + across[None, :]


def patch_source(scorer: Scorer, long_side: int) -> Source:
    """Twelve patches by what they mean to a model, in the manner of [13].

    A patch is as relevant as the score changes when that patch alone is filled with the mean
    color. Unlike saliency, this order is made with the very model that is then judged by it.
    """

    def compute(records: Sequence[Record]) -> np.ndarray:
        found = []
        for record in records:
            size = network_size(record.image.shape[:2], long_side)
            image, numbers = resize_image(record.image, *size), patch_numbers(size)
            fill = Filler(image, "mean")
            pictures = [image, *(fill(numbers == k) for k in range(numbers.max() + 1))]
            scores = scorer.score(np.stack(pictures))
            found.append(np.abs(scores[1:] - scores[0])[patch_numbers(record.image.shape[:2])])
        return np.stack(found)

    key = fingerprint([scorer.key, long_side])
    return Source(PATCHES_OF_13, PATCH_MAP, compute, key)


def center_source() -> Source:
    """Nearest the centre first: what a map must beat to have looked at the picture at all."""

    def compute(records: Sequence[Record]) -> np.ndarray:
        found = []
        for record in records:
            y, x = (np.linspace(-1, 1, side) for side in record.image.shape[:2])
            found.append(np.exp(-2 * (y[:, None] ** 2 + x[None, :] ** 2)))
        return np.stack(found)

    return Source("Dummy", "centre", compute, "centre")


def chance_source(seed: int) -> Source:
    """Blobs by chance: noise, which the blur of `relevance_ranks` turns into blobs of its size."""

    def compute(records: Sequence[Record]) -> np.ndarray:
        generators = (np.random.default_rng([seed, *r.name.encode()]) for r in records)
        return np.stack(
            [g.random(r.image.shape[:2]) for g, r in zip(generators, records, strict=True)]
        )

    return Source("Dummy", "chance", compute, fingerprint([seed]))


def masked_scores(
    scorer: Scorer,
    dataset: Dataset,
    sources: Sequence[Source],
    fills: Sequence[str],
    shares: Sequence[float],
    long_side: int,
) -> pd.DataFrame:
    """Score every image with every share of its pixels masked, in every order and fill.

    One forward pass a masked picture; masks are made on the fly. Scores are memoised per image,
    model, map, strategy, fill and share, so a longer list of shares costs only the new ones.

    Parameters
    ----------
    scorer : Scorer
        The model that is asked.
    dataset : Dataset
        Images; read a few at a time.
    sources : sequence of Source
        Ways to order the pixels.
    fills, shares : sequence
        Of `FILLS`; from 0 to 1.
    long_side : int
        Pictures are scored with this long side, pixels.

    Returns
    -------
    DataFrame
        Columns model, map, strategy, fill, share, image, score.
    """
    combinations = [(s, f, float(p)) for s in STRATEGIES for f in fills for p in shares]
    needed = list(dict.fromkeys(_canonical(*c) for c in combinations))
    stores = {
        source.method: Store(
            "masking",
            VERSION,
            data=dataset.fingerprint,
            model=scorer.key,
            map=source.key,
            long_side=long_side,
        )
        for source in sources
    }
    rows = []
    bar = tqdm(range(0, len(dataset), CHUNK), desc=f"masking for {scorer.name}", unit="8 images")
    for start in bar:
        part = Part(dataset, range(start, min(start + CHUNK, len(dataset))))
        records: dict[str, Record] = {}
        for source in sources:
            known = {name: _read(stores[source.method], name) for name in part.names}
            missing = {n: [c for c in needed if c not in k] for n, k in known.items()}
            if any(missing.values()):
                records = records or {r.name: r for r in part}
                maps = dict(zip(part.names, extract(source, part, progress=False), strict=True))
                for name in (n for n in part.names if missing[n]):
                    scored = _score(
                        scorer, records[name].image, maps[name], missing[name], source, long_side
                    )
                    known[name].update(zip(missing[name], scored, strict=True))
                    _write(stores[source.method], name, known[name])
            rows += [
                (scorer.name, source.method, *c, name, known[name][_canonical(*c)])
                for name in part.names
                for c in combinations
            ]
    return pd.DataFrame(
        rows, columns=["model", "map", "strategy", "fill", "share", "image", "score"]
    )


def _canonical(strategy: str, fill: str, share: float) -> tuple[str, str, float]:
    """Name equal pictures alike: nothing masked, or everything."""
    if share == 0:
        return "MoRF", FILLS[0], 0.0
    return ("MoRF" if share == 1 else strategy), fill, share


def _score(
    scorer: Scorer,
    image: np.ndarray,
    saliency_map: np.ndarray,
    wanted: Sequence[tuple[str, str, float]],
    source: Source,
    long_side: int,
) -> list[float]:
    size = network_size(image.shape[:2], long_side)
    small = resize_image(image, *size)
    blur = 0 if source.group == PATCHES_OF_13 else MAP_BLUR
    ranks = relevance_ranks(resize_map(np.asarray(saliency_map, np.float32), size), blur)
    fillers = {fill: Filler(small, fill) for fill in {f for _, f, _ in wanted}}
    scores: list[float] = []
    for start in range(0, len(wanted), AT_ONCE):
        batch = [fillers[f](mask(ranks, p, s)) for s, f, p in wanted[start : start + AT_ONCE]]
        scores += [float(s) for s in scorer.score(np.stack(batch))]
    return scores


def _read(store: Store, name: str) -> dict[tuple[str, str, float], float]:
    table = store.get(name)
    return {
        (STRATEGIES[int(s)], FILLS[int(f)], float(p)): float(score)
        for s, f, p, score in (table if table is not None else [])
    }


def _write(store: Store, name: str, known: dict[tuple[str, str, float], float]) -> None:
    rows = [(STRATEGIES.index(s), FILLS.index(f), p, score) for (s, f, p), score in known.items()]
    store.put(name, np.array(rows, np.float64))
