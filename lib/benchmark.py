"""The benchmark of Section III-D: how well metrics agree with people's scores on SACID.

Scores are anchored at 0 for the worst picture of each sequence, so pictures of two sequences do not
compare. SROCC and PLCC are taken within a sequence (12 pictures) and averaged over sequences. Most
of what they see is the bitrate, which people and metrics agree on. KRCC-dagger is taken within a
sequence and bitrate (4 pictures, the presets) and then averaged: what is left once bitrate is gone.
"""

import argparse
import hashlib
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cache
from itertools import combinations
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from pyiqa.metrics.correlation_coefficient import fit_curve
from scipy.optimize import OptimizeWarning
from scipy.stats import zscore

from lib import iqa, subjective
from lib.data.sacid import SACID, TEST_CASES, add_conditions
from lib.models import zoo
from lib.report import markdown, paper_table, wide_table
from lib.stats import Difference as PairedTest
from lib.stats import bootstrap_interval, holm, krcc, paired_test, plcc, srocc
from lib.store import Store, run_all

DUMMY = "Target bitrate"  # a "metric" that never sees a picture
CEILING = "Perfect metric"  # knows the scores, judged by another study of the same size
DAGGER = "KRCC†"
STATISTICS = ("SROCC", "PLCC", DAGGER)
TRAINED_ON_SALIENCY = ("SGDNet-Output", "Baseline-Sal-Loss", "Baseline-GradCAM-Loss")
FITTED = "PLCC, fitted"


# --- scoring ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scored:
    """Pictures with the scores of metrics.

    Attributes
    ----------
    table : DataFrame
        sequence, test_case, preset, bpp, score (people's, or their stand-in's), and a column for
        each metric that could be loaded, in its own units and direction, NaN where it failed, and
        for the dummy.
    signs : dict
        Metric to 1 where higher is better, else -1; in the order asked for, the dummy last.
    versions : dict
        Metric to a digest of everything that decides its scores: pyiqa's version, and all weights.
    missing : dict
        What is missing, with its reason: metrics by name, single pictures as "metric: picture".
    """

    table: pd.DataFrame
    signs: dict[str, int]
    versions: dict[str, str]
    missing: dict[str, str]


def score_pictures(sacid: SACID, names: Sequence[str], jobs: int | str = 1) -> Scored:
    """Score every picture of a tree with every metric, at its own resolution.

    A sequence's pictures are decoded once for all metrics. Scores are kept by metric (with its
    weights) and by the bytes of the pictures.

    Parameters
    ----------
    sacid : SACID
        The pictures.
    names : sequence of str
        Metrics of `lib.iqa.REGISTRY`.
    jobs : int or str
        See `lib.cluster.run_all`.
    """
    found, missing = zoo.found_and_missing(_metric, names)
    opened = tuple(metric.name for metric in found)
    tasks = [(sacid, sequence, opened) for sequence in sacid.sequences]
    parts = run_all(_score_sequence, tasks, jobs, f"scoring {sacid.name}", "sequence")
    table = add_conditions(sacid.table)
    for name in opened:
        table[name] = np.concatenate([values[name] for values, _ in parts])
    for _, failures in parts:
        missing |= failures
    table[DUMMY] = table.bpp
    signs = {metric.name: -1 if metric.lower_better else 1 for metric in found}
    versions = {metric.name: metric.key for metric in found}
    return Scored(table, signs | {DUMMY: 1}, versions, missing)


@cache
def _metric(name: str) -> iqa.Metric:
    """Open a metric once a process."""
    return iqa.metric(name)


