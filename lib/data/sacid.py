"""SACID: 60 photographs, each through a saliency-aware codec at 4 presets x 3 bitrates.

A. Kirillov, A. Moskalenko, D. Vatolin, "Bridging the Gap Between Saliency Prediction and Image
Quality Assessment" (Section III-D); github.com/Alexkkir/SACID. Scores are from pairwise comparisons
within a sequence, anchored at 0 for its worst picture: they do not compare across sequences. The
720 published scores ship with the project (`read_scores`); the pictures do not.

    reference/<sequence>.png
    saliency/<sequence>.png
    compressed/<sequence>/h264v@targetbbp100=<8|12|16>_preset=<none|p132|p220|p310>.jpg
    moses.csv     sequence, test_case, subjective_score
    about.json    name and kind, where scores are not people's (`lib.data.simulated_sacid`)
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from lib.codec import TEST_CASES
from lib.data.download import Source, on_disk
from lib.images import image_size, read_image
from lib.maps import resize_map
from lib.records import Dataset, Record
from lib.store import fingerprint
from lib.tables import read_csv

PUBLISHED_SCORES = Path(__file__).with_name("sacid_scores.csv")  # moses.csv, as published
# No commit or hash of SACID could be had when this was written: the newest state of its main branch
# is fetched, and the names of its 841 files and the kind of each image are checked.
URL = "https://codeload.github.com/Alexkkir/SACID/zip/HEAD"
FILES = {name: name for name in ("reference/", "compressed/", "saliency/", "moses.csv")}
SOURCE = Source(URL, "770 MB", FILES, limit_mb=2000, manifest="sacid.txt")


class SACID(Dataset):
    """The compressed pictures of a folder; records are named ``<sequence>/<test_case>``.

    `sequences` are the photographs, sorted; `table` is a DataFrame with one row a record: sequence,
    test_case, preset, bpp (the target), score.
    """

    name, kind = "SACID", "human scores (pairwise, anchored)"

    def __init__(self, root: Path):
        self.root = Path(root)
        scores = read_scores(on_disk(self.root / "moses.csv"))
        if (path := self.root / "about.json").is_file():
            vars(self).update(json.loads(path.read_text(encoding="utf-8")))
        order = np.lexsort([scores.test_case.map(TEST_CASES.index), scores.sequence])
        scores = scores.iloc[order].rename(columns={"subjective_score": "score"})
        columns = ["sequence", "test_case", "preset", "bpp", "score"]
        self.table = scores[columns].reset_index(drop=True)
        self.contents = self.table.sequence.tolist()
        self.sequences = sorted({*self.contents})
        self.names = (self.table.sequence + "/" + self.table.test_case).tolist()
        wanted = [f"{kind}/{s}.png" for kind in ("reference", "saliency") for s in self.sequences]
        wanted += [f"compressed/{name}.jpg" for name in self.names]
        sizes = [(path, on_disk(self.root / path).stat().st_size) for path in wanted]
        self.fingerprint = fingerprint(["sacid", *self.names, *self.table.score, *sizes])

    def __getitem__(self, index: int) -> Record:
        path = self.root / "compressed" / f"{self.names[index]}.jpg"
        return Record(self.names[index], read_image(path), mos=float(self.table.score.iloc[index]))

    def reference(self, sequence: str) -> np.ndarray:
        """Read the uncompressed picture of a sequence: HxWx3 uint8."""
        return read_image(self.root / "reference" / f"{sequence}.png")

    def saliency_map(self, sequence: str) -> np.ndarray:
        """Read the saliency map of a sequence: HxW float32 in [0, 1], of the reference's size."""
        shape = image_size(self.root / "reference" / f"{sequence}.png")
        return read_map(self.root / "saliency" / f"{sequence}.png", shape)


def read_map(path: Path, shape: tuple[int, int]) -> np.ndarray:
    """Read a saliency map from gray levels: float32 in [0, 1], HxW of `shape`."""
    image = read_image(path)
    with Image.open(path) as picture:
        alpha = picture.convert("RGBA").getchannel("A") if picture.has_transparency_data else None
    # Two levels: conversions between colour spaces round. Over white, alpha would pass for a map.
    if np.ptp(image, axis=2).max() > 2 or (alpha and alpha.getextrema()[0] < 255):
        raise ValueError(f"{path} has colours or alpha; save the saliency map as gray levels")
    return resize_map(image[..., 0] / np.float32(255), shape)


def read_scores(path: Path = PUBLISHED_SCORES) -> pd.DataFrame:
    """Read SACID's scores in file order: sequence, test_case, subjective_score, preset, bpp."""
    scores = read_csv(path, ["sequence", "test_case"], ["subjective_score"])
    bad = ~scores.test_case.isin(TEST_CASES) | scores.duplicated(["sequence", "test_case"])
    bad |= scores.groupby("sequence").test_case.transform("size") != len(TEST_CASES)
    if bad.any():
        first = f"{path}, line {bad.idxmax()}: {scores.sequence[bad.idxmax()]}"
        raise ValueError(f"{first} must have each of the twelve test cases once; mend it")
    scores = scores.reset_index(drop=True)
    parts = scores.test_case.str.extract(r"=(?P<bpp>\d+)_preset=(?P<preset>\w+)")
    return scores.assign(preset=parts.preset, bpp=parts.bpp.astype(int) / 100)


open = SACID  # what `data.load` calls
