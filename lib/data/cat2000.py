"""CAT2000, training part: 20 categories of 100 pictures, each looked at by 18 people for 5 seconds.

A. Borji, L. Itti, "CAT2000: A Large Scale Fixation Dataset for Boosting Saliency Research", CVPR
workshop, 2015. 1920x1080; pictures of other shapes stand on grey.

    Stimuli/<category>/<number>.jpg         with Output/ among them: reduced copies, no stimuli
    FIXATIONLOCS/<category>/<number>.mat    fixLocs: a picture, not 0 where somebody fixated

So rows and columns count from 0 here, and what several people fixated counts once. Who looked when
is in ``allFixData.mat`` alone (counted from 1), which takes MATLAB to read.
"""

from pathlib import Path

import numpy as np

from lib.data.download import Source, on_disk
from lib.data.osie import gaze_record, read_mat
from lib.images import read_image
from lib.records import Dataset, Record
from lib.store import fingerprint

# The archive's FIXATIONMAPS are blurred by MIT's `antonioGaussian`, cut-off 8 cycles a frame whose
# side is a power of two: 2048 sqrt(ln 2 / 2) / (8 pi) = 48.0 pixels, some more than one degree.
SIGMA = 48.0
SOURCE = Source(  # address and hash are pysaliency's (external_datasets/cat2000.py)
    url="http://saliency.mit.edu/trainSet.zip",
    about="4 GB",
    files={"Stimuli/": "Stimuli/", "FIXATIONLOCS/": "FIXATIONLOCS/"},
    omit="Output/",
    limit_mb=40_000,
    counts={"Stimuli/*/[0-9]*.jpg": (2_000, (1920, 1080)), "FIXATIONLOCS/*/*.mat": (2_000, ())},
    digest="md5:56ad5c77e6c8f72ed9ef2901628d6e48",
    terms="none stated",
    page="https://saliency.tuebingen.ai/datasets.html",
)


class CAT2000(Dataset):
    """Records are named ``<category>/<number>.jpg``; options are as `lib.data.osie.OSIE`'s."""

    name, kind = "CAT2000 train", "human fixations (18 viewers)"

    def __init__(self, root: Path, sigma: float = SIGMA, long_side: int | None = None):
        self._stimuli, self._locations = (Path(root) / start for start in SOURCE.files)
        self.sigma, self.long_side = float(sigma), long_side
        paths = on_disk(self._stimuli, "paper").glob("*/[0-9]*.jpg")
        paths = [p for p in paths if p.parent.name != "Output" and p.parent.name[0] != "."]
        self.names = sorted(path.relative_to(self._stimuli).as_posix() for path in paths)
        files = (path for n in self.names for path in (self._stimuli / n, self._mat(n)))
        sizes = [on_disk(path, "paper").stat().st_size for path in files]
        self.fingerprint = fingerprint(["cat2000", self.sigma, long_side, *self.names, *sizes])

    def _mat(self, name: str) -> Path:
        return (self._locations / name).with_suffix(".mat")

    def __getitem__(self, index: int) -> Record:
        name = self.names[index]
        image = read_image(self._stimuli / name)

        def places(fixated: np.ndarray) -> np.ndarray:
            if fixated.shape != image.shape[:2]:
                raise ValueError(f"fixLocs is {fixated.shape}, its picture {image.shape[:2]}")
            return np.argwhere(fixated)[:, ::-1].astype(np.float64)  # row, column to x, y

        fixations = read_mat(self._mat(name), "CAT2000", "fixLocs", places)
        return gaze_record(name, image, fixations, self.sigma, self.long_side)


open = CAT2000  # what `data.load` calls
