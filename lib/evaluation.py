"""Table I: metrics of every map, as extracted and after the map transforms of [45].

Transforms and centre priors are fitted on other images than those they are judged on.
"""

from collections.abc import Sequence
from functools import partial

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from lib.jobs import run_all
from lib.maps import GaussianPrior, check_density, normalize_sum, resize_map
from lib.metrics import Checked, score_map
from lib.records import Dataset, folds_of
from lib.sources import Source, extract
from lib.store import read_array
from lib.transforms import MapTransform

RAW, TRANSFORMED = "as extracted", "after the map transforms of [45]"
PRIOR_GRID = (60, 80)  # rows, columns at which densities are averaged; images may differ in size


def _score_record(
    dataset: Dataset, index: int, extracted: dict, dummies: dict, transforms: dict
) -> list[tuple[str, str, str, str, float]]:
    """Return (method, stage, image, metric, value) of every map of one held-out image."""
    record = dataset[index]
    priors = {method: draw(record.image.shape[:2]) for method, draw in dummies.items()}
    rows, people = [], Checked(record.density, "density", check_density)
    maps = {method: read_array(path) for method, path in extracted.items()}
    for method, saliency_map in (priors | maps).items():
        saliency_map = saliency_map.astype(np.float32)
        corrected = transforms[method].apply(saliency_map, priors["CenterPrior"])
        for stage, judged in ((RAW, saliency_map), (TRANSFORMED, corrected)):
            scores = score_map(judged, record, people)
            rows += [(method, stage, record.name, metric, v) for metric, v in scores.items()]
    return rows


def evaluate(
    sources: Sequence[Source],
    dataset: Dataset,
    folds: int = 5,
    seed: int = 0,
    fit_images: int = 200,
    jobs: int | str = 1,
) -> tuple[pd.DataFrame, dict[str, list[MapTransform]]]:
    """Score every source, and the centre priors, before and after the map transforms of [45].

    For each of `folds` parts of the data set, the centre prior and each method's transform are
    fitted on the other parts (on at most `fit_images` images drawn from them). Returns a table of
    group, method, stage, unit (the image), metric, value; and each method's transforms, by fold.
    """
    fold = folds_of(len(dataset), folds, seed)
    extracted = {s.method: extract(s, dataset, jobs=jobs) for s in sources}
    fitted, tasks = [], []
    for k in tqdm(range(folds), desc="fitting transforms", unit="fold"):
        others = np.random.default_rng([seed, k]).permutation(np.flatnonzero(fold != k))
        chosen = np.sort(others[:fit_images])
        densities = [dataset[i].density for i in chosen]
        total = sum(normalize_sum(resize_map(d, PRIOR_GRID), np.float64) for d in densities)
        # Dummies know where people look on average, and see no picture.
        average = partial(resize_map, normalize_sum(total))
        dummies = {"CenterPrior": GaussianPrior.fit(densities).render, "Average density": average}
        examples = {m: [draw(d.shape) for d in densities] for m, draw in dummies.items()}
        examples |= {m: [found[i] for i in chosen] for m, found in extracted.items()}
        centers = examples["CenterPrior"]
        fitted.append({m: MapTransform.fit(e, densities, centers) for m, e in examples.items()})
        for i in np.flatnonzero(fold == k):
            paths = {m: e.paths[i] for m, e in extracted.items()}
            tasks.append((dataset, i, paths, dummies, fitted[k]))
    scored = run_all(_score_record, tasks, jobs, f"scoring on {dataset.name}", "image")
    columns = ["method", "stage", "unit", "metric", "value"]
    table = pd.DataFrame([row for rows in scored for row in rows], columns=columns)
    groups = {s.method: s.group for s in sources}
    table.insert(0, "group", [groups.get(method, "Dummy") for method in table.method])
    return table, {method: [each[method] for each in fitted] for method in fitted[0]}
