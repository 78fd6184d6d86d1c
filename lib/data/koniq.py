"""KonIQ-10k: 10,073 photographs with authentic distortions, MOS from 1,459 people on the web.

V. Hosu, H. Lin, T. Sziranyi, D. Saupe, "KonIQ-10k: An ecologically valid database for deep learning
of blind image quality assessment", IEEE TIP, 2020. 1024x768, and halved; fetched, laid out and
scored as pyiqa has it. The paper draws its own 80/20 splits; the official one is an option.

    koniq10k/<1024x768|512x384>/<number>.jpg
    meta_info/meta_info_KonIQ10kDataset.csv    img_name, mos, ..., official_split

`mos` is on pyiqa's scale to 100, higher is better (3.9 to 88.4 occur). The site's own table scores
the same photographs from 1 to 5 as well: that column is not read.
"""

from pathlib import Path

from lib.data.biq2021 import read_scores
from lib.data.download import Source, on_disk
from lib.images import read_image
from lib.records import Dataset, Record
from lib.store import fingerprint

META = "meta_info/meta_info_KonIQ10kDataset.csv"
SIZES = {"1024x768": (1024, 768), "512x384": (512, 384)}
SOURCE = Source(  # no hash is published: pictures are counted and measured
    url="pyiqa:koniq10k",
    about="6.4 GB, twice that",
    files={"koniq10k": "koniq10k", META: META},
    counts={f"koniq10k/{side}/*.jpg": (10_073, size) for side, size in SIZES.items()}
    | {META: (1, ())},
    terms="CC BY-SA 4.0, says pyiqa's page",
    page="http://database.mmsp-kn.de/koniq-10k-database.html",
)


class KonIQ(Dataset):
    """The photographs of an official split ("train", "val", "test"), or all, at one size."""

    kind = "human MOS (crowd)"

    def __init__(self, root: Path, split: str | None = None, size: str = "1024x768"):
        if split not in (None, "train", "val", "test") or size not in SIZES:
            raise ValueError(f"no part {split!r} at {size!r}: train, val, test; {', '.join(SIZES)}")
        self.name = f"KonIQ-10k {split or ''}".strip()
        scores = read_scores(on_disk(Path(root) / META, "paper"), "img_name", "mos", 100)
        if split:
            scores = scores[scores.official_split == split]
        self.scores = scores.mos.sort_index()
        self.names, folder = self.scores.index.tolist(), Path(root) / "koniq10k" / size
        self._paths = [on_disk(folder / name, "paper") for name in self.names]
        every = [(path.name, path.stat().st_size) for path in self._paths]
        self.fingerprint = fingerprint(["koniq", split, size, *every, *self.scores])

    def __getitem__(self, index: int) -> Record:
        mos, image = float(self.scores.iloc[index]), read_image(self._paths[index])
        return Record(self.names[index], image, mos=mos, mos_range=(0.0, 100.0))


open = KonIQ  # what `data.load` calls
