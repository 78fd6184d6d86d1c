"""KonIQ-10k: 10,073 photographs with authentic distortions, MOS from 1,459 people on the web.

V. Hosu, H. Lin, T. Sziranyi, D. Saupe, "KonIQ-10k: An ecologically valid database for deep learning
of blind image quality assessment", IEEE TIP, 2020; database.mmsp-kn.de. 1024x768, and halved;
fetched, laid out and scored as pyiqa has it. The paper draws its own 80/20 splits from all.

    koniq10k/<1024x768|512x384>/<number>.jpg
    meta_info/meta_info_KonIQ10kDataset.csv    img_name, mos, ..., official_split

`mos` goes to 100, higher is better (3.9 to 88.4 occur); the site's own table has one to 5 too.
"""

from pathlib import Path

from lib.data.biq2021 import Scored, read_scores
from lib.data.download import PYIQA, Source, on_disk

META = "meta_info/meta_info_KonIQ10kDataset.csv"
SIZES = {"1024x768": (1024, 768), "512x384": (512, 384)}
SOURCE = Source(  # no hash is published: pictures are counted and measured
    url="pyiqa:koniq10k",
    about="6.4 GB (unpacking, 13)",
    files={"koniq10k": "koniq10k", META: META},
    counts={"koniq10k/1024x768/*.jpg": (10_073, SIZES["1024x768"]), META: (1, ())},
    terms="CC BY-SA 4.0, says pyiqa's page",
    page=PYIQA,
)


class KonIQ(Scored):
    """The photographs of an official split ("train", "val", "test"), or all, at one size."""

    kind, mos_range = "human MOS (crowd)", (0.0, 100.0)  # pyiqa's range

    def __init__(self, root: Path, split: str | None = None, size: str = "1024x768"):
        if split not in (None, "train", "val", "test") or size not in SIZES:
            raise ValueError(f"no part {split!r} at {size!r}: train, val, test; {', '.join(SIZES)}")
        self.name, folder = f"KonIQ-10k {split or ''}".strip(), Path(root) / "koniq10k" / size
        meta = on_disk(Path(root) / META, "paper")
        table = read_scores(meta, "img_name", "mos", 100, "official_split")
        if table.mos.max() <= 5:
            raise ValueError(f"{meta} must score to 100, not to 5; download pyiqa's")
        scores = table.mos if split is None else table.mos[table.official_split == split]
        paths = {name: on_disk(folder / name, "paper") for name in scores.index}
        self._fill(scores, paths, "koniq", split, size)


open = KonIQ  # what `data.load` calls
