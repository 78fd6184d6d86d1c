"""SALICON: 10,000 and 5,000 COCO photographs, each explored with the mouse by dozens of people.

M. Jiang, S. Huang, J. Duan, Q. Zhao, "SALICON: Saliency in Context", CVPR 2015; the edition of 2017
(salicon.net/challenge-2017), whose fixations were detected anew. 640x480, sharp only near the
pointer, which stands in for the eye. The test part has no public fixations and is left out.

    images/<train|val>/COCO_<train|val>2014_<number>.jpg
    fixations/<train|val>/COCO_<train|val>2014_<number>.mat    gaze: an entry a person
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from lib.data.download import Source, on_disk
from lib.data.osie import gaze_record, read_mat
from lib.images import read_image
from lib.records import Dataset, Record
from lib.store import fingerprint

COUNTS = {"train": 10_000, "val": 5_000}
SIGMA = 19.0  # pixels: how the authors' own `buildFixMap` blurs (github.com/NUS-VIP/salicon-api)
IMAGES = Source(  # addresses and hashes are pysaliency's (external_datasets/salicon.py)
    url="https://drive.google.com/uc?id=1g8j-hTT-51IG1UFwP0xTGhLdgIUCW5e5",
    about="3 GB",
    files={"train/": "train/", "val/": "val/"},
    limit_mb=20_000,
    counts={f"{s}/COCO_{s}2014_*.jpg": (n, (640, 480)) for s, n in COUNTS.items()},
    digest="md5:eb2a1bb706633d1b31fc2e01422c5757",
    terms="none stated; photographs: COCO's",
    page="http://salicon.net/challenge-2017",
)
FIXATIONS = replace(
    IMAGES,
    url="https://drive.google.com/uc?id=1P-jeZXCsjoKO79OhFUgnj6FGcyvmLDPj",
    about="size unstated",
    counts={f"{s}/COCO_{s}2014_*.mat": (n, ()) for s, n in COUNTS.items()},
    digest="md5:462b70f4f9e8ea446ac628e46cea8d3d",
)
SOURCE = {"images": IMAGES, "fixations": FIXATIONS}


class SALICON(Dataset):
    """One split, "train" or "val"; `sigma` and `long_side` are as `lib.data.osie.OSIE`'s."""

    kind = "mouse fixations (web, 2017 edition)"

    def __init__(
        self, root: Path, split: str = "val", sigma: float = SIGMA, long_side: int | None = None
    ):
        if split not in COUNTS:
            raise ValueError(f"split must be one of {sorted(COUNTS)}, not {split!r}")
        self.name, self.sigma, self.long_side = f"SALICON {split}", float(sigma), long_side
        self._images, self._gaze = (Path(root) / part / split for part in SOURCE)
        found = sorted(on_disk(self._images, "paper").glob(f"COCO_{split}2014_*.jpg"))
        self.names = [path.name for path in found]
        mats = [on_disk(self._gaze / f"{path.stem}.mat", "paper") for path in found]
        every = [(path.name, path.stat().st_size) for path in (*found, *mats)]
        self.fingerprint = fingerprint(["salicon", split, self.sigma, long_side, *every])

    def __getitem__(self, index: int) -> Record:
        name = self.names[index]
        fixations = _read_fixations((self._gaze / name).with_suffix(".mat"))
        image = read_image(self._images / name)
        return gaze_record(name, image, fixations, self.sigma, self.long_side)


def _read_fixations(mat: Path) -> np.ndarray:
    """Read everybody's fixations, Nx2; the file counts pixels from 1, as MATLAB does."""

    def places(people: np.ndarray) -> np.ndarray:
        # In floats before 1 is taken away: the file's numbers may be unsigned.
        every = [np.asarray(p["fixations"], np.float64).reshape(-1, 2) for p in people.ravel()]
        return np.concatenate(every) - 1

    return read_mat(mat, "SALICON", "gaze", places)


open = SALICON  # what `data.load` calls
