"""Section III-C as an experiment: three networks, repeated splits, two tasks, Table II.

A *repeat* holds some photographs out for quality and some images out for saliency. All three
networks of a repeat start from the same weights and see the same crops in the same order, so their
differences are paired. No network is judged on an image whose gaze had any part in it: the proxy
maps of repeat r come from a predictor that was trained without the images that repeat r is judged
on.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tqdm.auto import tqdm

from lib import sources, stats, training
from lib.maps import normalize_sum, resize_map
from lib.metrics import score_map
from lib.models import saliency
from lib.models.baseline import KINDS, Baseline, SalLoss, load_baseline, save
from lib.paths import cache_dir
from lib.records import Dataset, Part, Record
from lib.sources import Source, extract, network_input
from lib.store import Store, fingerprint, weights_fingerprint
from lib.training import MAP_STRIDE, Recipe, predict, resized_images, train

# name -> (network, share of the recipe's saliency weight)
VARIANTS = {
    "Baseline": (Baseline.kind, 0.0),
    "Baseline-Sal-Loss": (SalLoss.kind, 1.0),
    "Baseline-GradCAM-Loss": (Baseline.kind, 1.0),
}
TUNED = "Baseline-GradCAM-Loss, people's maps"  # the variant that the paper had no data for
HELD_OUT = 0.2  # of the photographs, where the two data sets share none (Section III-C)


@dataclass(frozen=True)
class Split:
    """What one repeat learns from and is judged on, as numbers of records.

    Attributes
    ----------
    train, test : numpy.ndarray
        Photographs of the quality set.
    gaze_train, gaze_test : numpy.ndarray
        Images of the saliency set.
    """

    train: np.ndarray
    test: np.ndarray
    gaze_train: np.ndarray
    gaze_test: np.ndarray


def split(quality: Dataset, gaze: Dataset, repeat: int, repeats: int, seed: int) -> Split:
    """Draw one of `repeats` splits.

    The saliency set is cut into as many folds as there are repeats; repeat r is judged on fold r,
    so that each image is judged once. Of the quality set, a random fifth of the contents is held
    out. Where both sets show the same photographs, a photograph is held out of both at once.
    """
    fold = saliency.folds_of(len(gaze), repeats, seed)
    gaze_test = np.flatnonzero(fold == repeat)
    contents = np.array(quality.contents)
    if set(contents) & set(gaze.names):
        aside = {gaze.names[i] for i in gaze_test}
    else:
        each = np.unique(contents)
        order = np.random.default_rng([seed, repeat]).permutation(len(each))
        aside = set(each[order[: round(HELD_OUT * len(each))]])
    held_out = np.isin(contents, list(aside))
    return Split(
        np.flatnonzero(~held_out),
        np.flatnonzero(held_out),
        np.flatnonzero(fold != repeat),
        gaze_test,
    )


def observed_maps(dataset: Dataset, side: int, gaze: Dataset) -> np.ndarray:
    """Give each image the density observed on its content: NxGxG float32, each summing to 1.

    Parameters
    ----------
    side : int
        Images are learned from at `side` x `side` pixels; G = side / `MAP_STRIDE`.
    gaze : Dataset
        Records with a density, by the names that `dataset.contents` has.
    """
    cells = (side // MAP_STRIDE,) * 2
    known = {r.name: normalize_sum(resize_map(r.density, cells)) for r in gaze}
    return np.stack([known[content] for content in dataset.contents])


def predicted_maps(
    dataset: Dataset, side: int, gaze: Dataset, repeats: int, seed: int
) -> np.ndarray:
    """Predict each image by the read-outs of all repeats, each trained without its own fold.

    Returns
    -------
    numpy.ndarray
        RxNxGxG float32 proxy saliency, each map summing to 1; see `observed_maps` for G.
    """
    cells = (side // MAP_STRIDE,) * 2
    readouts = saliency.fold_readouts(gaze, repeats, seed)
    key = [weights_fingerprint(readout) for readout in readouts]
    store = Store("proxies", saliency.VERSION, data=dataset.fingerprint, readouts=key, cells=cells)
    found = []
    for index in tqdm(range(len(dataset)), desc=f"proxies for {dataset.name}", unit="image"):
        name = dataset.names[index]
        maps = store.get(name)
        if maps is None:
            grids = saliency.predict_grid(readouts, dataset[index].image)
            maps = store.put(name, normalize_sum(resize_map(grids, cells)))
        found.append(maps)
    return np.stack(found, axis=1)


PROXIES: dict[str, Callable[[Dataset, int, Dataset, int, int], np.ndarray]] = {
    "predictor": predicted_maps,
    "observers": lambda quality, side, gaze, repeats, _: np.stack(
        [observed_maps(quality, side, gaze)] * repeats
    ),
}


def starting_network(kind: str, backbone: str, seed: int) -> Baseline:
    """ImageNet trunk and a fresh head; of one seed, all kinds start from the same weights."""
    return KINDS[kind](backbone, "imagenet", seed=seed)


def train_one(
    name: str,
    start: Baseline,
    images: np.ndarray,
    scores: np.ndarray,
    maps: np.ndarray,
    recipe: Recipe,
    data_key: str,
    watch: Callable[[list[dict[str, float]]], object] | None = None,
    trained: bool = False,
) -> Path:
    """Train one network, or find it trained; returns the path of its weights.

    The folder is named by everything that decides the weights, so a rerun finds it. Training that
    was interrupted goes on from its last epoch.
    """
    key = fingerprint(
        [training.VERSION, weights_fingerprint(start), recipe, data_key, maps.tobytes()]
    )
    safe = "".join(c if c.isalnum() else "-" for c in name)
    folder = cache_dir() / "dual-task" / f"{safe}-{key}"
    path = folder / "weights.safetensors"
    if not path.is_file():
        model, _ = train(start, images, scores, recipe, folder, None, maps, watch, trained)
        save(model, path, name=name)
        (folder / "last.pt").unlink(missing_ok=True)
    elif watch is not None:
        watch(pd.read_csv(folder / "log.csv").to_dict("records"))
    return path


@dataclass(frozen=True)
class Experiment:
    """Everything that all repeats share.

    Attributes
    ----------
    quality, gaze : Dataset
        Photographs with scores; images with fixations.
    proxies : numpy.ndarray
        RxNxGxG, the maps that repeat r learns from (`PROXIES`).
    recipe : Recipe
        How the dual-task networks are trained; the Baseline's saliency weight is 0.
    backbone : str
        A name of `lib.models.backbones.BACKBONES`.
    seed : int
        Seed of splits and weights; repeat r trains with `seed + r`.
    """

    quality: Dataset
    gaze: Dataset
    proxies: np.ndarray
    recipe: Recipe
    backbone: str
    seed: int

    @property
    def repeats(self) -> int:
        """Number of repeats."""
        return len(self.proxies)

    def split(self, repeat: int) -> Split:
        """Return the split of one repeat."""
        return split(self.quality, self.gaze, repeat, self.repeats, self.seed)

    @property
    def images(self) -> np.ndarray:
        """The quality set as NxSxSx3 uint8, memory-mapped."""
        return resized_images(self.quality, self.recipe.image_size)

    @property
    def scores(self) -> np.ndarray:
        """The opinion scores (N,)."""
        return self.quality.scores.to_numpy()


def fit(
    experiment: Experiment,
    variant: str,
    repeat: int,
    chosen: np.ndarray,
    watch: Callable[[list[dict[str, float]]], object] | None = None,
) -> Path:
    """Train one variant of one repeat on the chosen photographs; returns its weights' path."""
    kind, share = VARIANTS[variant]
    recipe = replace(
        experiment.recipe,
        seed=experiment.seed + repeat,
        saliency_weight=share * experiment.recipe.saliency_weight,
    )
    start = starting_network(kind, experiment.backbone, recipe.seed)
    data_key = fingerprint([experiment.quality.fingerprint, chosen.tobytes()])
    maps = experiment.proxies[repeat][chosen]
    images, scores = experiment.images[chosen], experiment.scores[chosen]
    return train_one(variant, start, images, scores, maps, recipe, data_key, watch)