def _score_sequence(
    sacid: SACID, sequence: str, names: tuple[str, ...]
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    rows = np.flatnonzero(sacid.table.sequence == sequence)
    paths = [sacid.root / kind / f"{sequence}.png" for kind in ("reference", "saliency")]
    paths += [sacid.root / "compressed" / f"{sacid.names[row]}.jpg" for row in rows]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()[:16]
    values, failures, pictures = {}, {}, None
    for metric in map(_metric, names):
        store = Store("iqa-scores", 1, metric=metric.name, key=metric.key)
        known = store.get(f"{sequence} {digest}")
        if known is None:
            if pictures is None:  # once for all metrics, and not at all if they all are known
                pictures = [sacid[row].image for row in rows]
                reference, saliency = sacid.reference(sequence), sacid.saliency_map(sequence)
            known, failed = _score_one_metric(metric, pictures, reference, saliency)
            failures |= {f"{metric.name}: {sacid.names[rows[i]]}": why for i, why in failed.items()}
            if not failed:
                store.put(f"{sequence} {digest}", known)
        values[metric.name] = known
    return values, failures


def _score_one_metric(
    metric: iqa.Metric, pictures: list[np.ndarray], reference: np.ndarray, saliency: np.ndarray
) -> tuple[np.ndarray, dict[int, str]]:
    """Score pictures one by one; where that fails, NaN and the reason by number."""
    scores, failed = np.full(len(pictures), np.nan), {}
    for number, picture in enumerate(pictures):
        try:
            (score,) = metric.score(picture[None], reference, saliency)
        except (ValueError, RuntimeError, AssertionError) as error:
            failed[number] = str(error).splitlines()[0] if str(error) else type(error).__name__
            continue
        if np.isfinite(score):
            scores[number] = score
        else:
            failed[number] = f"the score is {score}"
    return scores, failed


# --- agreement with people --------------------------------------------------------------------


def agreement(table: pd.DataFrame, signs: Mapping[str, int]) -> pd.DataFrame:
    """Correlate metrics with people's scores, sequence by sequence.

    Parameters
    ----------
    table : DataFrame
        sequence, bpp, score, and a column for each metric.
    signs : mapping
        Metric to 1 (higher is better) or -1.

    Returns
    -------
    DataFrame
        method, sequence, and SROCC, PLCC, PLCC after the usual logistic fit (`fitted_plcc`), and
        KRCC-dagger. A sequence with a missing score of a metric has no row for it. What orders
        nothing has a correlation of 0.

    Raises
    ------
    ValueError
        If people's scores are missing.
    """
    if not np.isfinite(table.score).all():
        raise ValueError("some pictures have no score by people; there is nothing to agree with")
    rows = []
    for name, sign in signs.items():
        for sequence, block in table.groupby("sequence", sort=False):
            x, y = sign * block[name].to_numpy(np.float64), block.score.to_numpy()
            if not np.isfinite(x).all():
                continue
            rates = [krcc(x[rate], y[rate]) for rate in _groups(block.bpp)]
            row = (name, sequence, srocc(x, y), plcc(x, y), fitted_plcc(x, y), np.mean(rates))
            rows.append(row)
    return pd.DataFrame(rows, columns=["method", "sequence", "SROCC", "PLCC", FITTED, DAGGER])


def _groups(values: pd.Series) -> list[np.ndarray]:
    return [np.flatnonzero(values == value) for value in values.unique()]


def fitted_plcc(x: np.ndarray, y: np.ndarray) -> float:
    """PLCC after VQEG's logistic of four parameters, fitted by pyiqa to (standardised) scores.

    The fit may also turn a metric round: the sign is lost. Where it does not converge, and for a
    constant metric, it is the plain PLCC.
    """
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return plcc(x, y)
    try:
        with np.errstate(over="ignore"), warnings.catch_warnings():
            # Three bitrates, say, do not determine four parameters; any that fit will do.
            warnings.simplefilter("ignore", OptimizeWarning)
            return plcc(fit_curve(zscore(x), zscore(y)), y)
    except RuntimeError:
        return plcc(x, y)


def pooled(table: pd.DataFrame, signs: Mapping[str, int]) -> pd.DataFrame:
    """Correlate over all pictures at once, as if scores compared across sequences: they do not.

    A metric that scored fewer than two pictures is left out.

    Returns
    -------
    DataFrame
        method, SROCC, PLCC, n (pictures with a score).
    """
    rows = []
    for name, sign in signs.items():
        whole = table[np.isfinite(table[name])]
        if len(whole) < 2:
            continue
        x, y = sign * whole[name].to_numpy(np.float64), whole.score.to_numpy()
        rows.append((name, srocc(x, y), plcc(x, y), len(whole)))
    return pd.DataFrame(rows, columns=["method", "SROCC", "PLCC", "n"])


def summarize(
    correlations: pd.DataFrame, statistics: Sequence[str] = STATISTICS, seed: int = 0
) -> pd.DataFrame:
    """Average `agreement` over sequences, in the layout of Table III.

    A metric with fewer than two whole sequences is left out.

    Returns
    -------
    DataFrame
        group, method, metric (the statistic), value, low, high (95 % bootstrap over sequences),
        n (sequences), paper (its value, where it has one); rows in the paper's order.
    """
    printed = paper_table("table3").rename(columns={"KRCC_dagger": DAGGER}).set_index("method")
    groups = {name: entry.group for name, entry in iqa.REGISTRY.items()}
    order = [*groups, *correlations.method.unique()]
    rows = []
    for method in sorted(correlations.method.unique(), key=order.index):
        block = correlations[correlations.method == method]
        if len(block) < 2:
            continue
        for statistic in statistics:
            values = block[statistic].to_numpy()
            low, high = bootstrap_interval(values, seed=seed)
            known = method in printed.index and statistic in printed
            rows.append(
                {
                    "group": groups.get(method, "controls"),
                    "method": method,
                    "metric": statistic,
                    "value": values.mean(),
                    "low": low,
                    "high": high,
                    "n": len(values),
                    "paper": printed.loc[method, statistic] if known else np.nan,
                }
            )
    return pd.DataFrame(rows)


def compare_metrics(
    correlations: pd.DataFrame, statistic: str = DAGGER, seed: int = 0
) -> pd.DataFrame:
    """Compare every pair of metrics over the sequences that both scored, if these are two or more.

    Returns
    -------
    DataFrame
        a, b, the attributes of `lib.metrics.PairedTest` for a - b, and p_holm, corrected for the
        number of pairs.
    """
    wide = correlations.pivot(index="sequence", columns="method", values=statistic)
    wide = wide[wide.mean().sort_values(ascending=False, kind="stable").index]
    rows = []
    for a, b in combinations(wide, 2):
        both = wide[[a, b]].dropna()
        if len(both) < 2:
            continue
        test = paired_test(both[a].to_numpy(), both[b].to_numpy(), seed)
        rows.append({"a": a, "b": b} | asdict(test))
    columns = ["a", "b", *(field.name for field in fields(PairedTest))]
    table = pd.DataFrame(rows, columns=columns)
    return table.assign(p_holm=holm(table.p_value))


def attention_curve(sacid: SACID, shares: Sequence[float]) -> pd.DataFrame:
    """Ask how much of EW-PSNR's weight should follow saliency, the rest being even.

    At 0 it is PSNR, at 1 EW-PSNR.

    Returns
    -------
    DataFrame
        As `agreement`, with the share (float) for the method.
    """
    metric = iqa.metric("EW-PSNR")
    columns: dict[float, list[np.ndarray]] = {share: [] for share in shares}
    for sequence in sacid.sequences:
        rows = np.flatnonzero(sacid.table.sequence == sequence)
        pictures = np.stack([sacid[row].image for row in rows])
        reference, saliency = sacid.reference(sequence), sacid.saliency_map(sequence)
        for share, found in columns.items():
            weights = share * saliency / saliency.sum() + (1 - share) / saliency.size
            found.append(metric.score(pictures, reference, weights))
    table = add_conditions(sacid.table)
    table = table.assign(**{str(share): np.concatenate(c) for share, c in columns.items()})
    curve = agreement(table, {str(share): 1 for share in shares})
    return curve.assign(method=curve.method.astype(float))


def noise_ceiling(
    scores: pd.DataFrame, votes_per_pair: int, assessors: int, repeats: int = 5, seed: int = 0
) -> pd.DataFrame:
    """Ask how well a metric could do that knew the scores, if another study judged it.

    Votes are drawn from the given scores as if they were the truth (Bradley-Terry), scored again,
    and correlated with them. The given scores hold noise of their own and so spread a little more
    than the truth does: the ceiling is a little too high.

    Parameters
    ----------
    scores : DataFrame
        sequence, test_case, score.
    votes_per_pair, assessors : int
        Size of the other study.
    repeats : int
        Studies; their correlations are averaged sequence by sequence.

    Returns
    -------
    DataFrame
        As `agreement`, for the method "Perfect metric".
    """
    truth = scores.pivot(index="sequence", columns="test_case", values="score")[list(TEST_CASES)]
    found = []
    for repeat in range(seed, seed + repeats):
        design = subjective.design_study(
            truth.index, TEST_CASES, votes_per_pair, assessors, questions=0, seed=repeat
        )
        votes = subjective.simulate_votes(design, truth, inattentive=0, seed=repeat)
        # With a prior, as some pictures never lose among so few votes.
        again = subjective.score_study(votes, prior=0.1)
        table = scores.rename(columns={"score": CEILING}).merge(again, on=["sequence", "test_case"])
        table = add_conditions(table).rename(columns={"subjective_score": "score"})
        found.append(agreement(table, {CEILING: 1}))
    return pd.concat(found).groupby(["method", "sequence"], as_index=False).mean()


def conclusion(summary: pd.DataFrame, comparisons: pd.DataFrame, kind: str) -> str:
    """Say in Markdown, from the numbers alone, what the benchmark shows.

    Parameters
    ----------
    summary : DataFrame
        From `summarize`, with the dummy.
    comparisons : DataFrame
        From `compare_metrics` by KRCC-dagger.
    kind : str
        Whose scores these are.
    """
    wide = summary.pivot(index="method", columns="metric", values="value")
    real = wide.drop(index=[DUMMY, CEILING], errors="ignore")
    dummy = wide.loc[DUMMY]
    lines = [f"By {kind}:", ""]
    for statistic in ("SROCC", "PLCC"):
        ahead = int((real[statistic] > dummy[statistic]).sum())
        lines.append(
            f"- {statistic}: the target bitrate alone reaches {dummy[statistic]:.3f}; {ahead} of "
            f"{len(real)} metrics are above it."
        )
    best = real[DAGGER].sort_values(ascending=False).index[:3]
    names = ", ".join(f"{name} ({real[DAGGER][name]:.3f})" for name in best)
    lines.append(f"- {DAGGER}, where bitrate tells nothing: best are {names}.")
    pairs = [(f"EW-{m}", m) for m in real.index if f"EW-{m}" in real.index]
    for weighted, plain in pairs:
        tests = comparisons[
            (comparisons[["a", "b"]] == [weighted, plain]).all(axis=1)
            | (comparisons[["a", "b"]] == [plain, weighted]).all(axis=1)
        ]
        if tests.empty:  # no two sequences that both scored
            continue
        test = tests.iloc[0]
        sign = 1 if test.a == weighted else -1
        low, high = sorted((sign * test.low, sign * test.high))
        lines.append(
            f"- Weighting {plain} by saliency changes its {DAGGER} by "
            f"{sign * test.mean_difference:+.3f} [{low:+.3f}, {high:+.3f}]."
        )
    sure = int((comparisons.p_holm < 0.05).sum())
    lines.append(f"- {sure} of {len(comparisons)} pairs of metrics differ surely (Holm, 5 %).")
    return "\n".join(lines)


# --- figures ----------------------------------------------------------------------------------


def plot_ranking(summary: pd.DataFrame, top: int = 10) -> plt.Figure:
    """Draw Figure 3: the best full-reference and no-reference metrics, with intervals.

    Parameters
    ----------
    summary : DataFrame
        From `summarize`; the dummy and the ceiling, where it has them, become lines.
    top : int
        How many of each kind, by SROCC.
    """
    lines = {CEILING: ("0.3", ":"), DUMMY: ("tab:red", "--")}
    marks = {"reads saliency": "*", "trained on saliency": "D", "neither": "o"}
    colors = dict(zip(marks, ("tab:orange", "tab:green", "tab:blue"), strict=True))
    role = {
        name: "reads saliency"
        if entry.uses_saliency
        else "trained on saliency"
        if name in TRAINED_ON_SALIENCY
        else "neither"
        for name, entry in iqa.REGISTRY.items()
    }
    kinds = {
        kind: [n for n, entry in iqa.REGISTRY.items() if entry.full_reference == full]
        for kind, full in (("full reference", True), ("no reference", False))
    }
    figure, axes = plt.subplots(
        2, len(STATISTICS), figsize=(9, 5), sharex="col", sharey="row", layout="constrained"
    )
    for row, (kind, members) in zip(axes, kinds.items(), strict=True):
        part = summary[summary.method.isin(members)]
        ranked = part[part.metric == "SROCC"].sort_values("value", ascending=False).method[:top]
        for axis, statistic in zip(row, STATISTICS, strict=True):
            for place, name in enumerate(ranked):
                one = part[(part.method == name) & (part.metric == statistic)].iloc[0]
                axis.errorbar(
                    one.value,
                    place,
                    xerr=[[one.value - one.low], [one.high - one.value]],
                    fmt=marks[role[name]],
                    markersize=9 if marks[role[name]] == "*" else 4,
                    color=colors[role[name]],
                )
            for name, (color, style) in lines.items():
                one = summary[(summary.method == name) & (summary.metric == statistic)]
                for value in one.value:
                    axis.axvline(value, color=color, linestyle=style, linewidth=1, label=name)
        row[0].set_yticks(range(len(ranked)), ranked)
        row[0].invert_yaxis()
        row[0].set_ylabel(kind)
    for axis, statistic in zip(axes[-1], STATISTICS, strict=True):
        axis.set_xlabel(f"{statistic} (larger is better)")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    handles += [
        plt.Line2D([], [], marker=mark, linestyle="", color=colors[name])
        for name, mark in marks.items()
    ]
    figure.legend(handles, [*labels, *marks], loc="outside upper center", ncols=5)
    return figure


def plot_scatter(table: pd.DataFrame, name: str, columns: int = 4) -> plt.Figure:
    """Draw a metric over people's scores, a panel a sequence (12 at most), a color a bitrate."""
    sequences = list(table.sequence.unique())[:12]
    count = -(-len(sequences) // columns)
    size = (2.1 * columns, 1.8 * count + 0.4)
    figure, axes = plt.subplots(count, columns, figsize=size, squeeze=False, layout="constrained")
    markers = dict(zip(table.preset.unique(), "osD^", strict=False))
    for axis, sequence in zip(axes.ravel(), sequences, strict=False):
        sns.scatterplot(
            table[table.sequence == sequence],
            x=name,
            y="score",
            hue="bpp",
            style="preset",
            markers=markers,
            palette="viridis",
            legend=sequence == sequences[0],
            ax=axis,
        )
        axis.set_title(sequence[:24], fontsize=7)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    axes[0, 0].get_legend().remove()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(handles), fontsize=7)
    for axis in axes.ravel()[len(sequences) :]:
        axis.set_axis_off()
    return figure


def plot_attention(curve: pd.DataFrame, seed: int = 0) -> plt.Figure:
    """Draw `attention_curve`: a panel a statistic, with 95 % intervals over sequences."""
    size = (2.6 * len(STATISTICS), 2.4)
    figure, axes = plt.subplots(1, len(STATISTICS), figsize=size, layout="constrained")
    for axis, statistic in zip(axes, STATISTICS, strict=True):
        by_share = {share: part[statistic].to_numpy() for share, part in curve.groupby("method")}
        shares, means = list(by_share), np.array([v.mean() for v in by_share.values()])
        ends = np.array([bootstrap_interval(v, seed=seed) for v in by_share.values()])
        axis.errorbar(shares, means, np.abs(ends.T - means), fmt="o-", markersize=4)
        axis.set(xlabel="share of the weight\nthat follows saliency", title=statistic)
    return figure


def plot_significance(comparisons: pd.DataFrame, statistic: str = DAGGER) -> plt.Figure:
    """Draw `compare_metrics`: row less column, a dot where Holm's correction leaves p < 0.05."""
    if comparisons.empty:
        raise ValueError("no two metrics scored the same sequences; there is nothing to compare")
    names = list(dict.fromkeys([*comparisons.a, *comparisons.b]))  # from best to worst
    place = {name: number for number, name in enumerate(names)}
    grid, sure = np.zeros((len(names), len(names))), []
    for row in comparisons.itertuples():
        a, b = place[row.a], place[row.b]
        grid[a, b], grid[b, a] = row.mean_difference, -row.mean_difference
        sure += [(a, b), (b, a)] if row.p_holm < 0.05 else []
    side = 0.24 * len(names) + 1.5
    figure, axis = plt.subplots(figsize=(side + 1, side), layout="constrained")
    reach = np.abs(grid).max() or 1.0
    drawn = axis.imshow(grid, cmap="RdBu", vmin=-reach, vmax=reach)
    axis.grid(False)
    if sure:
        axis.plot(*np.array(sure).T[::-1], "k.", markersize=3)
    axis.set_xticks(range(len(names)), names, rotation=90, fontsize=7)
    axis.set_yticks(range(len(names)), names, fontsize=7)
    figure.colorbar(drawn, label=f"{statistic}, row less column", shrink=0.7)
    return figure


# --- one command ------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line: benchmark metrics on a folder in SACID's layout."""
    parser = argparse.ArgumentParser(
        prog="python -m lib.benchmark",
        description="Score every picture of a folder in SACID's layout (with its moses.csv) and "
        "print Table III. Scores are kept: a killed run goes on where it was.",
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "--metrics",
        nargs="+",
        metavar="NAME",
        default=[name for name, entry in iqa.REGISTRY.items() if not entry.needs_download],
        help="of: " + ", ".join(iqa.REGISTRY) + " (default: those that need no download)",
    )
    parser.add_argument("--jobs", type=int, default=1, help="processes; -1: one a core")
    parser.add_argument("--scores", type=Path, metavar="CSV", help="write every score there")
    options = parser.parse_args(arguments)
    try:
        scored = score_pictures(SACID(options.folder), options.metrics, options.jobs)
        summary = summarize(agreement(scored.table, scored.signs))
    except (OSError, ValueError, KeyError) as error:
        print(f"error: {error.args[0] if error.args else error}", file=sys.stderr)
        return 1
    print(markdown(wide_table(summary)))
    for name, reason in scored.missing.items():
        print(f"missing: {name}: {reason}")
    if options.scores:
        scored.table.to_csv(options.scores, index=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
