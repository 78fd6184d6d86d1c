"""Scene: 500 photographs of SUN2012, looked at freely for three seconds by 12 people.

H. Liang, M. Jiang, R. Liang, Q. Zhao, "Saliency Prediction with Scene Structural Guidance", 2015
(MIT licence). Sizes differ, 311 are 256x256; pixels a degree are not published, so the Gaussian of
the densities is as wide as OSIE's for pictures of one width (24 of 800 pixels).

    fixations.mat    fixations: a cell a picture (sorted by name) and viewer, Nx4 or empty:
                     row (y), column (x), onset and duration in seconds

Read as x, y it looks plausible: most pictures are square.
"""

from pathlib import Path

import numpy as np

from lib.data.download import Source, on_disk
from lib.data.osie import gaze_record, read_mat
from lib.images import read_image
from lib.records import Dataset, Record
from lib.store import fingerprint

COMMIT = "2cf042b013181a6339378827d094aafa9322ba0d"
URL = f"https://codeload.github.com/Yanakz/Scene/zip/{COMMIT}"
FILES = {"data/stimuli/": "stimuli/", "data/tidy/fixations.mat": "fixations.mat"}
FILES |= {"data/LICENSE.txt": "LICENSE.txt"}
SOURCE = Source(URL, "60 MB", FILES, limit_mb=100, manifest="scene.sha256", terms="MIT")
SIGMA = 24 / 800  # of the density's Gaussian, as a share of the long side


class Scene(Dataset):
    """All photographs with everybody's fixations; `long_side` as `lib.data.osie.OSIE`'s."""

    name, kind = "Scene", "human fixations (12 viewers)"

    def __init__(self, root: Path, sigma: float = SIGMA, long_side: int | None = None):
        self._stimuli, self.sigma, self.long_side = Path(root) / "stimuli", float(sigma), long_side
        self.names = sorted(path.name for path in on_disk(self._stimuli).glob("[!.]*.jpg"))

        def by_picture(cells: np.ndarray) -> list[np.ndarray]:
            if len(cells) != len(self.names):
                raise ValueError(f"{len(cells)} rows for {len(self.names)} pictures")
            return [np.concatenate([c.reshape(-1, 4)[:, 1::-1] for c in row]) for row in cells]

        mat = on_disk(Path(root) / "fixations.mat")
        self._fixations = read_mat(mat, "Scene", "fixations", by_picture)
        every = zip(self.names, (xy.tobytes() for xy in self._fixations), strict=True)
        self.fingerprint = fingerprint(["scene, reduced", self.sigma, long_side, *every])

    def __getitem__(self, index: int) -> Record:
        image, fixations = read_image(self._stimuli / self.names[index]), self._fixations[index]
        sigma = self.sigma * max(image.shape[:2])
        return gaze_record(self.names[index], image, fixations, sigma, self.long_side)


open = Scene  # what `data.load` calls
