"""SACID: 60 photographs, each through a saliency-aware codec at 4 presets x 3 bitrates.

A. Kirillov, A. Moskalenko, D. Vatolin, "Bridging the Gap Between Saliency Prediction and Image
Quality Assessment" (Section III-D); github.com/Alexkkir/SACID. Subjective scores are from pairwise
comparisons within a sequence, anchored at 0 for its worst picture: they do not compare across
sequences. A tree of pictures, whether published or made by `lib.data.simulated_sacid`:

    reference/<sequence>.png
    saliency/<sequence>.png
    compressed/<sequence>/h264v@targetbbp100=<8|12|16>_preset=<none|p132|p220|p310>.jpg
    moses.csv       sequence, test_case, subjective_score

The 720 published scores ship with the project (`read_scores`); the pictures do not.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from lib.codec import TEST_CASES
from lib.data.download import Source
from lib.images import read_image
from lib.maps import resize_map
from lib.records import Dataset, Record
from lib.store import fingerprint

PUBLISHED_SCORES = Path(__file__).with_name("sacid_scores.csv")  # moses.csv, as published
# No commit or hash of SACID could be had when this was written: the newest state of its main branch
# is fetched, and the names of its 841 files and the kind of each image are checked.
SOURCE = Source(
    url="https://codeload.github.com/Alexkkir/SACID/zip/HEAD",
    about="770 MB",
    limit_mb=2000,
    files={f: f for f in ("reference/", "compressed/", "saliency/", "moses.csv")},
    manifest="sacid.txt",
)


class SACID(Dataset):
    """The compressed pictures; records are named ``<sequence>/<test_case>``.

    `table` has a row a record: sequence, test_case, score, preset, bpp (the target). `sequences`
    are their names, sorted.
    """

    name, kind = "SACID", "human scores (pairwise, anchored)"

    def __init__(self, root: Path, scores: Path | None = None):
        self.root = Path(root)
        if not (self.root / "compressed").is_dir():
            raise FileNotFoundError(
                f"no SACID at {root} (it has no folder compressed/); run `make data PROFILE=open`, "
                "or point DATA_DIR at the folder that holds sacid/"
            )
        table = read_scores(scores or self.root / "moses.csv")
        table = table.rename(columns={"subjective_score": "score"})
        place = table.test_case.map({case: n for n, case in enumerate(TEST_CASES)})
        table = table.assign(place=place).sort_values(["sequence", "place"], kind="stable")
        self.table = table.drop(columns="place").reset_index(drop=True)
        self.sequences = list(self.table.sequence.unique())
        self.names = [f"{row.sequence}/{row.test_case}" for row in self.table.itertuples()]
        wanted = [f"{kind}/{s}.png" for kind in ("reference", "saliency") for s in self.sequences]
        wanted += [f"compressed/{name}.jpg" for name in self.names]
        if missing := [path for path in wanted if not (self.root / path).is_file()]:
            raise FileNotFoundError(
                f"{len(missing)} of {len(wanted)} files are missing in {self.root}, the first is "
                f"{missing[0]}; run `make data PROFILE=open` for the published SACID"
            )
        self.fingerprint = fingerprint(
            ["sacid", *zip(self.names, self.table.score.round(9), strict=True)]
            + [(path, (self.root / path).stat().st_size) for path in wanted]
        )

    def __getitem__(self, index: int) -> Record:
        image = read_image(self.root / "compressed" / f"{self.names[index]}.jpg")
        return Record(self.names[index], image, mos=float(self.table.score.iloc[index]))

    def reference(self, sequence: str) -> np.ndarray:
        """Read the uncompressed picture of a sequence: HxWx3 uint8."""
        return read_image(self.root / "reference" / f"{sequence}.png")

    def saliency_map(self, sequence: str) -> np.ndarray:
        """Read the saliency map of a sequence: HxW float32 in [0, 1], of the reference's size."""
        path = self.root / "saliency" / f"{sequence}.png"
        saliency = read_image(path)[..., 0].astype(np.float32) / 255
        with Image.open(self.root / "reference" / f"{sequence}.png") as picture:
            return resize_map(saliency, picture.size[::-1])


def read_scores(path: Path = PUBLISHED_SCORES) -> pd.DataFrame:
    """Read subjective scores in SACID's format; the published ones by default.

    Returns
    -------
    DataFrame
        sequence, test_case, subjective_score, preset, bpp (the target), in the order of the file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no scores at {path}; download SACID again")
    scores = pd.read_csv(path, dtype={"sequence": str})
    if list(scores) != ["sequence", "test_case", "subjective_score"]:
        raise ValueError(f"{path}: the columns must be sequence, test_case, subjective_score")
    for sequence, cases in scores.groupby("sequence").test_case:
        if sorted(cases.astype(str)) != sorted(TEST_CASES):
            odd = set(cases) - set(TEST_CASES) or set(cases[cases.duplicated()])
            odd = odd or set(TEST_CASES) - set(cases)
            raise ValueError(
                f"{path}: {sequence} must have each of the {len(TEST_CASES)} test cases once; "
                f"look at {min(odd, key=str)}, or download the file again"
            )
    numbers = pd.to_numeric(scores.subjective_score, errors="coerce")
    if not np.isfinite(numbers).all():
        row = scores[~np.isfinite(numbers)].iloc[0]
        raise ValueError(
            f"{path}: no finite score for {row.sequence} {row.test_case}; mend its row"
        )
    parts = scores.test_case.str.extract(r"=(?P<bpp>\d+)_preset=(?P<preset>\w+)")
    bpp = parts.bpp.astype(int) / 100
    return scores.assign(subjective_score=numbers, preset=parts.preset, bpp=bpp)


def open(root: Path) -> SACID:
    """Open the published pictures in the folder `root`."""
    return SACID(root)
