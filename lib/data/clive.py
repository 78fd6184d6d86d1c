"""CLIVE, LIVE In the Wild: 1,162 photographs from phones, MOS from thousands of people on the web.

D. Ghadiyaram, A. C. Bovik, "Massive online crowdsourced study of subjective and objective picture
quality", IEEE TIP, 2016; live.ece.utexas.edu/research/ChallengeDB. Mostly 500x500; fetched, laid
out and scored as pyiqa has it. Seven pictures that trained the people are left out, as in pyiqa.

    LIVEC/...                                       1,169 pictures, .bmp and .JPG, in folders
    meta_info/meta_info_LIVEChallengeDataset.csv    img_name, mos (to 100, best), std
"""

from pathlib import Path

from lib.data.biq2021 import Scored, read_scores
from lib.data.download import PYIQA, Source, on_disk

META = "meta_info/meta_info_LIVEChallengeDataset.csv"
SOURCE = Source(  # no hash is published: pictures are counted
    url="pyiqa:livec",
    about="330 MB",
    files={"LIVEC": "LIVEC", META: META},
    counts={"LIVEC/**/*.bmp": (542, ()), "LIVEC/**/*.JPG": (627, ()), META: (1, ())},
    terms="free with its notice; cite",
    page=PYIQA,
)


class CLIVE(Scored):
    """The 1,162 photographs that were judged."""

    name, kind = "CLIVE", "human MOS (crowd)"
    mos_range = (1.0, 100.0)  # pyiqa's range

    def __init__(self, root: Path):
        scores = read_scores(on_disk(Path(root) / META, "paper"), "img_name", "mos", 100).mos
        # Editions of the table differ in whether a name has its folder before it.
        scores.index = [Path(name).name for name in scores.index]
        scores = scores.drop([f"t{number}.bmp" for number in range(1, 8)], errors="ignore")
        folder = Path(root) / "LIVEC"
        files = {path.name: path for path in folder.rglob("*.*")}
        paths = {n: files.get(n) or on_disk(folder / "Images" / n, "paper") for n in scores.index}
        self._fill(scores, paths, "clive")


open = CLIVE  # what `data.load` calls
