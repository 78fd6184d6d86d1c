"""Figure 2's curves, on all images and on resamples of them: what masking costs a model.

Every cell (model, map, strategy, fill, share) is judged on the same resamples of the images, so
differences between cells are paired.
"""

from collections import defaultdict

import numpy as np
import pandas as pd
from scipy.stats import rankdata
from tqdm.auto import tqdm

from lib.masking import STRATEGIES

CELL = ["model", "map", "strategy", "fill", "share"]


def resampled_curves(
    scores: pd.DataFrame, mos: pd.Series | None, n_boot: int, seed: int
) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """Turn `lib.masking.masked_scores` into curves, with paired bootstrap resamples over images.

    Returns the cells, and by measure the values (cells, 1 + n_boot) on all images, then on
    resamples: "SROCC" and "PLCC" with the opinion scores `mos`, by image name, where there are any,
    and "score drop", the mean fall of the score in standard deviations of the unmasked scores.
    """
    table = scores.pivot(index=CELL, columns="image", values="score")
    order = {k: list(scores[k].unique()) for k in CELL[:-1]} | {"share": sorted(set(scores.share))}
    table = table.sort_index(key=lambda level: level.map(order[level.name].index))  # as asked
    if len(scores) != table.size:
        raise ValueError("some masked pictures were not scored; score every image for every cell")
    cells = table.index.to_frame(index=False)
    # Equal pictures get equal scores but for the last bits, which must not order anything; and a
    # picture that a model cannot score (piqe and blank ones) gets the lowest that it gave to any.
    values = table.to_numpy().round(6)
    lowest = cells.groupby("model").apply(lambda c: np.nanmin(values[c.index]))
    values = np.where(np.isnan(values), lowest[cells.model].to_numpy()[:, None], values)
    start = cells.groupby("model").share.transform(lambda s: s.index[s == 0][0]).to_numpy()
    fall = (values[start] - values) / values[start].std(axis=1, keepdims=True)
    opinions = None if mos is None else mos.loc[table.columns].to_numpy(np.float64)
    count, rng = values.shape[1], np.random.default_rng(seed)
    draws = [np.arange(count), *rng.integers(count, size=(n_boot, count))]
    found = defaultdict(list)
    for chosen in tqdm(draws, desc="resampling images", unit="resample", leave=False):
        if opinions is not None:
            part, wanted = values[:, chosen], opinions[chosen]
            found["SROCC"].append(_correlate(rankdata(part, axis=1), rankdata(wanted)))
            found["PLCC"].append(_correlate(part, wanted))
        found["score drop"].append(fall[:, chosen].mean(axis=1))
    return cells, {measure: np.stack(v, axis=1) for measure, v in found.items()}


def _correlate(rows: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Pearson's correlation of each row with the target; 0 for a constant row."""
    a, b = rows - rows.mean(axis=1, keepdims=True), target - target.mean()
    norm = np.sqrt((a**2).sum(axis=1) * (b**2).sum())
    return (a @ b) / np.where(norm > 1e-12, norm, np.inf)


def summary(values: np.ndarray) -> dict:
    """Value and 95 % interval of (..., 1 + n_boot)."""
    low, high = np.quantile(values[..., 1:], (0.025, 0.975), axis=-1)
    return {"value": values[..., 0], "low": low, "high": high}


def harm(cells: pd.DataFrame, samples: dict[str, np.ndarray], measure: str) -> np.ndarray:
    """Return what masking costs, (cells, 1 + n_boot): the fall from the unmasked value."""
    values = samples[measure]
    if measure == "score drop":
        return values
    start = cells[cells.share == 0].reset_index().set_index(CELL[:-1])["index"]
    return values[start.loc[list(cells[CELL[:-1]].itertuples(index=False))]] - values


def areas(cells: pd.DataFrame, samples: dict[str, np.ndarray]) -> dict[tuple, np.ndarray]:
    """Area between MoRF and LeRF by (model, fill, map, measure): (1 + n_boot,).

    The harm by MoRF less the harm by LeRF, averaged over shares (trapezoid rule): positive where
    masking what a map calls relevant does more harm than masking the rest.
    """
    found = {}
    for measure in samples:
        costs = harm(cells, samples, measure)
        for key, block in cells.groupby(["model", "fill", "map"], sort=False):
            ordered = block.sort_values("share")
            most, least = (ordered.index[ordered.strategy == s] for s in STRATEGIES)
            shares = ordered.share[ordered.strategy == STRATEGIES[0]]
            found[*key, measure] = np.trapezoid(costs[most] - costs[least], shares, axis=0)
    return found


def gap_table(gaps: dict[tuple, np.ndarray], third: str) -> pd.DataFrame:
    """Return resampled gaps as rows: model, fill, `third`, measure, value, low, high, p_value."""
    rows = []
    for key, gap in gaps.items():
        tail = min((gap[1:] <= 0).mean(), (gap[1:] >= 0).mean())
        p_value = min(1.0, max(2 * tail, 1 / (gap.size - 1)))
        rows.append([*key, *(float(v) for v in summary(gap).values()), p_value])
    columns = ["model", "fill", third, "measure", "value", "low", "high", "p_value"]
    return pd.DataFrame(rows, columns=columns)
