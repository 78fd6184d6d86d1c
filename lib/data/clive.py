"""CLIVE, LIVE In the Wild: 1,162 photographs from phones, MOS from 8,100 people on the web.

D. Ghadiyaram, A. C. Bovik, "Massive online crowdsourced study of subjective and objective picture
quality", IEEE TIP, 2016. Mostly 500x500; fetched, laid out and scored as pyiqa has it. The seven
pictures that trained the people, t1 to t7, head the table and are left out, as pyiqa does.

    LIVEC/...                                       1,169 pictures, .bmp and .JPG, in folders
    meta_info/meta_info_LIVEChallengeDataset.csv    img_name, mos, std

`mos` goes to 100, higher is better (3.4 to 92.4 occur).
"""

from pathlib import Path

from lib.data.biq2021 import read_scores
from lib.data.download import Source, on_disk
from lib.images import read_image
from lib.records import Dataset, Record
from lib.store import fingerprint

META = "meta_info/meta_info_LIVEChallengeDataset.csv"
TRAINING = {f"t{number}.bmp" for number in range(1, 8)}
SOURCE = Source(  # no hash is published: pictures are counted
    url="pyiqa:livec",
    about="330 MB, twice that",
    files={"LIVEC": "LIVEC", META: META},
    counts={"LIVEC/**/*.bmp": (542, ()), "LIVEC/**/*.JPG": (627, ()), META: (1, ())},
    terms="free with its notice; cite",
    page="https://live.ece.utexas.edu/research/ChallengeDB/index.html",
)


class CLIVE(Dataset):
    """The 1,162 photographs that were judged."""

    name, kind = "CLIVE", "human MOS (crowd)"

    def __init__(self, root: Path):
        scores = read_scores(on_disk(Path(root) / META, "paper"), "img_name", "mos", 100).mos
        # Editions of the table differ in whether a name has its folder before it.
        scores.index = [Path(name).name for name in scores.index]
        self.scores = scores[~scores.index.isin(TRAINING)].sort_index()
        self.names, folder = self.scores.index.tolist(), on_disk(Path(root) / "LIVEC", "paper")
        files = {path.name: path for path in folder.rglob("*.*")}
        self._paths = [files.get(n) or on_disk(folder / "Images" / n, "paper") for n in self.names]
        every = [(path.name, path.stat().st_size) for path in self._paths]
        self.fingerprint = fingerprint(["clive", *every, *self.scores])

    def __getitem__(self, index: int) -> Record:
        mos, image = float(self.scores.iloc[index]), read_image(self._paths[index])
        return Record(self.names[index], image, mos=mos, mos_range=(1.0, 100.0))


open = CLIVE  # what `data.load` calls
