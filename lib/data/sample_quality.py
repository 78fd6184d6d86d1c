"""The sample photographs under graded distortions, with a pseudo-MOS that metrics give them."""

from pathlib import Path

import numpy as np
import pandas as pd

from lib import distortions
from lib.data.sample_saliency import PHOTOGRAPHS, _shrink, photograph
from lib.records import Dataset, Record
from lib.store import fingerprint

PSEUDO_MOS = Path(__file__).with_name("sample_pseudo_mos.csv")
QUALITY_SIDE = 384  # long side, pixels


class SampleQuality(Dataset):
    """The photographs, pristine and under every distortion and level, with their pseudo-MOS.

    Raises
    ------
    ValueError
        If the table of pseudo-MOS does not hold the images that this code makes.
    """

    name = "sample"
    kind = f"pseudo-MOS: mean rank of {', '.join(m.upper() for m in distortions.METRICS)}"

    def __init__(self) -> None:
        self._made = {"pristine " + n: (n, None, 0) for n in PHOTOGRAPHS}
        self._made |= {
            f"{kind} {level} {name}": (name, kind, level)
            for name in PHOTOGRAPHS
            for kind in distortions.KINDS
            for level in range(distortions.LEVELS)
        }
        self.names = list(self._made)
        self.scores = pd.read_csv(PSEUDO_MOS, index_col="name").pseudo_mos
        if list(self.scores.index) != self.names:
            raise ValueError(f"{PSEUDO_MOS} is out of date; remake it: python -m lib.data.sample")
        self.fingerprint = fingerprint(
            ["sample-quality", distortions.STRENGTHS, PSEUDO_MOS.read_bytes()]
        )

    @property
    def contents(self) -> list[str]:  # noqa: D102 (see Dataset)
        return [photograph for photograph, _, _ in self._made.values()]

    def __getitem__(self, index: int) -> Record:
        name = self.names[index]
        image = distorted(*self._made[name])
        return Record(name, image, mos=float(self.scores[name]), mos_range=(0.0, 1.0))


def distorted(name: str, kind: str | None, level: int) -> np.ndarray:
    """Return a photograph of the quality half, distorted (or pristine: `kind` None)."""
    image = _shrink(photograph(name), QUALITY_SIDE)
    if kind is None:
        return image
    return distortions.distort(image, kind, level, seed=list(PHOTOGRAPHS).index(name))


def pseudo_mos() -> pd.Series:
    """Compute the pseudo-MOS of the whole quality half: name to value from 0 to 1."""
    pristine, names, scores = [], [], []
    for name in PHOTOGRAPHS:
        reference = distorted(name, None, 0)
        versions = [(k, v) for k in distortions.KINDS for v in range(distortions.LEVELS)]
        pictures = np.stack([reference, *(distorted(name, k, v) for k, v in versions)])
        pristine.append(f"pristine {name}")
        names += [f"pristine {name}", *(f"{k} {v} {name}" for k, v in versions)]
        scores.append(distortions.full_reference_scores(reference, pictures))
    table = pd.Series(distortions.mean_rank(np.concatenate(scores)), index=names, name="pseudo_mos")
    return table.reindex([*pristine, *(n for n in names if n not in set(pristine))])


if __name__ == "__main__":
    pseudo_mos().round(6).to_csv(PSEUDO_MOS, index_label="name")
    print(f"wrote {PSEUDO_MOS}")


def open(_: Path) -> SampleQuality:
    """Open the distorted photographs; nothing is read from the data folder."""
    return SampleQuality()
