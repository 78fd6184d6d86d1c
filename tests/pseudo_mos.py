"""``python -m tests.pseudo_mos`` remakes the pseudo-MOS of the sample photographs."""

import numpy as np
import pandas as pd

from lib.data.sample_quality import MADE, PSEUDO_MOS, distorted, full_reference_scores, mean_rank
from lib.data.sample_saliency import PHOTOGRAPHS


def pseudo_mos() -> pd.Series:
    """Compute the pseudo-MOS of the whole quality half: name to value from 0 to 1."""
    blocks = []
    for name in PHOTOGRAPHS:
        versions = {key: made for key, made in MADE.items() if made[0] == name}
        pictures = np.stack([distorted(*made) for made in versions.values()])
        blocks.append(pd.DataFrame(full_reference_scores(pictures[0], pictures), list(versions)))
    scores = pd.concat(blocks).loc[list(MADE)]
    return pd.Series(mean_rank(scores.to_numpy()), scores.index, name="pseudo_mos")


if __name__ == "__main__":
    pseudo_mos().round(6).to_csv(PSEUDO_MOS, index_label="name")
    print(f"wrote {PSEUDO_MOS}")