def fine_tune(experiment: Experiment, start: Path, repeat: int, epochs: int, times: int) -> Path:
    """Go on training a repeat's Baseline with people's maps in place of proxies.

    Photographs with scores (and no map) and images with fixations (and no score) share the
    batches; each image with fixations appears `times` times an epoch.
    """
    chosen = experiment.split(repeat)
    size, cells = experiment.recipe.image_size, experiment.proxies.shape[-1]
    looked_at = np.tile(chosen.gaze_train, times)
    images = np.concatenate(
        [experiment.images[chosen.train], resized_images(experiment.gaze, size)[looked_at]]
    )
    scores = np.concatenate([experiment.scores[chosen.train], np.full(len(looked_at), np.nan)])
    seen = Part(experiment.gaze, chosen.gaze_train)
    maps = np.concatenate(
        [
            np.full((len(chosen.train), cells, cells), np.nan, np.float32),
            np.tile(observed_maps(seen, size, seen), (times, 1, 1)),
        ]
    )
    recipe = replace(experiment.recipe, epochs=epochs, seed=experiment.seed + repeat)
    data = [experiment.quality.fingerprint, experiment.gaze.fingerprint]
    key = fingerprint([*data, chosen.train.tobytes(), looked_at.tobytes()])
    return train_one(TUNED, load_baseline(start), images, scores, maps, recipe, key, trained=True)


