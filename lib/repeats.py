"""What repeated splits say: means and standard deviations, paired tests, Table II in words."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.ticker import MaxNLocator

from lib import metrics
from lib.evaluation import LOWER_IS_BETTER
from lib.models import saliency


def saliency_rows(
    scores: pd.DataFrame, names: Sequence[str], repeats: int, seed: int
) -> pd.DataFrame:
    """Average values of images over the repeat that each image was judged in.

    Parameters
    ----------
    scores : DataFrame
        From `lib.comparison.evaluate`.
    names : sequence of str
        The images of the saliency set, in its order.
    repeats, seed : int
        Of `lib.dual_task.Experiment`.

    Returns
    -------
    DataFrame
        stage, method, test (the repeat), metric, value.
    """
    fold = saliency.folds_of(len(names), repeats, seed)
    repeat_of = dict(zip(names, fold, strict=True))
    keys = ["stage", "method", "test", "metric"]
    table = scores.assign(test=scores.image.map(repeat_of))
    return table.groupby(keys, sort=False).value.mean().reset_index()


def summarize(rows: pd.DataFrame, against: str = "Baseline") -> pd.DataFrame:
    """Mean and standard deviation over the tests, and how each method differs from one of them.

    Parameters
    ----------
    rows : DataFrame
        method, test, metric, value and, optionally, stage.

    Returns
    -------
    DataFrame
        Those keys with value, std, n (tests), and the paired difference from `against`:
        difference, low, high (95 %), p_value, by `lib.metrics.resampled_test`. One test alone has
        no deviation and no difference: those are NaN.
    """
    keys = [k for k in ("stage", "metric") if k in rows]
    found = []
    for key, block in rows.groupby(keys, sort=False):
        values = block.pivot(index="test", columns="method", values="value")
        for method in block.method.drop_duplicates():
            ours = values[method].to_numpy()
            row = dict(zip(keys, key, strict=True)) | {"method": method, "value": ours.mean()}
            row |= {"std": ours.std(ddof=1) if len(ours) > 1 else np.nan, "n": len(ours)}
            if method != against and len(ours) > 1:
                gap = metrics.resampled_test(ours - values[against].to_numpy())
                row |= {"difference": gap.mean, "low": gap.low, "high": gap.high}
                row |= {"p_value": gap.p_value}
            found.append(row)
    return pd.DataFrame(found)


def with_paper(
    table: pd.DataFrame, paper: pd.DataFrame, columns: dict[tuple[str, str], str]
) -> pd.DataFrame:
    """Put the paper's Table II beside ours, as the column `paper`.

    Parameters
    ----------
    table : DataFrame
        From `summarize`, with a stage.
    paper : DataFrame
        Table II as printed.
    columns : dict
        From (stage, metric) to the paper's column.
    """
    printed = paper.set_index("method").rename(index={"Center Prior": "CenterPrior"})
    values = [
        printed[columns[where]].get(method, np.nan)
        if (where := (stage, metric)) in columns
        else np.nan
        for stage, metric, method in table[["stage", "metric", "method"]].itertuples(index=False)
    ]
    return table.assign(paper=values)


def conclusion(table: pd.DataFrame, methods: Sequence[str], stage: str, data: str) -> str:
    """Say in Markdown, from the numbers alone, whether claim 3 holds: nothing lost, much gained.

    Parameters
    ----------
    table : DataFrame
        From `summarize`, its stages named.
    methods : sequence of str
        The dual-task networks, compared with the Baseline.
    stage : str
        The stage of the saliency measures to speak of.
    data : str
        Which data, and how many repeats; opens the text.
    """
    lines = [f"On {data}, each network less the Baseline, with 95 % intervals:", ""]
    for method in methods:
        rows = table[(table.method == method) & table.difference.notna()]
        quality = rows[rows.metric.isin(("SROCC", "PLCC"))]
        maps = rows[(rows.stage == stage) & ~rows.index.isin(quality.index)]
        lines.append(f"- **{method}**")
        for where, block in quality.groupby("stage", sort=False):
            lines.append(f"  - {where}: {_said(block)}.")
        lines.append(f"  - saliency, {stage}: {_said(maps)}.")
    return "\n".join(lines)


def _said(rows: pd.DataFrame) -> str:
    """List differences as better, worse, or not told apart (with the loss that is ruled out)."""
    groups: dict[str, list[str]] = {}
    for row in rows.itertuples():
        sign = -1 if row.metric in LOWER_IS_BETTER else 1
        low, high = sorted((sign * row.low, sign * row.high))
        side = "better" if low > 0 else "worse" if high < 0 else "not told apart"
        text = f"{row.metric} {row.difference:+.3f} [{row.low:+.3f}, {row.high:+.3f}]"
        groups.setdefault(side, []).append(text)
    return "; ".join(f"{side}: {', '.join(texts)}" for side, texts in groups.items())


def plot_repeats(
    rows: pd.DataFrame, panels: Sequence[tuple[str, str]], methods: Sequence[str]
) -> plt.Figure:
    """Plot every repeat of every method, joined by a line: a panel a (stage, metric).

    Parameters
    ----------
    rows : DataFrame
        stage, method, test, metric, value.
    panels : sequence of (str, str)
        Which stage and metric to show.
    methods : sequence of str
        Down the panel, in this order.
    """
    size = (2.3 * len(panels) + 1.6, 0.42 * len(methods) + 1.0)
    figure, axes = plt.subplots(1, len(panels), figsize=size, sharey=True)
    places = {method: place for place, method in enumerate(methods)}
    colors = sns.color_palette("colorblind")
    for axis, (stage, metric) in zip(np.atleast_1d(axes), panels, strict=True):
        part = rows[(rows.stage == stage) & (rows.metric == metric) & rows.method.isin(methods)]
        for _, line in part.groupby("test", sort=False):
            line = line.assign(place=line.method.map(places)).sort_values("place")
            axis.plot(line.value, line.place, "-", color="0.8", linewidth=0.8, zorder=1)
        for method, block in part.groupby("method", sort=False):
            place = places[method]
            axis.plot(block.value, [place] * len(block), "o", ms=3, color=colors[0], alpha=0.6)
            axis.plot(block.value.mean(), place, "D", ms=6, color=colors[3], zorder=3)
        smaller = "smaller" if metric in LOWER_IS_BETTER else "larger"
        axis.set_xlabel(f"{metric} ({smaller} is better)")
        axis.set_title(stage, fontsize=8)
    first = np.atleast_1d(axes)[0]
    first.set_yticks(range(len(methods)), methods)
    first.invert_yaxis()
    figure.tight_layout()
    return figure


def plot_trade_off(rows: pd.DataFrame, baseline: float) -> plt.Figure:
    """Plot saliency against quality: a point a weight of the saliency loss, a line a network.

    Parameters
    ----------
    rows : DataFrame
        method, weight, SROCC, CC: from `lib.dual_task.trade_off`.
    baseline : float
        SROCC of the Baseline, drawn as a dashed line.
    """
    figure, axis = plt.subplots(figsize=(4.4, 3))
    for method, line in rows.sort_values("weight").groupby("method", sort=False):
        axis.plot(line.SROCC, line.CC, "o-", markersize=4, label=method)
        for point in line.itertuples():
            where = {"xytext": (4, 4), "textcoords": "offset points", "fontsize": 7}
            axis.annotate(f"{point.weight:g}", (point.SROCC, point.CC), **where)
    axis.axvline(baseline, color="0.5", linewidth=0.8, linestyle="--", label="Baseline's SROCC")
    axis.set(xlabel="SROCC, held-out photographs", ylabel="CC, held-out images")
    axis.xaxis.set_major_locator(MaxNLocator(5))
    axis.legend(fontsize=7)
    figure.tight_layout()
    return figure
