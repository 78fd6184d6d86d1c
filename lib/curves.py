"""What the scores of masked pictures are worth: Figure 2, its intervals, and what it says.

Curves of agreement with opinion scores against the masked share, the area between hiding the
relevant part first and hiding it last, and paired comparisons between maps, by one bootstrap over
images.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from scipy.stats import rankdata
from tqdm.auto import tqdm

from lib import report
from lib.masking import STRATEGIES, Filler, mask, relevance_ranks

LINES = {"MoRF": "-", "LeRF": "--"}  # of a plot


@dataclass(frozen=True)
class Curves:
    """What a model's scores are worth as more and more of each picture is masked.

    Attributes
    ----------
    cells : DataFrame
        Columns model, map, strategy, fill, share: one row a point of a curve.
    samples : dict of str to numpy.ndarray
        By measure, (cells, 1 + n_boot): on all images, then on resamples of them (the same ones
        for every cell, so that differences are paired). Measures: "SROCC" and "PLCC" with the mean
        opinion scores, where there are any; "score drop", the mean fall of the score in standard
        deviations of the unmasked scores.
    """

    cells: pd.DataFrame
    samples: dict[str, np.ndarray]

    def table(self) -> pd.DataFrame:
        """Return the points of all curves: the cells, then measure, value, low, high (95 %)."""
        parts = [self.cells.assign(measure=m, **_summary(v)) for m, v in self.samples.items()]
        return pd.concat(parts, ignore_index=True)

    def harm(self, measure: str) -> np.ndarray:
        """Return what masking costs, (cells, 1 + n_boot): the fall from the unmasked value."""
        values = self.samples[measure]
        if measure == "score drop":
            return values
        keys = ["model", "map", "strategy", "fill"]
        start = self.cells[self.cells.share == 0].reset_index().set_index(keys)["index"]
        return values[start.loc[list(self.cells[keys].itertuples(index=False))]] - values

    def areas(self) -> dict[tuple[str, str, str, str], np.ndarray]:
        """Area between MoRF and LeRF by (model, fill, map, measure): (1 + n_boot,).

        The harm by MoRF less the harm by LeRF, averaged over shares (trapezoid rule): positive
        where masking what a map calls relevant does more harm than masking the rest.
        """
        found = {}
        for measure in self.samples:
            harm = self.harm(measure)
            groups = self.cells.groupby(["model", "fill", "map"], sort=False)
            for (model, fill, name), block in groups:
                ordered = block.sort_values("share")
                most, least = (ordered.index[ordered.strategy == s] for s in STRATEGIES)
                shares = ordered.share[ordered.strategy == STRATEGIES[0]]
                gap = np.trapezoid(harm[most] - harm[least], shares, axis=0)
                found[model, fill, name, measure] = gap
        return found

    def area_table(self) -> pd.DataFrame:
        """Return the areas as rows: model, fill, map, measure, value, low, high, p_value."""
        return _test_rows(self.areas(), "map")

    def differences(self, one: str, others: Sequence[str]) -> pd.DataFrame:
        """Compare the area of map `one` with that of each other map, on the same resamples."""
        areas = self.areas()
        gaps = {
            (model, fill, f"{one} − {name}", measure): areas[model, fill, one, measure] - area
            for (model, fill, name, measure), area in areas.items()
            if name in others
        }
        return _test_rows(gaps, "maps")

    def agreement(self, one: str, other: str, beyond: str | None = None) -> pd.DataFrame:
        """Correlate the harm that two maps do over strategies and shares, per model and fill.

        Any two maps agree in that more masking does more harm. With `beyond`, a map by chance, its
        harm at the same strategy and share is taken off both first: what is left is the maps' own.
        A model that has not been asked with both maps has no row.
        """
        rows = []
        for (model, fill), block in self.cells.groupby(["model", "fill"], sort=False):
            if not {one, other} <= set(block["map"]):
                continue
            inside = block[(block.share > 0) & (block.share < 1)]
            inside = inside.sort_values(["strategy", "share"])
            for measure in self.samples:
                harm = self.harm(measure)
                a, b = (harm[inside.index[inside["map"] == name]] for name in (one, other))
                if beyond is not None:
                    chance = harm[inside.index[inside["map"] == beyond]]
                    a, b = a - chance, b - chance
                a, b = a - a.mean(axis=0), b - b.mean(axis=0)
                norm = np.sqrt((a**2).sum(axis=0) * (b**2).sum(axis=0))
                correlation = (a * b).sum(axis=0) / np.where(norm > 0, norm, 1)
                where = {"model": model, "fill": fill, "beyond": beyond or "nothing"}
                rows.append({**where, "measure": measure, **_summary(correlation)})
        return pd.DataFrame(rows)


def _summary(values: np.ndarray) -> dict:
    """Value and 95 % interval of (..., 1 + n_boot)."""
    low, high = np.quantile(values[..., 1:], (0.025, 0.975), axis=-1)
    return {"value": values[..., 0], "low": low, "high": high}


def _test_rows(gaps: dict[tuple[str, str, str, str], np.ndarray], third: str) -> pd.DataFrame:
    rows = []
    for where, gap in gaps.items():
        resampled = gap[1:]
        tail = min((resampled <= 0).mean(), (resampled >= 0).mean())
        p_value = min(1.0, max(2 * tail, 1 / resampled.size))
        rows.append([*where, *_summary(gap).values(), p_value])
    columns = ["model", "fill", third, "measure", "value", "low", "high", "p_value"]
    return pd.DataFrame(rows, columns=columns)


def curves(
    scores: pd.DataFrame, mos: pd.Series | None = None, n_boot: int = 1000, seed: int = 0
) -> Curves:
    """Turn scores of masked pictures into curves with paired bootstrap resamples over images.

    Parameters
    ----------
    scores : DataFrame
        From `masked_scores`, of one or more models on the same images.
    mos : Series, optional
        Mean opinion score by image name. Without it there is only the score drop.
    n_boot, seed : int
        Resamples, and their seed.

    Raises
    ------
    ValueError
        If a score is missing or doubled, or an image has no opinion score.
    """
    keys = ["model", "map", "strategy", "fill", "share"]
    table = scores.pivot(index=keys, columns="image", values="score")
    first = {k: {v: i for i, v in enumerate(scores[k].unique())} for k in keys[:-1]}
    first["share"] = {p: p for p in scores.share.unique()}
    table = table.sort_index(key=lambda level: level.map(first[level.name]))  # as they were asked
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
    opinions = None
    if mos is not None:
        absent = [name for name in table.columns if name not in mos.index]
        if absent:
            raise ValueError(f"{len(absent)} images have no opinion score, {absent[0]!r} first")
        opinions = mos.loc[table.columns].to_numpy(np.float64)
    count = values.shape[1]
    rng = np.random.default_rng(seed)
    draws = [np.arange(count), *rng.integers(count, size=(n_boot, count))]
    found: dict[str, list[np.ndarray]] = {}
    for chosen in tqdm(draws, desc="resampling images", unit="resample", leave=False):
        if opinions is not None:
            part, wanted = values[:, chosen], opinions[chosen]
            found.setdefault("SROCC", []).append(
                _correlate(rankdata(part, axis=1), rankdata(wanted))
            )
            found.setdefault("PLCC", []).append(_correlate(part, wanted))
        found.setdefault("score drop", []).append(fall[:, chosen].mean(axis=1))
    return Curves(cells, {measure: np.stack(v, axis=1) for measure, v in found.items()})


def _correlate(rows: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Pearson's correlation of each row with the target; 0 for a constant row."""
    a, b = rows - rows.mean(axis=1, keepdims=True), target - target.mean()
    norm = np.sqrt((a**2).sum(axis=1) * (b**2).sum())
    return (a @ b) / np.where(norm > 1e-12, norm, np.inf)


