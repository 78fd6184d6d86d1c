"""BIQ2021: 12,000 authentic photographs with MOS from 30 laboratory observers.

N. Ahmed, H. M. S. Asif, A. R. Bhatti, A. Khan, "BIQ2021: A large-scale blind image quality
assessment database", Journal of Electronic Imaging, 2022. 512x512 photographs in three subsets
(ss01, ss02, ss03), with an official split into training and test photographs. MOS in [0, 1].
In the `open` profile it plays the part that KonIQ-10k plays in the paper.
"""

from pathlib import Path

import pandas as pd

from lib.data.download import Source
from lib.images import read_image
from lib.records import Dataset, Record
from lib.store import fingerprint

CSV = {"train": "Train (Images and MOS).csv", "test": "Test (Images and MOS).csv"}
COMMIT = "62c7b40c036b68ee280626409699aa5c1a37fe57"
SOURCE = Source(
    url=f"https://codeload.github.com/nisarahmedrana/BIQ2021/zip/{COMMIT}",
    about="400 MB",
    limit_mb=1000,
    files={name: name for name in ("Images/", *CSV.values())},
    manifest="biq2021.sha256",
)


class BIQ2021(Dataset):
    """The photographs of one official split ("train" or "test") that are on disk."""

    kind = "human MOS (30 laboratory observers)"

    def __init__(self, root: Path, split: str = "train"):
        if split not in CSV:
            raise ValueError(f"split must be one of {sorted(CSV)}, not {split!r}")
        self.name, self.split, self.root = f"BIQ2021 {split}", split, Path(root)
        scores = _read_scores(self.root / CSV[split])
        # One file is `.JPG` on disk and `.jpg` in the CSV: look names up without case.
        on_disk = {p.name.lower(): p for p in (self.root / "Images").glob("*") if p.is_file()}
        self._paths = {n: on_disk[n.lower()] for n in scores.index if n.lower() in on_disk}
        if not self._paths:
            raise FileNotFoundError(
                f"no image of {CSV[split]} in {self.root / 'Images'}; "
                "run `make data PROFILE=open`, or point DATA_DIR at the data sets"
            )
        self.names = sorted(self._paths)
        self.missing = len(scores) - len(self.names)
        self.scores = scores.loc[self.names]
        self.fingerprint = fingerprint(
            ["biq2021", split]
            + [(n, self.scores[n], self._paths[n].stat().st_size) for n in self.names]
        )

    def __getitem__(self, index: int) -> Record:
        name = self.names[index]
        image = read_image(self._paths[name])
        return Record(name, image, mos=float(self.scores[name]), mos_range=(0.0, 1.0))


def _read_scores(path: Path) -> pd.Series:
    if not path.is_file():
        raise FileNotFoundError(
            f"no BIQ2021 scores at {path}; run `make data PROFILE=open`, or point DATA_DIR at "
            "the folder that holds biq2021/"
        )
    table = pd.read_csv(path)
    if not {"Image Name", "MOS"} <= set(table.columns):
        raise ValueError(f"{path} must have the columns 'Image Name' and 'MOS'; download it again")
    scores = table.set_index("Image Name")["MOS"].astype(float)
    if scores.index.has_duplicates:
        twice = scores.index[scores.index.duplicated()][0]
        raise ValueError(f"{path} scores {twice!r} more than once; remove the extra row")
    if not scores.between(0, 1).all():  # NaN is not between either
        bad = scores.index[~scores.between(0, 1)][0]
        raise ValueError(f"{path} has no score in [0, 1] for {bad!r}; mend or remove its row")
    return scores


def open(root: Path, split: str = "train") -> BIQ2021:
    """Open one split of BIQ2021 in the folder `root`."""
    return BIQ2021(root, split)
