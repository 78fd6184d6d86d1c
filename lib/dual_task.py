"""Section III-C as an experiment: three networks, repeated splits, two tasks.

A *repeat* holds some photographs out for quality and some images out for saliency. All three
networks of a repeat start from the same weights and see the same crops in the same order, so their
differences are paired. No network is judged on an image whose gaze had any part in it: the proxy
maps of repeat r come from a predictor trained without the images that repeat r is judged on.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from lib import inputs, training
from lib.jobs import run_all
from lib.losses import Recipe
from lib.maps import normalize_sum, resize_map
from lib.models import saliency
from lib.models.baseline import KINDS, Baseline, SalLoss, load_baseline, save
from lib.paths import cache_dir
from lib.records import Dataset, Record, folds_of
from lib.sources import published_source
from lib.store import Store, fingerprint, weights_fingerprint

# name -> (network, share of the recipe's saliency weight)
VARIANTS = {
    "Baseline": (Baseline.kind, 0.0),
    "Baseline-Sal-Loss": (SalLoss.kind, 1.0),
    "Baseline-GradCAM-Loss": (Baseline.kind, 1.0),
}
GRID = (24, 24)  # at which proxies are kept, for photographs of any size
HELD_OUT = 0.2  # of the photographs, where the two data sets share none (Section III-C)


@dataclass(frozen=True)
class Split:
    """What one repeat learns from and is judged on, as numbers of records."""

    train: np.ndarray  # photographs of the quality set
    test: np.ndarray
    gaze_train: np.ndarray  # images of the saliency set
    gaze_test: np.ndarray


def split(quality: Dataset, gaze: Dataset, repeat: int, repeats: int, seed: int) -> Split:
    """Draw one of `repeats` splits.

    Repeat r is judged on fold r of the saliency set, so that each image is judged once, and on a
    random fifth of the contents of the quality set. Where both sets show the same photographs, a
    photograph is held out of both at once.
    """
    fold = folds_of(len(gaze), repeats, seed)
    contents = np.array(quality.contents)
    if set(contents) & set(gaze.names):
        aside = np.array(gaze.names)[fold == repeat]
    else:
        each = np.random.default_rng([seed, repeat]).permutation(np.unique(contents))
        aside = each[: round(HELD_OUT * len(each))]
    out = np.isin(contents, aside)
    return Split(*(np.flatnonzero(part) for part in (~out, out, fold != repeat, fold == repeat)))


def proxies(
    kind: str, quality: Dataset, side: int, gaze: Dataset, repeats: int, seed: int
) -> np.ndarray:
    """Give each photograph, `side` x `side` pixels, the saliency to learn from.

    "predictor": the read-outs of all repeats, each trained without its own fold. "observers": the
    density observed on the photograph's content. Else a published network, such as "msi-net"; these
    two are the same in every repeat. Returns RxNxGxG float32, maps of sum 1; G = side / MAP_STRIDE.
    """
    cells = (side // training.MAP_STRIDE,) * 2
    if kind == "observers":
        known = {r.name: normalize_sum(resize_map(r.density, cells)) for r in gaze}
        return np.stack([[known[content] for content in quality.contents]] * repeats)
    if kind == "predictor":
        readouts = saliency.fold_readouts(gaze, repeats, seed)
        key = [weights_fingerprint(readout) for readout in readouts]

        def predict(record: Record) -> np.ndarray:
            return saliency.predict_grid(readouts, record.image)
    else:
        source = published_source(kind)
        key, predict = [source.key], lambda record: source.compute([record])
    store = Store("proxies", saliency.VERSION, data=quality.fingerprint, readouts=key, cells=GRID)
    found = []
    for i, name in enumerate(tqdm(quality.names, f"proxies for {quality.name}", unit="image")):
        if (maps := store.get(name)) is None:
            maps = store.put(name, normalize_sum(resize_map(predict(quality[i]), GRID)))
        found.append(maps if cells == GRID else normalize_sum(resize_map(maps, cells)))
    maps = np.stack(found, axis=1)
    return np.broadcast_to(maps, (repeats, *maps.shape[1:]))  # a published network's take no room


@dataclass(frozen=True)
class Experiment:
    """Everything that all repeats share."""

    quality: Dataset  # photographs with scores
    gaze: Dataset  # images with fixations
    proxies: np.ndarray | dict[int, np.ndarray]  # by repeat, NxGxG: the maps that it learns from
    recipe: Recipe  # of the dual-task networks; the Baseline's saliency weight is 0
    backbone: str  # a name of `lib.models.backbones.BACKBONES`
    seed: int  # of splits and weights; repeat r trains with `seed + r`

    @cached_property
    def images(self) -> np.ndarray:
        """The quality set as the networks take it (`lib.inputs`), memory-mapped."""
        return inputs.network_inputs(self.quality, Baseline(self.backbone), self.recipe)

    @property
    def scores(self) -> np.ndarray:
        """The opinion scores (N,)."""
        return self.quality.scores.to_numpy()


def fit(
    experiment: Experiment,
    variant: str,
    repeat: int,
    chosen: np.ndarray,
    watch: Callable[[training.Log], object] | None = None,
) -> Path:
    """Train one variant of one repeat on the chosen photographs; return the path of its weights.

    The folder is named by everything that decides them: a rerun finds it, or goes on in it. What
    stands there damaged is trained again.
    """
    kind, share = VARIANTS[variant]
    seed, weight = experiment.seed + repeat, share * experiment.recipe.saliency_weight
    recipe = replace(experiment.recipe, seed=seed, saliency_weight=weight)
    start = KINDS[kind](experiment.backbone, "imagenet", seed=seed)
    maps = experiment.proxies[repeat][chosen]
    decided = [training.VERSION, weights_fingerprint(start), recipe, maps.tobytes()]
    key = fingerprint([*decided, experiment.quality.fingerprint, chosen.tobytes()])
    folder = cache_dir() / "dual-task" / f"{variant}-{key}"
    path = folder / "weights.safetensors"
    if path.exists():
        try:
            log = load_baseline(path).about["log"]
        except ValueError as error:
            print(f"{error}; trained again", flush=True)
        else:
            if watch is not None:
                watch(log)
            return path
    images, scores = experiment.images[chosen], experiment.scores[chosen]
    model, log = training.train(start, images, scores, recipe, folder, maps=maps, watch=watch)
    save(model, path, name=variant, log=log)
    (folder / "last.pt").unlink(missing_ok=True)
    return path


def fit_all(
    experiment: Experiment, wanted: Sequence[tuple[str, int, np.ndarray]], jobs: int | str = 1
) -> list[Path]:
    """Train all the wanted (variant, repeat, chosen photographs), spread as `lib.jobs` says."""
    each = {r: replace(experiment, proxies={r: experiment.proxies[r]}) for _, r, _ in wanted}
    tasks = [(each[one[1]], *one) for one in wanted]  # a repeat's opens the photographs once
    return run_all(fit, tasks, jobs, "training", "network")


def judged(experiment: Experiment, path: Path, chosen: np.ndarray) -> np.ndarray:
    """Score the chosen photographs by a trained network (n,); memoised."""
    network, name = load_baseline(path), fingerprint([chosen.tobytes()])
    frozen = experiment.recipe.frozen_stages
    key = {"data": experiment.quality.fingerprint, "size": experiment.recipe.image_size}
    store = Store("judged", training.VERSION, **key, weights=weights_fingerprint(network))
    if (scores := store.get(name)) is None:
        scores = store.put(name, training.predict(network, experiment.images[chosen], frozen))
    return scores