def conclusion(found: Curves, one: str, others: Sequence[str], measure: str, data: str) -> str:
    """Say in Markdown, from the intervals alone, what the areas and their differences show.

    Parameters
    ----------
    found : Curves
        What to speak of.
    one, others : str, sequence of str
        The map whose area is compared, and those that it is compared with.
    measure : str
        Which measure to speak of.
    data : str
        Which images; opens the text.
    """
    lines = [f"On {data}, by {measure}, areas with 95 % intervals:", ""]
    points, areas, differences = (
        t[t.measure == measure]
        for t in (found.table(), found.area_table(), found.differences(one, others))
    )
    idle = points[(points.share == 0) & (points.low <= 0) & (measure != "score drop")]
    for row in idle.drop_duplicates("model").itertuples():
        lines.append(
            f"- **{row.model}** has nothing to lose: unmasked, its {measure} is {row.value:+.3f} "
            f"[{row.low:+.3f}, {row.high:+.3f}]. Its areas below mean little."
        )
    for (model, fill), block in areas.groupby(["model", "fill"], sort=False):
        said = [f"- **{model}**, {fill} fill."]
        said += _by_sign(
            block,
            "map",
            "Hiding the relevant part costs more than hiding the rest by",
            "It costs less by",
            "It cannot be told from hiding the rest by",
        )
        compared = differences[(differences.model == model) & (differences.fill == fill)]
        said += _by_sign(
            compared, "maps", "Larger gap", "Smaller gap", "Gaps that cannot be told apart"
        )
        lines.append(" ".join(said))
    return "\n".join(lines)


def _by_sign(rows: pd.DataFrame, name: str, above: str, below: str, about: str) -> list[str]:
    """List the rows whose interval lies above zero, below it, or about it, each under its title."""
    sides = {above: rows.low > 0, below: rows.high < 0, about: (rows.low <= 0) & (rows.high >= 0)}
    return [
        f"{title}: "
        + ", ".join(
            f"{getattr(row, name)} {row.value:+.3f} [{row.low:+.3f}, {row.high:+.3f}]"
            for row in rows[chosen].itertuples()
        )
        + "."
        for title, chosen in sides.items()
        if chosen.any()
    ]


