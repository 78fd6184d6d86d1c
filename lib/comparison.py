"""What maps are worth: metrics, map transforms, intervals, paired tests, and plain verdicts.

Transforms and centre priors are fitted on other images than those they are judged on, and every
comparison is paired by image.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from lib import maps, metrics
from lib.cluster import run_all
from lib.data.records import Dataset, Record
from lib.extraction import Source, extract
from lib.maps import GaussianPrior, MapTransform, resize_map

METRICS = ("NSS", "NSS-paper", "SIM", "CC", "KLD", "AUC-Judd")
LOWER_IS_BETTER = ("KLD",)
PRIOR_GRID = (60, 80)  # rows, columns at which densities are averaged; images may differ in size


def score_map(saliency_map: np.ndarray, record: Record) -> dict[str, float]:
    """Return every metric of `METRICS` for one map."""
    return {
        "NSS": metrics.nss(saliency_map, record.fixations),
        "NSS-paper": metrics.nss_support(saliency_map, record.density),
        "SIM": metrics.similarity(saliency_map, record.density),
        "CC": metrics.cc(saliency_map, record.density),
        "KLD": metrics.kld(saliency_map, record.density),
        "AUC-Judd": metrics.auc_judd(saliency_map, record.fixations),
    }


RAW, TRANSFORMED = "as extracted", "after the map transforms of [45]"


def _priors(gaussian: GaussianPrior, average: np.ndarray, shape: tuple[int, int]) -> dict:
    """Return the two dummy maps: they know where people look on average, and see no picture."""
    return {"CenterPrior": gaussian.render(shape), "Average density": resize_map(average, shape)}


def _score_record(
    dataset: Dataset,
    index: int,
    extracted: dict[str, np.ndarray],
    gaussian: GaussianPrior,
    average: np.ndarray,
    transforms: dict[str, MapTransform],
) -> list[tuple[str, str, str, str, float]]:
    """Return (method, stage, image, metric, value) of every map of one held-out image."""
    record = dataset[index]
    shape = record.image.shape[:2]
    priors = _priors(gaussian, average, shape)
    rows = []
    for method, saliency_map in (priors | extracted).items():
        saliency_map = saliency_map.astype(np.float32)
        corrected = transforms[method].apply(saliency_map, priors["CenterPrior"])
        for stage, judged in ((RAW, saliency_map), (TRANSFORMED, corrected)):
            for metric, value in score_map(judged, record).items():
                rows.append((method, stage, record.name, metric, value))
    return rows


def evaluate(
    sources: Sequence[Source],
    dataset: Dataset,
    folds: int = 5,
    seed: int = 0,
    fit_images: int = 200,
    jobs: int = 1,
) -> tuple[pd.DataFrame, dict[str, list[MapTransform]]]:
    """Score every source, and the centre priors, before and after the map transforms of [45].

    For each of `folds` parts of the data set, the centre prior and each method's transform are
    fitted on the other parts (on at most `fit_images` images drawn from them).

    Returns
    -------
    (DataFrame, dict)
        Columns group, method, stage, image, metric, value: one row a value; and the transforms
        of each method, a fold each.
    """
    if not 2 <= folds <= len(dataset):
        raise ValueError(f"folds must be between 2 and the {len(dataset)} images, not {folds}")
    extracted = {s.method: extract(s, dataset) for s in sources}
    fold = np.random.default_rng(seed).permutation(np.arange(len(dataset)) % folds)
    transforms: dict[str, list[MapTransform]] = {}
    tasks = []
    for k in tqdm(range(folds), desc="fitting transforms", unit="fold"):
        others = np.random.default_rng([seed, k]).permutation(np.flatnonzero(fold != k))
        chosen = np.sort(others[:fit_images])
        densities = [dataset[i].density for i in chosen]
        gaussian = GaussianPrior.fit(densities)
        average = maps.average_prior([resize_map(d, PRIOR_GRID) for d in densities])
        priors = [_priors(gaussian, average, d.shape) for d in densities]
        centers = [p["CenterPrior"] for p in priors]
        examples = {m: [p[m] for p in priors] for m in priors[0]}
        examples |= {m: [found[i] for i in chosen] for m, found in extracted.items()}
        fitted = {m: MapTransform.fit(e, densities, centers) for m, e in examples.items()}
        for method, transform in fitted.items():
            transforms.setdefault(method, []).append(transform)
        tasks += [
            (dataset, i, {m: e[i] for m, e in extracted.items()}, gaussian, average, fitted)
            for i in np.flatnonzero(fold == k)
        ]
    scored = run_all(_score_record, tasks, jobs, f"scoring on {dataset.name}")
    columns = ["method", "stage", "image", "metric", "value"]
    table = pd.DataFrame([row for rows in scored for row in rows], columns=columns)
    groups = {"CenterPrior": "Dummy", "Average density": "Dummy"}
    groups |= {s.method: s.group for s in sources}
    table.insert(0, "group", table.method.map(groups))
    return table, transforms


def summarize(
    scores: pd.DataFrame, paper: pd.DataFrame | None = None, seed: int = 0
) -> pd.DataFrame:
    """Mean of each metric with its 95 % interval, and the paired test against the centre prior.

    Parameters
    ----------
    scores : DataFrame
        From `evaluate`.
    paper : DataFrame, optional
        The paper's table, its methods renamed to ours; the column `paper` is filled from it. The
        paper's NSS stands beside our NSS-paper, which has its scale.

    Returns
    -------
    DataFrame
        Tidy: group, method, stage, metric, value, low, high, n, and against the centre prior at
        the same stage: difference, difference_low, difference_high, p_value; then paper.
    """
    rows = []
    for (stage, metric), block in scores.groupby(["stage", "metric"], sort=False):
        values = block.pivot(index="image", columns="method", values="value")
        prior = values["CenterPrior"].to_numpy()
        for method in block.method.drop_duplicates():
            ours = values[method].to_numpy()
            low, high = metrics.bootstrap_interval(ours, seed=seed)
            row = {"stage": stage, "method": method, "metric": metric, "value": ours.mean()}
            row |= {"low": low, "high": high, "n": len(ours)}
            if method != "CenterPrior":
                test = metrics.paired_test(ours, prior, seed=seed)
                row |= {"difference": test.mean_difference, "difference_low": test.low}
                row |= {"difference_high": test.high, "p_value": test.p_value}
            rows.append(row)
    tidy = pd.DataFrame(rows)
    groups = scores.drop_duplicates("method").set_index("method").group
    tidy.insert(0, "group", tidy.method.map(groups))
    if paper is not None:
        printed = paper.rename(columns={"NSS": "NSS-paper"}).melt(
            ["group", "method"], var_name="metric", value_name="paper"
        )[["method", "metric", "paper"]]
        tidy = tidy.merge(printed, how="left", on=["method", "metric"])
        # The paper's values are after its transforms: they stand beside ours at that stage only.
        tidy.loc[tidy.stage == RAW, "paper"] = np.nan
    return tidy


def verdicts(tidy: pd.DataFrame, level: float = 0.05) -> pd.DataFrame:
    """Say of each method whether it beats the centre prior, metric by metric.

    A metric is won or lost where the paired Wilcoxon test, Holm-corrected over all rows of the
    stage, rejects at `level`; else it is a tie.

    Returns
    -------
    DataFrame
        stage, group, method, then one of "better", "worse", "tie" for each metric, and `verdict`:
        "beats it" if some metric is better and none worse, "loses" the other way round, "mixed"
        if some are better and some worse, "cannot tell" if all are ties.
    """
    compared = tidy[tidy.method != "CenterPrior"].copy()
    compared["p_holm"] = compared.groupby("stage").p_value.transform(metrics.holm)
    gain = compared.difference * np.where(compared.metric.isin(LOWER_IS_BETTER), -1, 1)
    sure = compared.p_holm < level
    compared["outcome"] = np.select(
        [sure & (gain > 0), sure & (gain < 0)], ["better", "worse"], "tie"
    )
    index = ["stage", "group", "method"]
    order = compared[index].drop_duplicates()
    table = compared.pivot(index=index, columns="metric", values="outcome")[
        [m for m in METRICS if m in set(compared.metric)]
    ]
    table["verdict"] = [_verdict(set(row)) for row in table.to_numpy()]
    return order.merge(table.reset_index(), on=index)


def _verdict(outcomes: set[str]) -> str:
    if "better" in outcomes:
        return "mixed" if "worse" in outcomes else "beats it"
    return "loses" if "worse" in outcomes else "cannot tell"


def compare(scores: pd.DataFrame, methods: Sequence[str], against: str, seed: int) -> pd.DataFrame:
    """Paired differences of some methods from another one.

    Returns
    -------
    DataFrame
        stage, method, metric, difference (method minus `against`), low, high (95 % bootstrap
        interval), p_value (Wilcoxon), n.
    """
    rows = []
    for (stage, metric), block in scores.groupby(["stage", "metric"], sort=False):
        values = block.pivot(index="image", columns="method", values="value")
        for method in methods:
            test = metrics.paired_test(
                values[method].to_numpy(), values[against].to_numpy(), seed=seed
            )
            rows.append(
                {
                    "stage": stage,
                    "method": method,
                    "metric": metric,
                    "difference": test.mean_difference,
                    "low": test.low,
                    "high": test.high,
                    "p_value": test.p_value,
                    "n": test.n,
                }
            )
    return pd.DataFrame(rows)


def conclusion(
    verdict: pd.DataFrame, against_trunk: pd.DataFrame, models: Sequence[str], dataset: Dataset
) -> str:
    """Say in Markdown, from the numbers alone, which parts of claim 1 hold on this data set."""
    lines = [f"On {dataset.name} ({dataset.kind}, {len(dataset)} images):", ""]
    said = {
        "beats it": "beats the centre prior",
        "loses": "falls behind the centre prior",
        "mixed": "is better than the centre prior by some metrics and worse by others",
        "cannot tell": "cannot be told from the centre prior",
    }
    for stage, block in verdict.groupby("stage", sort=False):
        rows = block.set_index("method")
        for model in [m for m in models if m in rows.index]:
            row = rows.loc[model]
            parts = [
                f"{outcome}: {', '.join(m for m in METRICS if row.get(m) == outcome)}"
                for outcome in ("better", "worse", "tie")
                if (row == outcome).any()
            ]
            lines.append(f"- *{stage}*: **{model}** {said[row.verdict]} ({'; '.join(parts)}).")
    for (stage, model), block in against_trunk.groupby(["stage", "method"], sort=False):
        gain = block.difference * np.where(block.metric.isin(LOWER_IS_BETTER), -1, 1)
        sure = block.p_value < 0.05
        better, worse = block.metric[sure & (gain > 0)], block.metric[sure & (gain < 0)]
        parts = [f"better: {', '.join(better)}"] if len(better) else []
        parts += [f"worse: {', '.join(worse)}"] if len(worse) else []
        lines.append(
            f"- *{stage}*: against the ImageNet trunk alone, **{model}** is "
            f"{'; '.join(parts) or 'neither better nor worse'}."
        )
    return "\n".join(lines)
