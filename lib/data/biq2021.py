"""BIQ2021: 12,000 authentic photographs with MOS from 30 laboratory observers.

N. Ahmed, H. M. S. Asif, A. R. Bhatti, A. Khan, "BIQ2021: A large-scale blind image quality
assessment database", Journal of Electronic Imaging, 2022. 512x512 photographs in three subsets
(ss01, ss02, ss03), with an official split into training and test photographs. MOS in [0, 1].
In the `open` profile it plays the part that KonIQ-10k plays in the paper.
"""

from pathlib import Path

import pandas as pd

from lib.data.download import Source, on_disk
from lib.images import read_image
from lib.records import Dataset, Record
from lib.store import fingerprint
from lib.tables import read_csv

CSV = {"train": "Train (Images and MOS).csv", "test": "Test (Images and MOS).csv"}
COMMIT = "62c7b40c036b68ee280626409699aa5c1a37fe57"
URL = f"https://codeload.github.com/nisarahmedrana/BIQ2021/zip/{COMMIT}"
FILES = {name: name for name in ("Images/", *CSV.values())}
SOURCE = Source(URL, "400 MB", FILES, limit_mb=1000, manifest="biq2021.sha256")


class Scored(Dataset):
    """Pictures on disk with a MOS each, by name; a data set says which, and its `mos_range`."""

    mos_range = (0.0, 1.0)

    def _fill(self, scores: pd.Series, paths: dict[str, Path], *key: object) -> None:
        self._paths, self.names = paths, sorted(paths)
        self.scores = scores.loc[self.names]
        every = [(n, self.scores[n], paths[n].stat().st_size) for n in self.names]
        self.fingerprint = fingerprint([*key, *every])

    def __getitem__(self, index: int) -> Record:
        name = self.names[index]
        image, mos = read_image(self._paths[name]), float(self.scores[name])
        return Record(name, image, mos=mos, mos_range=self.mos_range)


class BIQ2021(Scored):
    """The photographs of one official split, "train" or "test"."""

    kind = "human MOS (30 laboratory observers)"

    def __init__(self, root: Path, split: str = "train"):
        if split not in CSV:
            raise ValueError(f"split must be one of {sorted(CSV)}, not {split!r}")
        self.name, folder = f"BIQ2021 {split}", on_disk(Path(root) / "Images")
        scores = read_scores(on_disk(Path(root) / CSV[split])).MOS
        # One file is `.JPG` on disk and `.jpg` in the CSV: look names up without case.
        files = {path.name.lower(): path for path in folder.iterdir()}
        paths = {n: files.get(n.lower()) or on_disk(folder / n) for n in scores.index}
        self._fill(scores, paths, "biq2021", split)


def read_scores(
    path: Path, name: str = "Image Name", mos: str = "MOS", highest: float = 1.0, *more: str
) -> pd.DataFrame:
    """Read a table of pictures: columns of those names, and `more`; MOS from 0 to `highest`.

    A picture counts once, whatever the case of its name and the folder before it.
    """
    table = read_csv(path, [name, *more], [mos])
    twice = table[name].map(lambda each: Path(each).name.lower()).duplicated()
    if (bad := twice | ~table[mos].between(0, highest)).any():
        first = f"{path}, line {bad.idxmax()}: must score {table[name][bad.idxmax()]!r}"
        raise ValueError(f"{first} once, from 0 to {highest:g}; mend it")
    return table.set_index(name)


open = BIQ2021  # what `data.load` calls
