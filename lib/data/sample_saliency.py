"""The sample data set: eight photographs that installed packages ship, with simulated observers.

They look at regions that we drew by hand (`sample_regions.json`), at the centre, and anywhere. It
shows the method on something small, and proves nothing about people: what a simulated observer
looks at is what we thought people look at.
"""

import json
from functools import lru_cache
from importlib.resources import files
from pathlib import Path

import numpy as np
from PIL import Image

from lib.data.osie import gaze_record
from lib.images import as_rgb, resize_image
from lib.records import Dataset, Record
from lib.store import fingerprint

# name -> (package, file); all are inside the wheels, so nothing is downloaded.
SKIMAGE = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "motorcycle_left.png")
PHOTOGRAPHS = {Path(file).stem: ("skimage.data", file) for file in SKIMAGE} | {
    "china": ("sklearn.datasets.images", "china.jpg"),
    "flower": ("sklearn.datasets.images", "flower.jpg"),
    "grace_hopper": ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg"),
}
REGIONS = Path(__file__).with_name("sample_regions.json")
OBSERVERS, FIXATIONS_EACH = 15, 8  # as many as OSIE's viewers make in three seconds
SHARES = (0.7, 0.2, 1 - 0.7 - 0.2)  # of fixations in regions, near the centre, anywhere
DEGREES_WIDE = 33  # a photograph is this many degrees of visual angle wide, as OSIE's are


@lru_cache(maxsize=len(PHOTOGRAPHS))
def photograph(name: str) -> np.ndarray:
    """Read one of the eight photographs: HxWx3 uint8, at most 640 pixels on the long side."""
    package, file = PHOTOGRAPHS[name]
    path = Path(str(files(package))) / file
    if not path.is_file():
        where = f"the installed package {package}; see to its version: `make setup`"
        raise FileNotFoundError(f"{file} is not in {where}")
    with Image.open(path) as picture:
        picture.info.pop("icc_profile", None)  # our numbers were made from pixels as stored
        return shrink(as_rgb(picture), 640)


def shrink(image: np.ndarray, long_side: int) -> np.ndarray:
    """Resize a picture to a long side, unless it is no longer."""
    scale = min(1.0, long_side / max(image.shape[:2]))
    return resize_image(image, *(round(side * scale) for side in image.shape[:2]))


@lru_cache(maxsize=1)
def regions() -> dict[str, list[dict]]:
    """Return our annotations: photograph to regions (label, ellipse, weight)."""
    return json.loads(REGIONS.read_text(encoding="utf-8"))["images"]


class SampleSaliency(Dataset):
    """The eight photographs with simulated observers.

    Each fixation falls, by `SHARES`, in a region (chosen by weight; a Gaussian with half the
    region's radii), near the centre (a Gaussian a fifth of the frame wide), or else anywhere.
    """

    name, kind = "sample", "simulated observers, our annotations"

    def __init__(self, _: Path | None = None, seed: int = 0):  # reads nothing from the data folder
        self.seed, self.names = seed, list(PHOTOGRAPHS)
        every = [photograph(name).tobytes() for name in self.names]
        key = ["sample-saliency", SHARES, seed, REGIONS.read_bytes()]
        self.fingerprint = fingerprint([*key, *every])

    def __getitem__(self, index: int) -> Record:
        name = self.names[index]
        image = photograph(name)
        height, width = image.shape[:2]
        fixations = self._observe(name) * (width, height)
        return gaze_record(name, image, fixations, width / DEGREES_WIDE)

    def _observe(self, name: str) -> np.ndarray:
        """Draw fixations as shares of width and height, all inside the frame."""
        rng = np.random.default_rng([self.seed, self.names.index(name)])
        ellipses = np.array([r["ellipse"] for r in regions()[name]])
        weights = np.array([r["weight"] for r in regions()[name]], dtype=float)
        found, count = np.empty((0, 2)), OBSERVERS * FIXATIONS_EACH
        while len(found) < count:  # the few that miss the frame are drawn again
            source = rng.choice(3, size=(count, 1), p=SHARES)
            region = ellipses[rng.choice(len(ellipses), size=count, p=weights / weights.sum())]
            inside_region = rng.normal(region[:, :2], region[:, 2:] / 2)
            near_center, anywhere = rng.normal(0.5, 0.2, (count, 2)), rng.uniform(0, 1, (count, 2))
            drawn = np.choose(source, [inside_region, near_center, anywhere])
            found = np.concatenate([found, drawn[((drawn >= 0) & (drawn < 1)).all(axis=1)]])
        return found[:count]


open = SampleSaliency  # what `data.load` calls
