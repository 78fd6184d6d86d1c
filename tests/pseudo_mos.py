"""``python -m tests.pseudo_mos`` remakes the pseudo-MOS of the sample photographs."""

import numpy as np
import pandas as pd

from lib.data.sample_quality import (
    KINDS,
    LEVELS,
    PSEUDO_MOS,
    distorted,
    full_reference_scores,
    mean_rank,
)
from lib.data.sample_saliency import PHOTOGRAPHS


def pseudo_mos() -> pd.Series:
    """Compute the pseudo-MOS of the whole quality half: name to value from 0 to 1."""
    pristine, names, scores = [], [], []
    for name in PHOTOGRAPHS:
        reference = distorted(name, None, 0)
        versions = [(k, v) for k in KINDS for v in range(LEVELS)]
        pictures = np.stack([reference, *(distorted(name, k, v) for k, v in versions)])
        pristine.append(f"pristine {name}")
        names += [f"pristine {name}", *(f"{k} {v} {name}" for k, v in versions)]
        scores.append(full_reference_scores(reference, pictures))
    table = pd.Series(mean_rank(np.concatenate(scores)), index=names, name="pseudo_mos")
    return table.reindex([*pristine, *(n for n in names if n not in set(pristine))])


if __name__ == "__main__":
    pseudo_mos().round(6).to_csv(PSEUDO_MOS, index_label="name")
    print(f"wrote {PSEUDO_MOS}")