def plot_curves(table: pd.DataFrame, measure: str) -> plt.Figure:
    """Plot a measure against the masked share: a column a model, a row a fill.

    A color is a map; solid lines mask the most relevant pixels first, dashed ones the least.

    Parameters
    ----------
    table : DataFrame
        From `lib.masking.Curves.table`.
    measure : str
        "SROCC", "PLCC" or "score drop".
    """
    table = table[table.measure == measure]
    models, fills, names = (list(table[c].unique()) for c in ("model", "fill", "map"))
    colors = dict(zip(names, sns.color_palette("colorblind"), strict=False))
    size = (2.5 * len(models) + 0.6, 2.1 * len(fills) + 0.7)
    figure, axes = plt.subplots(
        len(fills), len(models), figsize=size, sharex=True, sharey="row", squeeze=False
    )
    for (row, fill), (column, model) in (
        (a, b) for a in enumerate(fills) for b in enumerate(models)
    ):
        axis = axes[row, column]
        panel = table[(table.model == model) & (table.fill == fill)]
        for (name, strategy), line in panel.groupby(["map", "strategy"], sort=False):
            line = line.sort_values("share")
            axis.plot(line.share, line.value, LINES[strategy], color=colors[name], linewidth=1.2)
            axis.fill_between(line.share, line.low, line.high, color=colors[name], alpha=0.12, lw=0)
        if row == 0:
            axis.set_title(model)
        if row == len(fills) - 1:
            axis.set_xlabel("share of pixels masked")
        if column == 0:
            axis.set_ylabel(f"{measure}\n{fill} fill")
    handles = [plt.Line2D([], [], color=colors[n], label=n) for n in names]
    handles += [
        plt.Line2D([], [], color="0.3", linestyle=LINES[s], label=t)
        for s, t in zip(STRATEGIES, ("most relevant first", "least relevant first"), strict=True)
    ]
    figure.tight_layout()
    figure.legend(
        handles=handles,
        loc="lower center",
        bbox_to_anchor=(0.5, 1.0),
        ncols=len(handles),
        columnspacing=1.2,
        handlelength=1.6,
        frameon=False,
    )
    return figure


def plot_areas(areas: pd.DataFrame, measure: str) -> plt.Figure:
    """Plot the area between the MoRF and LeRF curves: a panel a fill, a row a map and model."""
    areas = areas[areas.measure == measure]
    fills, models, names = (list(areas[c].unique()) for c in ("fill", "model", "map"))
    size = (2.4 * len(fills) + 1.2, 0.22 * len(models) * len(names) + 0.9)
    figure, axes = plt.subplots(1, len(fills), figsize=size, sharey=True, sharex=True)
    for axis, fill in zip(np.atleast_1d(axes), fills, strict=True):
        for number, model in enumerate(models):
            part = (
                areas[(areas.fill == fill) & (areas.model == model)].set_index("map").reindex(names)
            )
            axis.errorbar(
                part.value,
                np.arange(len(names)) + 0.2 * (number - (len(models) - 1) / 2),
                xerr=[part.value - part.low, part.high - part.value],
                fmt="o",
                markersize=4,
                label=model,
            )
        axis.axvline(0, color="0.5", linewidth=0.8, linestyle="--")
        axis.set(title=f"{fill} fill", xlabel=f"area, {measure}")
    first = np.atleast_1d(axes)[0]
    first.set_yticks(range(len(names)), names)
    first.invert_yaxis()
    figure.tight_layout()
    figure.legend(
        *first.get_legend_handles_labels(),
        loc="lower center",
        bbox_to_anchor=(0.5, 1.0),
        ncols=len(models),
        frameon=False,
    )
    return figure


def show_masked(
    images: Sequence[np.ndarray],
    maps: dict[str, Sequence[np.ndarray]],
    share: float,
    fill: str,
) -> plt.Figure:
    """Show pictures masked by several maps, as the paper's Figure 1 does: a row a picture."""
    titles = ["image"]
    for name in maps:
        titles += [name, *(f"{s}, {share:.0%}" for s in STRATEGIES)]
    size = (1.45 * len(titles), 1.2 * len(images))
    figure, axes = plt.subplots(len(images), len(titles), figsize=size, squeeze=False)
    for number, (line, image) in enumerate(zip(axes, images, strict=True)):
        shown = [image]
        fill_in = Filler(image, fill)
        for found in maps.values():
            ranks = relevance_ranks(found[number])
            shown += [np.asarray(found[number], float)]
            shown += [fill_in(mask(ranks, share, s)) for s in STRATEGIES]
        report.show_row(line, shown, titles if number == 0 else None)
    figure.subplots_adjust(wspace=0.04, hspace=0.06)
    return figure
