"""Table III: every metric scores every picture of a tree in SACID's layout."""

import hashlib
from collections.abc import Sequence

import numpy as np
import pandas as pd

from lib.iqa import Metric, metric
from lib.records import Dataset
from lib.store import Store, run_all


def score_pictures(sacid: Dataset, names: Sequence[str], jobs: int | str = 1) -> pd.DataFrame:
    """Score every picture of a tree in SACID's layout, at its own resolution, one at a time.

    In a batch float32 sums differ (VIF by 4e-6), and at this size it gains no time. A sequence's
    pictures are decoded once for all metrics; scores are memoised by metric, weights and pictures.

    Returns
    -------
    DataFrame
        Columns metric, sequence, test_case, value (NaN where it failed) and reason.
    """
    tasks = [(sacid, sequence, tuple(names)) for sequence in sacid.sequences]
    parts = run_all(_score_sequence, tasks, jobs, f"scoring {sacid.name}", "sequence")
    columns = ["metric", "sequence", "test_case", "value", "reason"]
    return pd.DataFrame([row for part in parts for row in part], columns=columns)


def _score_sequence(sacid: Dataset, sequence: str, names: tuple[str, ...]) -> list[tuple]:
    chosen = np.flatnonzero(sacid.table.sequence == sequence)
    paths = [sacid.root / kind / f"{sequence}.png" for kind in ("reference", "saliency")]
    paths += [sacid.root / "compressed" / f"{sacid.names[row]}.jpg" for row in chosen]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()[:16]
    rows, pictures = [], None
    for name in names:
        store = Store("iqa-scores", 1, metric=name, key=metric(name).key)
        known, reasons = store.get(f"{sequence} {digest}"), [""] * len(chosen)
        if known is None:
            pictures = pictures or (
                [sacid[row].image for row in chosen],
                sacid.reference(sequence),
                sacid.saliency_map(sequence),
            )
            scored = [_score_one(metric(name), image, *pictures[1:]) for image in pictures[0]]
            known, reasons = np.array([s for s, _ in scored]), [why for _, why in scored]
            if not any(reasons):
                store.put(f"{sequence} {digest}", known)
        cases = sacid.table.test_case.iloc[chosen]
        rows += [(name, sequence, *row) for row in zip(cases, known, reasons, strict=True)]
    return rows


def _score_one(metric: Metric, image: np.ndarray, *others: np.ndarray) -> tuple[float, str]:
    """Score a picture; where that fails, NaN and the reason."""
    try:
        (score,) = metric(image[None], *others)
    except (ValueError, RuntimeError, AssertionError) as error:
        return np.nan, (str(error) or type(error).__name__).splitlines()[0]
    return (score, "") if np.isfinite(score) else (np.nan, f"the score is {score}")