def second_output(
    method: str, networks: Sequence[Baseline], experiment: Experiment, long_side: int
) -> Source:
    """Saliency as a network itself gives it, one pass an image; each repeat answers for its fold.

    Parameters
    ----------
    method : str
        The row's name.
    networks : sequence of Baseline
        A network a repeat.
    long_side : int
        Input resolution, pixels.
    """

    def maps(network: Baseline, records: Sequence[Record]) -> np.ndarray:
        with torch.inference_mode():
            _, found = network.both(network.normalize(network_input(records, long_side)))
        return found.numpy()

    answers = [
        Source("Dual task", method, lambda records, n=n: maps(n, records), weights_fingerprint(n))
        for n in networks
    ]
    return by_fold(answers, experiment, str(long_side))


def explained(
    method: str, networks: Sequence[Baseline], experiment: Experiment, long_side: int
) -> Source:
    """Extract maps as Section III-A does (HiResCAM, smoothed); each repeat answers for its fold."""
    each = [sources.cam_source(method, n, long_side=long_side) for n in networks]
    return by_fold(each, experiment, "III-A")


def by_fold(sources: Sequence[Source], experiment: Experiment, note: str) -> Source:
    """Let repeat r's source answer for the images that repeat r is judged on."""
    fold = saliency.folds_of(len(experiment.gaze), experiment.repeats, experiment.seed)
    repeat_of = dict(zip(experiment.gaze.names, fold, strict=True))

    def compute(records: Sequence[Record]) -> np.ndarray:
        return np.concatenate([sources[repeat_of[r.name]].compute([r]) for r in records])

    key = fingerprint([note, experiment.seed, *(s.key for s in sources)])
    return Source("Dual task", sources[0].method, compute, key)


def transfer_split(quality: Dataset, prefix: str) -> tuple[np.ndarray, np.ndarray]:
    """Part the photographs whose name starts with `prefix` (tested) from the rest (learned from).

    BIQ2021's subsets ss01, ss02, ss03 come from different sources: a model tested on one and
    trained on the others meets strangers, the part that CLIVE plays in the paper.
    """
    inside = np.array([name.startswith(prefix) for name in quality.names])
    if inside.all() or not inside.any():
        raise ValueError(
            f"{inside.sum()} of {len(quality)} names in {quality.name} start with {prefix!r}; "
            "choose a prefix that some have and some have not"
        )
    return np.flatnonzero(~inside), np.flatnonzero(inside)


def judged(experiment: Experiment, path: Path, chosen: np.ndarray) -> np.ndarray:
    """Score the chosen photographs by a trained network (n,); memoised."""
    network = load_baseline(path)
    key = {"data": experiment.quality.fingerprint, "size": experiment.recipe.image_size}
    store = Store("dual-task-scores", training.VERSION, **key, weights=weights_fingerprint(network))
    name = fingerprint([chosen.tobytes()])
    known = store.get(name)
    return store.put(name, predict(network, experiment.images[chosen])) if known is None else known


def quality_rows(
    experiment: Experiment, paths: dict[tuple[str, object], Path], tests: dict[object, np.ndarray]
) -> pd.DataFrame:
    """Hold each network's scores against the opinion scores of what it never saw.

    Parameters
    ----------
    paths : dict
        Weights by (variant, test).
    tests : dict
        Held-out photographs by test (a repeat's number, a subset's name).

    Returns
    -------
    DataFrame
        method, test, metric (SROCC, PLCC), value.
    """
    rows = []
    for (variant, test), path in paths.items():
        pair = judged(experiment, path, tests[test]), experiment.scores[tests[test]]
        for name, metric in (("SROCC", stats.srocc), ("PLCC", stats.plcc)):
            rows.append({"method": variant, "test": test, "metric": name, "value": metric(*pair)})
    return pd.DataFrame(rows)


def trade_off(experiment: Experiment, weights: Sequence[float], long_side: int) -> pd.DataFrame:
    """Train repeat 0 under several weights of the saliency loss.

    Parameters
    ----------
    weights : sequence of float
        The weights to try.
    long_side : int
        Input resolution of the maps, pixels.

    Returns
    -------
    DataFrame
        method, weight, SROCC (held-out photographs), NSS, CC (held-out images, as extracted).
    """
    chosen = experiment.split(0)
    held_out = Part(experiment.gaze, chosen.gaze_test)
    rows = []
    for weight in weights:
        recipe = replace(experiment.recipe, saliency_weight=weight)
        changed = replace(experiment, recipe=recipe)
        for variant in [name for name, (_, share) in VARIANTS.items() if share]:
            path = fit(changed, variant, 0, chosen.train)
            srocc = stats.srocc(judged(changed, path, chosen.test), changed.scores[chosen.test])
            network = load_baseline(path)
            same = [network] * changed.repeats
            maps = extract(second_output(variant, same, changed, long_side), held_out)
            scores = [score_map(m, r) for m, r in zip(maps, held_out, strict=True)]
            row = {"method": variant, "weight": weight, "SROCC": srocc}
            rows.append(row | {k: np.mean([s[k] for s in scores]) for k in ("NSS", "CC")})
    return pd.DataFrame(rows)
